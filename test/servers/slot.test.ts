/** Slots, positions and tables that come later: what must stop, what must move on, and in which words. */
import { chownSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, startPostgres, type TestDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

interface Setup {
  readonly source: TestDatabase
  readonly target: TestDatabase
  readonly file: string
  readonly slot: string
}

async function setup(t: Test, tables = 'public.t', source?: TestDatabase): Promise<Setup> {
  const from = source ?? (await createDatabase(t, { version: '15' }))
  const target = await createDatabase(t, { version: '15' })
  await from.query(`create table t (id int primary key, v text)`)
  await from.query(`insert into t select i, 'first' from generate_series(1, 500) i`)
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: from.url, tables, 'heartbeat.interval': '200ms' },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: from.name, 'checkpoint.interval': '50ms' },
  })
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  return { source: from, target, file, slot: `tidemark_${from.name}` }
}

async function same(t: Test, { source, target }: Setup, table = 'public.t'): Promise<void> {
  const difference = await tableDifference({ db: source, table }, { db: target, table })
  t.equal(difference, null, describeDifference(difference))
}

t.test('T55 a slot that was dropped, or made again, stops with what is lost', async (t) => {
  const s = await setup(t)
  await s.source.query('select pg_drop_replication_slot($1)', [s.slot])
  const gone = await runTidemark(t, ['sync', s.file])
  t.equal(gone.code, 3, gone.stderr)
  t.match(gone.stderr, /replication slot \S+ is gone/)
  await s.source.query('insert into t values (1000, $1)', ['missed'])
  await s.source.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [s.slot])
  const again = await runTidemark(t, ['sync', s.file])
  t.equal(again.code, 3, again.stderr)
  t.match(again.stderr, /has moved on/)
  t.notMatch(again.stderr, /\n {4}at /, 'no stack trace')
})

t.test('T59 a slot that the server invalidated stops with the reason', async (t) => {
  const server = await startPostgres(t, {
    version: '15',
    settings: { max_slot_wal_keep_size: '1MB', max_wal_size: '32MB', min_wal_size: '32MB' },
  })
  const s = await setup(t, 'public.t', await createDatabase(t, { server }))
  await s.source.query('create table filler (a text)')
  await until(
    async () => {
      await s.source.query(`insert into filler select repeat('x', 1000) from generate_series(1, 20000)`)
      await s.source.query('checkpoint')
      const [row] = await s.source.query('select wal_status from pg_replication_slots where slot_name = $1', [s.slot])
      return row!.wal_status === 'lost'
    },
    { timeoutMs: 60_000 },
  )
  const lost = await runTidemark(t, ['sync', s.file])
  t.equal(lost.code, 3, lost.stderr)
  t.match(lost.stderr, /was invalidated by the server/)
})

t.test('1.10 k a new timeline stops from the moment of the promotion, although the slot is there', async (t) => {
  const server = await startPostgres(t, { version: '15' })
  const s = await setup(t, 'public.t', await createDatabase(t, { server }))
  await server.stop('fast')
  const signal = join(server.dataDir, 'standby.signal')
  writeFileSync(signal, '')
  const { uid, gid } = statSync(server.dataDir)
  chownSync(signal, uid, gid)
  await server.start()
  // The checkpoint that a promotion asks for may take minutes on a busy server; here it waits for us.
  const [checkpointer] = await s.source.query(`select pid from pg_stat_activity where backend_type = 'checkpointer'`)
  process.kill(Number(checkpointer!.pid), 'SIGSTOP')
  t.teardown(() => process.kill(Number(checkpointer!.pid), 'SIGCONT'))
  await s.source.query('select pg_promote()')
  await s.source.query(`update t set v = 'on the new timeline' where id = 1`)
  t.same(await s.source.query('select count(*) from pg_replication_slots'), [{ count: '1' }])
  const stopped = await runTidemark(t, ['sync', s.file])
  t.equal(stopped.code, 3, stopped.stderr)
  t.match(
    stopped.stderr,
    /postgres\.timeline: the checkpoint was made on timeline 1 of the server, which is on timeline 2 now/,
  )
  t.same(await s.target.query('select v from t where id = 1'), [{ v: 'first' }])
})

t.test('T53 T60 the slot moves on while captured tables are idle, never past the checkpoint', async (t) => {
  const s = await setup(t)
  const sync = startTidemark(t, ['sync', s.file])
  await s.source.query('create table busy (a int)')
  const confirmed = async () =>
    BigInt(
      (
        await s.source.query(
          `select (confirmed_flush_lsn - '0/0')::text as at from pg_replication_slots where slot_name = $1`,
          [s.slot],
        )
      )[0]!.at!,
    )
  const saved = async () => {
    const [row] = await s.target.query(`select checkpoint::json->>'ordinal' as at from tidemark.checkpoint`)
    return BigInt(row!.at!)
  }
  const before = await confirmed()
  await until(
    async () => {
      await s.source.query('insert into busy select generate_series(1, 1000)')
      const at = await confirmed()
      t.ok(at <= (await saved()) + 1n, 'confirmed only what a committed checkpoint says')
      return at > before + 100_000n
    },
    { timeoutMs: 60_000 },
  )
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143)
})

t.test('T51 T52 adjacent commits and logical messages around a restart', async (t) => {
  const s = await setup(t)
  for (let round = 0; round < 5; round++) {
    const sync = startTidemark(t, ['sync', s.file], { failpoint: { step: 'checkpoint.released', nth: 2 + round } })
    const work = async () => {
      for (let i = 0; i < 200 && sync.running; i++) {
        await Promise.all(
          [1, 2, 3].map((n) => s.source.query(`update t set v = v || '.' where id = $1`, [round * 10 + n])),
        )
        await s.source.query(
          `begin; select pg_logical_emit_message(true, 'app', 'note'); update t set v = 'm' where id = 400; commit`,
        )
      }
    }
    await work()
    t.equal((await sync.exit()).signal, 'SIGKILL')
  }
  const last = await runTidemark(t, ['sync', s.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  await same(t, s)
})

t.test('T77 a table added on resume, with a writer open across its addition', async (t) => {
  const s = await setup(t, 'public.t*')
  await s.source.query('create table t_more (id int primary key, v text)')
  await s.source.query(`insert into t_more select i, 'old' from generate_series(1, 300) i`)
  const open = await s.source.connect()
  await open.query('begin')
  await open.query(`update t_more set v = 'open' where id <= 10`)
  const sync = startTidemark(t, ['sync', s.file])
  // The table joins the publication; its first chunk waits for the open transaction (1.10 j).
  const joined = `select 1 from pg_publication_tables where tablename = 't_more'`
  await until(async () => (await s.source.query(joined)).length > 0)
  // Other tables go on meanwhile, and for longer than the first chunk would need.
  for (const v of ['goes on', 'goes on and on']) {
    await s.source.query('update t set v = $1 where id = 1', [v])
    await until(async () => (await s.target.query('select 1 from t where v = $1', [v])).length > 0)
  }
  t.same(await s.target.query('select count(*) from t_more'), [{ count: '0' }], 'nothing of it is read yet')
  await open.query(`insert into t_more values (1000, 'open')`)
  await open.query('commit')
  await until(async () => (await s.target.query(`select 1 from t_more where id = 1000`).catch(() => [])).length > 0)
  sync.signal('SIGTERM')
  await sync.exit()
  const last = await runTidemark(t, ['sync', s.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  await same(t, s, 'public.t_more')
})

t.test('T78 a column added while streaming stops with the exact statement, and one dropped goes on', async (t) => {
  const s = await setup(t)
  await s.source.query('alter table t add column w int')
  await s.source.query('update t set w = 5 where id = 1')
  const stopped = await runTidemark(t, ['sync', s.file, '--until-caught-up'])
  t.not(stopped.code, 0)
  const [statement] = /ALTER TABLE [^;]+;/.exec(stopped.stderr) ?? []
  t.ok(statement, stopped.stderr)
  await s.target.query(statement!)
  const on = await runTidemark(t, ['sync', s.file, '--until-caught-up'])
  t.equal(on.code, 0, on.stderr)
  await same(t, s)
  await s.source.query('alter table t drop column w')
  await s.source.query(`update t set v = 'dropped' where id = 2`)
  const dropped = await runTidemark(t, ['sync', s.file, '--until-caught-up'])
  t.equal(dropped.code, 0, dropped.stderr)
  t.same(await s.target.query('select v from t where id = 2'), [{ v: 'dropped' }])
})

t.test('a sink that stands still longer than wal_sender_timeout keeps its connection', async (t) => {
  const server = await startPostgres(t, { version: '15', settings: { wal_sender_timeout: '2s' } })
  const s = await setup(t, 'public.t', await createDatabase(t, { server }))
  const sync = startTidemark(t, ['sync', s.file])
  await sync.line(/streaming/)
  const walsender = async () =>
    (await s.source.query('select active_pid::text as pid from pg_replication_slots'))[0]!.pid
  await until(async () => (await walsender()) !== null)
  const pid = await walsender()
  const blocker = await s.target.connect()
  await blocker.query('begin')
  await blocker.query('lock table t in access exclusive mode')
  await s.source.query(`insert into t select i, repeat('x', 1000) from generate_series(1000, 60000) i`)
  const begun = Date.now()
  await until(async () => Date.now() - begun > 6_000)
  t.equal(await walsender(), pid, 'the same WAL sender after three times its time-out')
  await blocker.query('rollback')
  await until(async () => (await s.target.query('select 1 from t where id = 60000')).length > 0, { timeoutMs: 60_000 })
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143)
})
