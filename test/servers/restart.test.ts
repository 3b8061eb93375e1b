/** A run that was ended - by a signal, two of them, or SIGKILL - and what the next one finds: slot, checkpoint and report. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { type PipelineFile, runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

/** A process that leaves at once does so well within this; one that waits for the sink would not. */
const AT_ONCE_MS_MAX = 3_000

interface Setup {
  readonly source: TestDatabase
  readonly target: TestDatabase
  readonly pipeline: PipelineFile
}

/** A pipeline whose snapshot is done. */
async function setup(t: Test): Promise<Setup> {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query(
    `create table t (id int primary key, v text); insert into t select i, 'first' from generate_series(1, 500) i`,
  )
  const pipeline = into(t, source, target)
  const once = await runTidemark(t, ['sync', pipeline.file, '--once'])
  t.equal(once.code, 0, once.stderr)
  return { source, target, pipeline }
}

const into = (t: Test, source: TestDatabase, target: TestDatabase) =>
  writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.t' },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
  })

async function same(t: Test, source: TestDatabase, target: TestDatabase): Promise<void> {
  const difference = await tableDifference({ db: source, table: 'public.t' }, { db: target, table: 'public.t' })
  t.equal(difference, null, describeDifference(difference))
}

const arrived = (target: TestDatabase, v: string) =>
  until(async () => (await target.query('select 1 from t where v = $1', [v])).length > 0)

async function saved(target: TestDatabase): Promise<bigint> {
  const [row] = await target.query(
    `select (split_part(checkpoint::json->>'position', '+', 1)::pg_lsn - '0/0')::text as at from tidemark.checkpoint`,
  )
  return BigInt(row!.at!)
}

async function confirmed(source: TestDatabase): Promise<bigint> {
  const [row] = await source.query(
    `select (confirmed_flush_lsn - '0/0')::text as at from pg_replication_slots where database = $1`,
    [source.name],
  )
  return BigInt(row!.at!)
}

interface Report {
  readonly outcome: string
  readonly position: string | null
  readonly error?: { readonly code: string }
}

const reportOf = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Report

/** A copy of the target as it is now, as a backup would be restored. */
const backup = (t: Test, target: TestDatabase) =>
  createDatabase(t, { version: '15', template: `template ${target.name}` })

t.test(
  'T54 what a killed run had committed and not confirmed is confirmed by the next one, with nothing new in the log',
  async (t) => {
    const { source, target, pipeline } = await setup(t)
    const before = await confirmed(source)
    const first = startTidemark(t, ['sync', pipeline.file], { failpoint: { step: 'checkpoint.committed', nth: 1 } })
    await source.query(`update t set v = 'second' where id = 1`)
    t.equal((await first.exit()).signal, 'SIGKILL')
    const at = await saved(target)
    t.ok(at > before, 'a checkpoint was committed')
    t.equal(await confirmed(source), before, 'and not confirmed')
    const again = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(again.code, 0, again.stderr)
    t.ok((await confirmed(source)) >= at, 'confirmed again')
    t.ok((await confirmed(source)) <= (await saved(target)), 'and not more than a checkpoint says')
    await same(t, source, target)
  },
)

t.test(
  'T54 an older retained checkpoint works as long as the slot holds it, and is refused when it does not',
  async (t) => {
    const { source, target, pipeline } = await setup(t)
    const [held, gone] = [await backup(t, target), await backup(t, target)]
    // Commits further, but dies before the server may forget anything: the older state is still complete.
    const first = startTidemark(t, ['sync', pipeline.file], { failpoint: { step: 'checkpoint.committed', nth: 1 } })
    await source.query(
      `update t set v = 'second' where id <= 100; delete from t where id > 400; insert into t values (1000, 'new')`,
    )
    t.equal((await first.exit()).signal, 'SIGKILL')
    t.ok((await saved(target)) > (await saved(held)), 'the backup is older')
    const older = await runTidemark(t, ['sync', into(t, source, held).file, '--until-caught-up'])
    t.equal(older.code, 0, older.stderr)
    await same(t, source, held)
    // Confirmed now by the run above, so what lies behind the other backup's checkpoint is gone.
    await source.query(`update t set v = 'third' where id = 2`)
    const lost = await runTidemark(t, ['sync', into(t, source, gone).file, '--until-caught-up'])
    t.equal(lost.code, 3, lost.stderr)
    t.match(lost.stderr, /postgres\.position_lost: slot \S+ has moved on/)
    t.same(
      await gone.query('select count(*) from t where v <> $1', ['first']),
      [{ count: '0' }],
      'and nothing was written',
    )
  },
)

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} ends at a checkpoint, and its report replaces an older one in one step`, async (t) => {
    const { source, target, pipeline } = await setup(t)
    const file = pipeline.path('report.json')
    writeFileSync(file, 'an older report')
    const { ino } = statSync(file)
    const sync = startTidemark(t, ['sync', pipeline.file, '--report', file])
    await source.query(`update t set v = 'second' where id = 1`)
    await arrived(target, 'second')
    t.equal(readFileSync(file, 'utf8'), 'an older report', 'nothing is written before the end')
    sync.signal(signal)
    const ended = await sync.exit()
    t.equal(ended.code, code, ended.stderr)
    t.match(ended.stderr, /stopped at a checkpoint/)
    const report = reportOf(file)
    t.equal(report.outcome, 'stopped')
    const [row] = await target.query(`select checkpoint::json->>'position' as at from tidemark.checkpoint`)
    t.equal(report.position, row!.at, 'the position of the last checkpoint')
    t.not(statSync(file).ino, ino, 'by rename')
    t.same(readdirSync(pipeline.folder).sort(), ['pipeline.yaml', 'report.json'])
    const again = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up', '--report', file])
    t.equal(again.code, 0, again.stderr)
    t.equal(reportOf(file).outcome, 'done')
    await same(t, source, target)
  })
}

t.test('a second signal leaves at once, with a report, and loses nothing', async (t) => {
  const { source, target, pipeline } = await setup(t)
  const file = pipeline.path('report.json')
  const sync = startTidemark(t, ['sync', pipeline.file, '--report', file])
  await source.query(`update t set v = 'second' where id = 1`)
  await arrived(target, 'second')
  const blocker = await target.connect()
  await blocker.query('begin; lock table t in access exclusive mode')
  await source.query(`insert into t select i, 'behind the lock' from generate_series(1001, 3000) i`)
  await until(async () => (await blocker.query('select 1 from pg_locks where not granted')).length > 0)
  sync.signal('SIGINT')
  await sync.line(/once more to leave at once/)
  t.ok(sync.running, 'the first signal waits for the sink')
  t.notOk(existsSync(file))
  const begun = performance.now()
  sync.signal('SIGINT')
  const ended = await sync.exit()
  t.equal(ended.code, 130, ended.stderr)
  t.ok(performance.now() - begun < AT_ONCE_MS_MAX, 'at once')
  t.match(reportOf(file), { outcome: 'failed', error: { code: 'cli.left_at_once' } })
  await blocker.query('rollback')
  const again = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(again.code, 0, again.stderr)
  await same(t, source, target)
})

t.test('a run that fails says so in its report', async (t) => {
  const { source, pipeline } = await setup(t)
  await source.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1', [
    source.name,
  ])
  const file = pipeline.path('report.json')
  const failed = await runTidemark(t, ['sync', pipeline.file, '--report', file])
  t.equal(failed.code, 3, failed.stderr)
  t.match(reportOf(file), { outcome: 'failed', error: { code: 'postgres.slot' } })
})
