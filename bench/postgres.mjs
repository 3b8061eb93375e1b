// Snapshot and log throughput and latency of the built CLI against PostgreSQL, as ratios to the server's own tools in the
// same interleaved run. Needs: npm run build, psql and pg_recvlogical on the PATH, and a server whose superuser URL is in
// TIDEMARK_BENCH_POSTGRES. Usage: node bench/postgres.mjs [snapshot] [stream] [latency] [--rows N] [--runs N] [--cores LIST]
// [--sinks blackhole,file,kafka,kafka_alo] [--kafka HOST:PORT]: kafka is exactly-once, kafka_alo at-least-once.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { TABLE, writeRows } from './data.mjs'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string', default: '1000000' },
    runs: { type: 'string', default: '3' },
    cores: { type: 'string' },
    sinks: { type: 'string', default: 'blackhole,file' },
    kafka: { type: 'string' },
  },
})
const base = process.env.TIDEMARK_BENCH_POSTGRES
if (!base) {
  console.error('Set TIDEMARK_BENCH_POSTGRES to the URL of a PostgreSQL superuser (wal_level=logical) to measure with.')
  process.exit(2)
}
const wanted = positionals.length > 0 ? positionals : ['snapshot', 'stream', 'latency']
const rows = Number(flags.rows)
const runs = Number(flags.runs)
const kinds = flags.sinks.split(',')
if (kinds.some((kind) => kind.startsWith('kafka')) && !flags.kafka) {
  console.error('Name a broker: --kafka HOST:PORT (npm run kafka starts one).')
  process.exit(2)
}
const cli = fileURLToPath(new URL('../dist/bin/tidemark.js', import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'tidemark-bench-'))
const data = fileURLToPath(new URL(`data/rows-${rows}.tsv`, import.meta.url))
const database = `tidemark_bench_${process.pid}`
const pinned = flags.cores ? ['taskset', ['-c', flags.cores]] : null

const urlOf = (name) => Object.assign(new URL(base), { pathname: `/${name}` }).href
const psql = (sql, name = database) =>
  execFileSync('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', '-d', urlOf(name), '-c', sql], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  }).trim()

/** Runs a program to its end; seconds by the wall, CPU seconds of it alone. */
async function timed(program, args, env = {}) {
  const [command, all] = pinned ? [pinned[0], [...pinned[1], program, ...args]] : [program, args]
  const log = join(work, 'stderr.log')
  const start = performance.now()
  const child = spawn(command, all, {
    stdio: ['ignore', openSync('/dev/null', 'w'), openSync(log, 'w')],
    env: { ...process.env, ...env },
  })
  const [code] = await once(child, 'exit')
  if (code !== 0)
    throw new Error(`${program} ${args.join(' ')} exited ${code}\n${readFileSync(log, 'utf8').slice(-2000)}`)
  return (performance.now() - start) / 1000
}

function pipeline(name, sink) {
  const file = join(work, `${name}.yaml`)
  writeFileSync(
    file,
    JSON.stringify({
      source: { type: 'postgres', url: urlOf(database), tables: 'public.t' },
      sink,
      pipeline: { name },
    }),
  )
  return file
}

async function sync(file, ...args) {
  const report = join(work, 'report.json')
  await timed(process.execPath, [cli, 'sync', file, '--report', report, ...args])
  const { seconds, cpuSeconds, peakRssBytes, tables } = JSON.parse(readFileSync(report, 'utf8'))
  const { rows: read, events, bytes } = tables['public.t']
  const count = read + events
  return { rate: count / seconds, cpu: (cpuSeconds / count) * 1e6, rss: peakRssBytes / 1048576, count, mb: bytes / 1e6 }
}

function sinkOf(kind, name) {
  if (kind === 'blackhole') return { type: 'blackhole' }
  if (kind === 'file') return { type: 'file', path: join(work, name) }
  return {
    type: 'kafka',
    'properties.bootstrap.servers': flags.kafka,
    delivery: kind === 'kafka' ? 'exactly-once' : 'at-least-once',
    'topic.prefix': `${database}_${kind}_${name}`,
    'checkpoint.topic': `${database}_${kind}_${name}_checkpoint`,
    'transactional.id': `${database}_${kind}_${name}`,
    'topic.creation.default.partitions': 4,
    'topic.creation.default.replication.factor': 1,
  }
}
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const k = (n) => `${Math.round(n / 1000)}k`
const show = (label, runsOf, floor) => {
  const rate = median(runsOf.map((r) => r.rate))
  const cells = [
    `${k(rate)} rows/s`,
    `${median(runsOf.map((r) => r.cpu)).toFixed(2)} CPU s/M`,
    `${Math.round(median(runsOf.map((r) => r.rss)))} MiB peak RSS`,
  ]
  console.log(
    `${label.padEnd(28)} ${cells.join('   ')}   ${(rate / floor).toFixed(2)} x floor   (${runsOf.map((r) => k(r.rate)).join(' ')})`,
  )
}

async function load() {
  if (!existsSync(data)) {
    mkdirSync(fileURLToPath(new URL('data', import.meta.url)), { recursive: true })
    await writeRows(data, rows)
  }
  psql(`create database ${database}`, 'postgres')
  psql(TABLE)
}

const fill = () => execFileSync('psql', ['-X', '-q', '-d', urlOf(database), '-c', `\\copy t from '${data}'`])

async function snapshot() {
  fill()
  psql('vacuum analyze t')
  const floor = []
  const bare = []
  const found = Object.fromEntries(kinds.map((kind) => [kind, []]))
  for (let i = 0; i < runs; i++) {
    const seconds = await timed('psql', ['-X', '-d', urlOf(database), '-c', 'copy t to stdout', '-o', '/dev/null'])
    floor.push(rows / seconds)
    bare.push(bareLoop())
    for (const kind of kinds) {
      found[kind].push(await sync(pipeline(`snap_${kind}_${i}`, sinkOf(kind, `snap_${i}`)), '--once'))
      drop(`snap_${kind}_${i}`)
    }
  }
  console.log(`\nSnapshot of ${rows} rows x 10 columns into Debezium envelopes (median of ${runs})`)
  console.log(`${'floor: COPY to /dev/null'.padEnd(28)} ${k(median(floor))} rows/s   (${floor.map(k).join(' ')})`)
  console.log(
    `${'a bare loop on one thread'.padEnd(28)} ${k(median(bare))} rows/s   ${(median(bare) / median(floor)).toFixed(2)} x floor   (${bare.map(k).join(' ')})`,
  )
  for (const kind of Object.keys(found)) show(`tidemark -> ${kind}`, found[kind], median(floor))
}

/** Rows/s of the loop in bare-loop.mjs, its start not counted. */
function bareLoop() {
  const script = fileURLToPath(new URL('bare-loop.mjs', import.meta.url))
  const args = [process.execPath, script, urlOf(database)]
  const [program, ...rest] = pinned ? [pinned[0], ...pinned[1], ...args] : args
  const { rows: done, seconds } = JSON.parse(execFileSync(program, rest, { encoding: 'utf8' }))
  return done / seconds
}

const drop = (name) =>
  psql(`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'tidemark_${name}' and not active;
        drop publication if exists tidemark_${name}`)

async function stream() {
  psql('truncate t')
  const floor = []
  const found = Object.fromEntries(kinds.map((kind) => [kind, []]))
  for (let i = 0; i < runs; i++) {
    const files = Object.fromEntries(
      kinds.map((kind) => {
        const state = join(work, `state_${kind}_${i}.json`)
        const file = pipeline(`wal_${kind}_${i}`, sinkOf(kind, `wal_${i}`))
        return [kind, { file, set: kind === 'blackhole' ? ['--set', `pipeline.state=${state}`] : [] }]
      }),
    )
    for (const { file, set } of Object.values(files)) await sync(file, '--once', ...set).catch(empty)
    psql(`create publication floor_${i} for table t`)
    psql(`select pg_create_logical_replication_slot('floor_${i}', 'pgoutput')`)
    insertTransactions()
    const end = psql('select pg_current_wal_lsn()')
    const seconds = await timed('pg_recvlogical', [
      '-d',
      urlOf(database),
      '--slot',
      `floor_${i}`,
      '--start',
      '-f',
      '/dev/null',
      '--endpos',
      end,
      '-o',
      'proto_version=1',
      '-o',
      `publication_names=floor_${i}`,
      '--no-loop',
    ])
    floor.push(rows / seconds)
    psql(`select pg_drop_replication_slot('floor_${i}')`)
    psql(`drop publication floor_${i}`)
    for (const kind of Object.keys(files)) {
      found[kind].push(await sync(files[kind].file, '--until-caught-up', ...files[kind].set))
      drop(`wal_${kind}_${i}`)
    }
    psql('truncate t')
  }
  console.log(`\nLog of ${rows} inserts in 20 transactions into Debezium envelopes (median of ${runs})`)
  console.log(`${'floor: pg_recvlogical'.padEnd(28)} ${k(median(floor))} rows/s   (${floor.map(k).join(' ')})`)
  for (const kind of Object.keys(found)) show(`tidemark -> ${kind}`, found[kind], median(floor))
}

/** The first run copies an empty table, which has no rate. */
function empty(error) {
  if (!(error instanceof TypeError)) throw error
}

/** The rows again as 20 transactions, from a staging table that is not captured. */
function insertTransactions() {
  psql('create table if not exists staging (like t)')
  if (psql('select count(*) from staging') !== String(rows)) {
    execFileSync('psql', ['-X', '-q', '-d', urlOf(database), '-c', `\\copy staging from '${data}'`])
    psql('create index on staging (id); analyze staging')
  }
  const per = rows / 20
  for (let i = 0; i < 20; i++)
    psql(`insert into t select * from staging where id > ${i * per} and id <= ${(i + 1) * per}`)
}

try {
  await load()
  if (wanted.includes('snapshot')) await snapshot()
  if (wanted.includes('stream')) await stream()
  if (wanted.includes('latency')) {
    const { latency } = await import('./latency.mjs')
    await latency({ work, urlOf, psql, cli, database, pinned, kafka: flags.kafka })
  }
} finally {
  psql(
    `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = '${database}' and not active`,
    'postgres',
  )
  psql(`drop database if exists ${database} with (force)`, 'postgres')
  rmSync(work, { recursive: true, force: true })
}
