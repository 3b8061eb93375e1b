/** I8 on a real server: a sink that stands still while rows and log pile up costs the source disk, and us no memory. */
import t, { type Test } from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, type TidemarkProcess, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const MIB = 1024 * 1024
const ROW_CHARS = 2_000
const PILE_ROWS = 150_000
/** What piles up while the sink stands still. */
const PILE_MIB = Math.floor((PILE_ROWS * ROW_CHARS) / MIB)
/** The program itself takes about 110 MiB; its queues, buffers and the collector's slack must fit into the rest. */
const RSS_BYTES_MAX = 240 * MIB
/** Chunks that would together be far too much, if each were read to its end. */
const CHUNK_ROWS = 12_000
const READERS = 8
const DRAIN_MS_MAX = 120_000
/** The server stops sending when we stop reading: its position stands still for this long. */
const STILL_MS = 2_000

const pile = (from: number) =>
  `insert into t select i, repeat(chr(65 + i % 26), ${ROW_CHARS}) from generate_series(${from}, ${from + PILE_ROWS - 1}) i`

async function setup(t: Test) {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query('create table t (id int primary key, v text); alter table t alter v set storage plain')
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.t' },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
  })
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  return { source, target, file }
}

/** Resolves when a number has not changed for STILL_MS. */
async function still(number: () => Promise<string>): Promise<void> {
  let [last, since] = [await number(), performance.now()]
  await until(
    async () => {
      const now = await number()
      if (now !== last) [last, since] = [now, performance.now()]
      return performance.now() - since > STILL_MS
    },
    { timeoutMs: DRAIN_MS_MAX },
  )
}

async function goesOn(t: Test, sync: TidemarkProcess, source: TestDatabase, target: TestDatabase): Promise<void> {
  await until(async () => (await target.query('select count(*) as n from t'))[0]!.n === `${PILE_ROWS}`, {
    timeoutMs: DRAIN_MS_MAX,
  })
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143)
  const difference = await tableDifference({ db: source, table: 'public.t' }, { db: target, table: 'public.t' })
  t.equal(difference, null, describeDifference(difference))
}

t.test(`I8 the log piles up ${PILE_MIB} MiB behind a sink that stands still`, async (t) => {
  const { source, target, file } = await setup(t)
  const sync = startTidemark(t, ['sync', file])
  await sync.line(/streaming/)
  const blocker = await target.connect()
  await blocker.query('begin; lock table t in access exclusive mode')
  for (let from = 1; from <= PILE_ROWS; from += 1_000) {
    await source.query(pile(from).replace(`${from + PILE_ROWS - 1}`, `${from + 999}`))
  }
  const sent = `select sent_lsn::text as at from pg_stat_replication where application_name like 'tidemark:' || $1`
  await still(async () => String((await source.query(sent, [source.name]))[0]?.at))
  const peak = sync.peakRssBytes()
  t.ok(peak > 0 && peak < RSS_BYTES_MAX, `peak RSS ${Math.round(peak / MIB)} MiB`)
  await blocker.query('rollback')
  await goesOn(t, sync, source, target)
})

t.test(`I8 chunks of ${PILE_MIB} MiB are read behind a sink that stands still`, async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  for (const db of [source, target]) {
    await db.query('create table t (id int primary key, v text); alter table t alter v set storage plain')
  }
  await source.query(pile(1))
  const { file } = writePipeline(t, {
    source: {
      type: 'postgres',
      url: source.url,
      tables: 'public.t',
      'scan.incremental.snapshot.chunk.size': CHUNK_ROWS,
    },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name, parallelism: READERS },
  })
  const blocker = await target.connect()
  await blocker.query('begin; lock table t in share mode')
  const sync = startTidemark(t, ['sync', file])
  const waiting = `select 1 from pg_locks where relation = 't'::regclass and not granted`
  await until(async () => (await blocker.query(waiting)).length > 0)
  const readers = `select count(*) as n from pg_stat_activity where datname = $1 and application_name like 'tidemark:%'
    and query like 'copy (select %' and state = 'active'`
  await still(async () => String((await source.query(readers, [source.name]))[0]!.n))
  const peak = sync.peakRssBytes()
  t.ok(peak > 0 && peak < RSS_BYTES_MAX, `peak RSS ${Math.round(peak / MIB)} MiB`)
  await blocker.query('rollback')
  await goesOn(t, sync, source, target)
})
