// Commit-to-visible latency at a steady 2,000 rows/s with defaults: a writer commits 20 rows each 10 ms and stamps them
// with the server's clock; a reader polls the target each few milliseconds and notes when a row is first there. `kafka50`
// spreads each commit over tables of which every one has a topic of four partitions.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'

const ROWS_PER_SECOND = 2_000
const COMMIT_EVERY_MS = 10
const WARM_UP_MS = 3_000
const MEASURE_MS = 20_000
const POLL_MS = 2
const TABLES = 50
const PARTITIONS = 4

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]

export async function latency(context) {
  console.log(`\nLatency from commit to visible at ${ROWS_PER_SECOND} rows/s, defaults`)
  for (const kind of ['postgres', 'file', ...(context.kafka ? ['kafka', 'kafka50'] : [])]) await measure(kind, context)
}

async function measure(kind, { work, urlOf, psql, cli, database, pinned, kafka }) {
  const name = `lat_${kind}`
  const target = `${database}_target`
  const tables = kind === 'kafka50' ? Array.from({ length: TABLES }, (_, i) => `beat_${i}`) : ['beat']
  for (const table of tables)
    psql(
      `drop table if exists ${table}; create table ${table} (id bigint primary key, at timestamptz not null, body text)`,
    )
  if (kind === 'postgres') psql(`create database ${target}`, 'postgres')
  const folder = join(work, name)
  const prefix = `${database}_${name}`
  const kafkaSink = {
    type: 'kafka',
    'properties.bootstrap.servers': kafka,
    'topic.prefix': prefix,
    'checkpoint.topic': `${prefix}_checkpoint`,
    'transactional.id': prefix,
  }
  const sink = {
    postgres: { type: 'postgres', url: urlOf(target) },
    file: { type: 'file', path: folder },
    kafka: kafkaSink,
    kafka50: { ...kafkaSink, 'topic.creation.default.partitions': PARTITIONS },
  }[kind]
  const file = join(work, `${name}.yaml`)
  writeFileSync(
    file,
    JSON.stringify({
      source: { type: 'postgres', url: urlOf(database), tables: kind === 'kafka50' ? 'public.beat_*' : 'public.beat' },
      sink,
      pipeline: kind.startsWith('kafka') ? { name, 'checkpoint.interval': '100ms' } : { name },
    }),
  )
  const command = pinned ? [pinned[0], ...pinned[1], process.execPath] : [process.execPath]
  const child = spawn(command[0], [...command.slice(1), cli, 'sync', file], {
    stdio: ['ignore', 'ignore', openSync(join(work, `${name}.log`), 'w')],
  })
  const exited = once(child, 'exit')
  const newest =
    kind === 'postgres'
      ? await tableReader(urlOf(target))
      : kind === 'file'
        ? fileReader(folder)
        : await topicsReader(
            kafka,
            tables.map((table) => `${prefix}.public.${table}`),
          )
  const writer = new pg.Client({ connectionString: urlOf(database) })
  await writer.connect()
  try {
    const committed = new Map()
    const found = []
    let id = 0
    let seen = 0
    const begun = performance.now()
    const write = async () => {
      const batch = (ROWS_PER_SECOND * COMMIT_EVERY_MS) / 1000
      for (let next = begun; performance.now() < begun + WARM_UP_MS + MEASURE_MS; next += COMMIT_EVERY_MS) {
        const pause = next - performance.now()
        if (pause > 0) await sleep(pause)
        const from = id + 1
        id += batch
        await writer.query(insertOf(tables, from, id))
        committed.set(id, performance.now())
      }
    }
    const read = async () => {
      while (seen < id || performance.now() < begun + WARM_UP_MS + MEASURE_MS) {
        if (performance.now() > begun + WARM_UP_MS + MEASURE_MS + 30_000)
          throw new Error(`only ${seen} of ${id} rows arrived`)
        const max = await newest()
        const now = performance.now()
        for (const [last, at] of committed) {
          if (last > max) break
          committed.delete(last)
          if (at > begun + WARM_UP_MS) found.push(now - at)
        }
        seen = max
        await sleep(POLL_MS)
      }
    }
    await Promise.all([write(), read()])
    found.sort((a, b) => a - b)
    const cells = [0.5, 0.9, 0.99].map((p) => `p${p * 100} ${percentile(found, p).toFixed(1)} ms`)
    console.log(
      `${`tidemark -> ${kind}`.padEnd(28)} ${cells.join('   ')}   max ${found.at(-1).toFixed(1)} ms   (${found.length} commits)`,
    )
  } finally {
    await writer.end()
    await newest.close?.()
    child.kill('SIGTERM')
    await exited
    psql(`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'tidemark_${name}';
          drop publication if exists tidemark_${name}`)
    if (kind === 'postgres') psql(`drop database if exists ${target} with (force)`, 'postgres')
  }
}

/** Rows of one commit: into one table, or each into another. */
function insertOf(tables, from, to) {
  if (tables.length === 1)
    return `insert into beat select i, clock_timestamp(), repeat('x', 60) from generate_series(${from}, ${to}) i`
  let sql = ''
  for (let i = from; i <= to; i++)
    sql += `insert into ${tables[i % tables.length]} values (${i}, clock_timestamp(), repeat('x', 60));`
  return sql
}

async function tableReader(url) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const newest = async () => {
    try {
      const { rows } = await client.query('select coalesce(max(id), 0) as id from public.beat')
      return Number(rows[0].id)
    } catch (error) {
      if (error.code === '42P01') return 0
      throw error
    }
  }
  newest.close = () => client.end()
  return newest
}

/** Reads what the highest manifest says is committed, as any reader would. */
function fileReader(folder) {
  const read = new Map()
  let max = 0
  return async () => {
    let names
    try {
      names = readdirSync(join(folder, 'manifest'))
        .filter((n) => /^\d+\.json$/.test(n))
        .sort()
    } catch {
      return 0
    }
    if (names.length === 0) return 0
    let manifest
    try {
      manifest = JSON.parse(readFileSync(join(folder, 'manifest', names.at(-1)), 'utf8'))
    } catch {
      return max // pruned between the listing and the read
    }
    for (const { file, bytes } of manifest.segments) {
      const from = read.get(file) ?? 0
      if (bytes <= from) continue
      const buffer = Buffer.alloc(bytes - from)
      const fd = openSync(join(folder, 'data', file))
      readSync(fd, buffer, 0, buffer.length, from)
      closeSync(fd)
      read.set(file, bytes)
      for (const [, id] of buffer.toString('latin1').matchAll(/"after":\{"id":(\d+)/g)) max = Math.max(max, Number(id))
    }
    return max
  }
}

/** How far a consumer of all topics has seen everything: its partitions come in any order. kafkajs reads committed records only. */
async function topicsReader(broker, topics) {
  const kafka = new Kafka({ clientId: 'bench', brokers: [broker], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  for (let missing = true; missing; await sleep(50)) {
    const known = new Set(await admin.listTopics())
    missing = topics.some((topic) => !known.has(topic))
  }
  await admin.disconnect()
  const consumer = kafka.consumer({ groupId: topics[0], maxWaitTimeInMs: 20, minBytes: 1 })
  const seen = new Set()
  let max = 0
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve))
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning: true })
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const { value } of batch.messages) {
        const id = /"after":\{"id":(\d+)/.exec(value?.toString('latin1', 0, 200) ?? '')
        if (id) seen.add(Number(id[1]))
      }
      while (seen.delete(max + 1)) max++
    },
  })
  await joined
  const newest = async () => max
  newest.close = () => consumer.disconnect()
  return newest
}
