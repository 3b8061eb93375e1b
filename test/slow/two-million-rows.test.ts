/**
 * A table of 2,000,000 rows: its chunks are read by as many readers at once as there should be, and under a writer and
 * SIGKILLs at random instants it arrives in PostgreSQL as it is in the source.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { defaultReaders } from '../../config/pipeline-file.js'
import { applicationName } from '../../connectors/postgres/setup.js'
import { readCheckpoint } from '../../core/checkpoint.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { random, testSeed } from '../support/seed.js'
import { until } from '../support/until.js'
import { createWriterTable, startWriter, type WriterTable } from '../support/writer.js'

const ROWS = 2_000_000
const KILLS = 5
/** Reading all rows takes longer. */
const RUN_MS_MAX = 3_000
const SYNC_MS_MAX = 180_000

t.setTimeout(400_000)

async function createTable(source: TestDatabase): Promise<WriterTable> {
  const table = await createWriterTable(source, 'public.w', { keys: 2 * ROWS, rows: 0 })
  await source.query(`
    insert into w select i * 2, 0, 'name ' || i, case when i % 1000 = 0 then repeat(md5(i::text), 192) end, i / 7.0
    from generate_series(0, ${ROWS - 1}) i`)
  await source.query('analyze w')
  return table
}

/** Most chunks that were being read at one time: by the server's own log, each from its table's lock to its transaction's end. */
async function readsAtOnce(t: Test, server: TestServer, source: TestDatabase, readers: number | null): Promise<number> {
  const name = `reads_${readers ?? 'default'}`
  const pipeline = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.w' },
    sink: { type: 'blackhole' },
    pipeline: { name, ...(readers === null ? {} : { parallelism: readers }) },
  })
  const { code, stderr } = await runTidemark(t, ['sync', pipeline.file, '--once'], { timeoutMs: SYNC_MS_MAX })
  t.equal(code, 0, stderr)
  t.match(stderr, /2,000,000 rows/)
  const statement =
    /\[(\d+)\] (\S+) .*duration: [\d.]+ ms .*?: (begin isolation level repeatable read|copy \(select|rollback)/g
  const open = new Map<string, 'locked' | 'copied'>()
  let [chunks, most] = [0, 0]
  for (const [, pid = '', application, what] of readFileSync(server.logFile, 'utf8').matchAll(statement)) {
    if (application !== applicationName(name)) continue
    if (what === 'rollback') open.delete(pid)
    else if (what === 'copy (select' && open.get(pid) === 'locked') {
      open.set(pid, 'copied')
      chunks++
    } else open.set(pid, 'locked')
    most = Math.max(most, open.size)
  }
  t.ok(chunks > 4 * (readers ?? 1), `${chunks} chunks`)
  return most
}

/** Runs, kills at random instants and says how often the table was read in part. */
async function killAgainAndAgain(
  t: Test,
  file: string,
  sides: { readonly source: TestDatabase; readonly target: TestDatabase },
  seed: number,
): Promise<number> {
  const numbers = random(seed)
  let inPart = 0
  for (let i = 0; i < KILLS; i++) {
    const sync = startTidemark(t, ['sync', file])
    // The first kill may hit the start; the others hit what comes after it, however slow the machine is.
    if (i > 0) await until(() => isTailing(sides.source), { timeoutMs: SYNC_MS_MAX, what: 'the log is being read' })
    // A random instant is the point here, so this is no wait for a condition.
    await new Promise((resolve) => setTimeout(resolve, numbers.below(RUN_MS_MAX)))
    t.ok(sync.running, `run ${i + 1} is there to be killed\n${sync.stderr()}`)
    await sync.kill()
    const [row] = await sides.target.query('select checkpoint from tidemark.checkpoint').catch(() => [])
    const { ranges = [] } = row?.checkpoint ? (readCheckpoint(row.checkpoint).tables['public.w'] ?? {}) : {}
    const finished = ranges.some((range) => range.state === 'finished')
    if (finished && ranges.some((range) => range.state === 'waiting')) inPart++
  }
  return inPart
}

async function isTailing(source: TestDatabase): Promise<boolean> {
  const slots = await source.query('select active from pg_replication_slots where database = $1', [source.name])
  return slots.some(({ active }) => active === 't')
}

t.test(`${ROWS} rows`, async (t) => {
  const server = await startPostgres(t, {
    version: '15',
    settings: { log_min_duration_statement: '0', log_timezone: 'UTC' },
  })
  const source = await createDatabase(t, { server })
  const table = await createTable(source)

  await t.test('as many reads of one table at once as readers', async (t) => {
    for (const readers of [null, 4]) {
      const wanted = readers ?? defaultReaders()
      const most = await readsAtOnce(t, server, source, readers)
      t.equal(most, wanted, `${most} of ${wanted} readers were reading at once`)
    }
  })

  await t.test('killed at random instants under a writer, both sides are equal', async (t) => {
    const seed = testSeed()
    t.comment(`TIDEMARK_SEED=${seed}`)
    const target = await createDatabase(t, { version: '15' })
    const { file } = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.w' },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name },
    })
    const writer = startWriter(source, table, { seed, ratePerSecond: 1_000, prepared: true })
    const inPart = await killAgainAndAgain(t, file, { source, target }, seed)
    t.ok(inPart > 0, `${inPart} of ${KILLS} kills left a table that was read in part`)
    const once = await runTidemark(t, ['sync', file, '--once'], { timeoutMs: SYNC_MS_MAX })
    t.equal(once.code, 0, once.stderr)
    await writer.stop()
    t.ok(writer.commits() > 500, `${writer.commits()} commits`)
    const last = await runTidemark(t, ['sync', file, '--until-caught-up'], { timeoutMs: SYNC_MS_MAX })
    t.equal(last.code, 0, last.stderr)
    const difference = await tableDifference({ db: source, table: 'public.w' }, { db: target, table: 'public.w' })
    t.equal(difference, null, describeDifference(difference))
  })
})
