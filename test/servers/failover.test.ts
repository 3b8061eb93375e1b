/** 1.10 k on real servers: what a failover of the source keeps, and what it must stop for. */
import t, { type Test } from 'tap'
import { postgresSource } from '../../connectors/postgres/index.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { query, type ServerPair, slotSynced, startPair } from '../support/standby.js'
import { until } from '../support/until.js'

const NAME = 'failover'
const SLOT = `tidemark_${NAME}`

interface Setup {
  readonly pair: ServerPair
  readonly target: TestDatabase
  readonly file: string
}

/** A pair with one table, and its pipeline into a database elsewhere. */
async function setup(t: Test, options: { readonly sync: boolean }): Promise<Setup> {
  const pair = await startPair(t, { version: '18', ...options })
  const target = await createDatabase(t, { version: '15' })
  await query(pair.primary.url, 'create database shop')
  await query(on(pair.primary), 'create table t (id int primary key, v text)')
  await query(on(pair.primary), `insert into t select i, 'first' from generate_series(1, 500) i`)
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: pair.url('shop'), tables: 'public.t', 'heartbeat.interval': '200ms' },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: NAME, 'checkpoint.interval': '50ms' },
  })
  return { pair, target, file }
}

function on(server: { readonly url: string }): string {
  const url = new URL(server.url)
  url.pathname = '/shop'
  return url.href
}

async function copied(t: Test, { file }: Setup): Promise<void> {
  const run = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(run.code, 0, run.stderr)
}

async function timeline({ target }: Setup): Promise<string | null | undefined> {
  const [row] = await target.query(
    `select checkpoint::json->'source'->>'timeline' as timeline from tidemark.checkpoint`,
  )
  return row?.timeline
}

async function same(t: Test, { pair, target }: Setup): Promise<void> {
  const ours = { query: (sql: string) => query(on(pair.standby), sql) }
  const difference = await tableDifference({ db: ours, table: 'public.t' }, { db: target, table: 'public.t' })
  t.equal(difference, null, describeDifference(difference))
}

/** Writes to the primary until it is gone. */
async function write(url: string): Promise<number> {
  let id = 1000
  for (; ; id++) {
    const done = await query(
      url,
      `insert into t values (${id}, 'more'); update t set v = 'u${id}' where id = ${id % 500}`,
    )
      .then(() => true)
      .catch(() => false)
    if (!done) return id
  }
}

t.test('1.10 k a running pipeline goes on on the promoted standby, and nothing is lost', async (t) => {
  const s = await setup(t, { sync: true })
  const sync = startTidemark(t, ['sync', s.file])
  await until(async () => (await s.target.query(`select 1 from t where id = 500`).catch(() => [])).length > 0)
  await slotSynced(s.pair, SLOT)
  const writing = write(on(s.pair.primary))
  await until(async () => (await s.target.query(`select 1 from t where id = 1050`)).length > 0)
  await s.pair.primary.stop()
  const last = await writing
  t.ok(last > 1050, 'the primary was written to up to its end')
  await sync.line(/trying again from the last checkpoint/)
  t.equal(await timeline(s), '1')
  await s.pair.failOver()
  await query(on(s.pair.standby), `insert into t values (100000, 'after'); update t set v = 'after' where id = 7`)
  await until(async () => (await s.target.query(`select 1 from t where id = 100000`)).length > 0, { timeoutMs: 60_000 })
  await same(t, s)
  t.equal(await timeline(s), '2', 'the checkpoint is of the new timeline')
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143)
  await query(on(s.pair.standby), `delete from t where id < 100`)
  await copied(t, s)
  await same(t, s)
})

t.test('1.10 k a standby that was promoted before the checkpoint has lost commits', async (t) => {
  const s = await setup(t, { sync: true })
  // The standby takes the slot over only while it moves.
  const sync = startTidemark(t, ['sync', s.file])
  await slotSynced(s.pair, SLOT)
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143)
  await s.pair.standby.stop()
  await query(on(s.pair.primary), `update t set v = 'only here' where id <= 10`)
  await copied(t, s)
  const check = await runTidemark(t, ['check', s.file])
  t.match(check.stdout + check.stderr, /synchronized_standby_slots = 'standby'/, 'said before it happens')
  await s.pair.primary.kill()
  await s.pair.standby.start()
  await s.pair.failOver()
  const refused = await runTidemark(t, ['sync', s.file])
  t.equal(refused.code, 3, refused.stderr)
  t.match(refused.stderr, /it left timeline 1 at \S+, but the targets hold changes up to \S+/)
  t.notMatch(refused.stderr, /\n {4}at /, 'no stack trace')
  t.equal(await timeline(s), '1')
})

t.test('1.10 e no connection of an attempt leads to another server', async (t) => {
  const { pair } = await setup(t, { sync: false })
  const options = postgresSource.options.parse({ url: pair.url('shop'), tables: 'public.t' }) as never
  const source = postgresSource.create(options, { pipeline: NAME })
  const { signal } = new AbortController()
  t.teardown(() => source.close())
  const context = {
    pipeline: NAME,
    durable: true,
    fenced: true,
    first: true,
    known: new Map(),
    saved: null,
    note: () => {},
    signal,
  }
  await source.open(context)
  await (await source.session({ signal })).close()
  await source.prepare({ signal })
  const position = await source.createLog({ signal })
  // The primary lives on, and so do connections to it.
  await pair.failOver()
  const another = { code: 'postgres.connection', retriable: true, message: /led to another server/ }
  await t.rejects(source.session({ signal }), another)
  await t.rejects(source.tail(position, { signal })[Symbol.asyncIterator]().next(), another)
})

t.test('1.10 k a slot that was not synchronized, or was made by hand, is refused', async (t) => {
  const s = await setup(t, { sync: false })
  await copied(t, s)
  await s.pair.primary.stop()
  await s.pair.failOver()
  const gone = await runTidemark(t, ['sync', s.file])
  t.equal(gone.code, 3, gone.stderr)
  t.match(gone.stderr, /replication slot tidemark_failover does not exist here/)
  await query(
    on(s.pair.standby),
    `select pg_create_logical_replication_slot('${SLOT}', 'pgoutput', false, false, true)`,
  )
  const made = await runTidemark(t, ['sync', s.file])
  t.equal(made.code, 3, made.stderr)
  t.match(made.stderr, /was not synchronized from the old primary/)
})
