/** The races between the log and what a snapshot sees, made by the server itself (correctness.md 1.6, 1.10). */
import t, { type Test } from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, startPostgres, type TestDatabase } from '../support/postgres.js'
import {
  type ProcessExit,
  runTidemark,
  startTidemark,
  type TidemarkProcess,
  writePipeline,
} from '../support/process.js'
import { until } from '../support/until.js'

const pipelineOf = (t: Test, source: { url: string }, target: TestDatabase, name: string) =>
  writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.t', 'scan.incremental.snapshot.chunk.size': 100 },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name, 'checkpoint.interval': '50ms' },
  })

const TABLE = `create table t (id int primary key, v text); insert into t select i, 'old' from generate_series(1, 1000) i`

/** Ends it at a checkpoint. */
function stopped(run: TidemarkProcess): Promise<ProcessExit> {
  run.signal('SIGTERM')
  return run.exit()
}

async function same(t: Test, source: TestDatabase, target: TestDatabase): Promise<void> {
  const difference = await tableDifference({ db: source, table: 'public.t' }, { db: target, table: 'public.t' })
  t.equal(difference, null, describeDifference(difference))
}

t.test('T2 T18 a transaction that is open across the snapshot arrives', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query(TABLE)
  const pipeline = pipelineOf(t, source, target, source.name)
  // The slot must exist first: it waits for transactions older than itself.
  t.equal(
    (await runTidemark(t, ['sync', pipeline.file], { failpoint: { step: 'start.first-checkpoint' } })).signal,
    'SIGKILL',
  )
  const open = await source.connect()
  await open.query(`begin; update t set v = 'open' where id in (5, 500, 1000)`)
  const sync = startTidemark(t, ['sync', pipeline.file])
  await until(
    async () => Number((await target.query('select count(*) as n from t').catch(() => [{ n: '0' }]))[0]!.n) === 1000,
  )
  await source.query(`update t set v = 'second' where id = 6`)
  await open.query('commit')
  await until(async () => (await target.query(`select count(*) as n from t where v = 'open'`))[0]!.n === '3')
  t.equal((await stopped(sync)).code, 143)
  await same(t, source, target)
})

t.test('T3 a commit that is delivered long before it is visible arrives once, also across SIGKILL', async (t) => {
  const server = await startPostgres(t, { version: '15', settings: { synchronous_standby_names: '' } })
  const source = await createDatabase(t, { server })
  const target = await createDatabase(t, { version: '15' })
  await source.query(TABLE)
  const pipeline = pipelineOf(t, source, target, 'ghost')
  t.equal(
    (await runTidemark(t, ['sync', pipeline.file], { failpoint: { step: 'start.first-checkpoint' } })).signal,
    'SIGKILL',
  )
  const waiting = await source.connect()
  const [{ pid }] = (await waiting.query('select pg_backend_pid()::text as pid')) as [{ pid: string }]
  await source.query(`alter system set synchronous_standby_names = 'ghost'`)
  await source.query('select pg_reload_conf()')
  await until(
    async () => (await source.query('show synchronous_standby_names'))[0]!.synchronous_standby_names === 'ghost',
  )
  const commit = waiting.query(`update t set v = 'ghost' where id <= 500`).catch(() => [])
  await until(
    async () =>
      (await source.query(`select 1 from pg_stat_activity where pid = ${pid} and wait_event = 'SyncRep'`)).length === 1,
  )
  // Delivered and dropped for chunks that still wait, and seen by no snapshot: the checkpoint must remember it (1.10 b).
  const first = startTidemark(t, ['sync', pipeline.file], { failpoint: { step: 'checkpoint.released', nth: 3 } })
  const killed = await first.exit()
  t.equal(killed.signal, 'SIGKILL', killed.stderr)
  const again = startTidemark(t, ['sync', pipeline.file])
  await source.query(`alter system set synchronous_standby_names = ''`)
  await source.query('select pg_reload_conf()')
  await commit
  await until(
    async () =>
      (await target.query(`select count(*) as n from t where v = 'ghost'`).catch(() => [{ n: '0' }]))[0]!.n === '500',
  )
  await until(async () => (await target.query('select count(*) as n from t'))[0]!.n === '1000')
  t.equal((await stopped(again)).code, 143)
  await same(t, source, target)
})

t.test('1.10 e a server that loses unflushed commits and reuses their xids', async (t) => {
  const server = await startPostgres(t, {
    version: '15',
    settings: { synchronous_commit: 'off', wal_writer_delay: '10s' },
  })
  const source = await createDatabase(t, { server })
  const target = await createDatabase(t, { version: '15' })
  await source.query(TABLE)
  await source.query('checkpoint')
  const pipeline = pipelineOf(t, source, target, 'unflushed')
  const sync = startTidemark(t, ['sync', pipeline.file])
  await until(
    async () => Number((await target.query('select count(*) as n from t').catch(() => [{ n: '0' }]))[0]!.n) === 1000,
  )
  for (let round = 0; round < 3; round++) {
    await source.query(`update t set v = 'maybe lost ${round}' where id % 10 = ${round}`)
    await server.kill()
    await server.start()
    await source.query(`set synchronous_commit = on; update t set v = 'kept ${round}' where id % 10 = ${round + 5}`)
    await until(
      async () => (await target.query(`select count(*) as n from t where v = 'kept ${round}'`))[0]!.n === '100',
      { timeoutMs: 60_000 },
    )
  }
  t.equal((await stopped(sync)).code, 143)
  await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  await same(t, source, target)
})

t.test('1.10 d with a blocked sink, ALTER TABLE and an UPDATE finish within seconds', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query(`create table t (id int primary key, v text)`)
  await source.query(`insert into t select i, repeat('x', 500) from generate_series(1, 300000) i`)
  const pipeline = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.t' },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
  })
  const sync = startTidemark(t, ['sync', pipeline.file])
  const count = async () => Number((await target.query('select count(*) as n from t').catch(() => [{ n: '0' }]))[0]!.n)
  await until(async () => (await count()) > 0)
  const blocker = await target.connect()
  await blocker.query('begin')
  await blocker.query('lock table t in access exclusive mode')
  const waiting = `select 1 from pg_locks where relation = 't'::regclass and not granted`
  await until(async () => (await blocker.query(waiting)).length > 0)
  const [left] = await blocker.query('select count(*) as n from t')
  t.ok(Number(left!.n) < 300_000, `${left!.n} rows had arrived when the sink was blocked`)
  const begun = Date.now()
  await source.query('alter table t add column w int')
  await source.query(`update t set v = 'changed' where id = 1`)
  const took = Date.now() - begun
  t.ok(took < 5_000, `ALTER TABLE and UPDATE took ${took} ms behind chunk readers whose sink is blocked`)
  await blocker.query('rollback')
  t.ok(sync.running)
  await sync.kill()
})
