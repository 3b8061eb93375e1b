/** Targets that are other tables than the ones that were written: another table under the name of the old one. */
import t, { type Test } from 'tap'
import type { TidemarkError } from '../../core/errors.js'
import { type Copied, copied, goesOn, stops } from '../support/ddl.js'
import { createDatabase } from '../support/postgres.js'
import { batch, change, openSink, put, schemaOf } from '../support/postgres-sink.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const { c } = change
const REPLACE = 'begin; alter table x rename to was; create table x (like was including all); commit'
const BACK = 'begin; drop table x; alter table was rename to x; commit'
const RECREATED = /sink\.target_recreated: "public"\."x" is not what this pipeline has written to/

async function targetHas(copy: Copied, id: number): Promise<void> {
  await until(async () => (await copy.target.query('select from x where id = $1', [id])).length === 1, {
    what: `row ${id} in the target`,
  })
}

async function failure(promise: Promise<unknown>): Promise<TidemarkError | null> {
  return promise.then(
    () => null,
    (error: unknown) => error as TidemarkError,
  )
}

t.test('another table under the name of the target stops a start, and check says so', async (t) => {
  const copy = await copied(t)
  await copy.target.query(REPLACE)
  await copy.source.query('update x set a = 0 where id = 1')
  await stops(t, copy, 3, RECREATED)
  const checked = await runTidemark(t, ['check', copy.file])
  t.match(checked, { code: 3, stdout: /problem {2}"public"\."x" .*was made under its name/ })
  t.strictSame(await copy.target.query('select * from x'), [], 'nothing was written to it')
  await copy.target.query(BACK)
  await goesOn(t, copy)
})

t.test('the printed statement takes the new table for the old one, and the next one is found again', async (t) => {
  const copy = await copied(t)
  await copy.target.query('create table other (id int primary key)')
  await copy.source.query('create table other (id int primary key)')
  for (const _ of [1, 2]) {
    await copy.target.query(
      'begin; drop table if exists was; alter table x rename to was; create table x (like was including all); insert into x select * from was; commit',
    )
    const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
    t.match(run, { code: 3, stderr: RECREATED })
    const statement = /(UPDATE tidemark\.checkpoint [^;]*;)/.exec(run.stderr)?.[1]
    await copy.target.query(statement ?? 'no statement was printed')
    await copy.source.query('delete from x where id = (select min(id) from x)')
    await goesOn(t, copy)
  }
})

t.test('a table that is copied anew may have a new target', async (t) => {
  const copy = await copied(t)
  await copy.source.query('create table other (id int primary key)')
  const without = await runTidemark(t, ['sync', copy.file, '--once', '--set', 'source.tables.exclude=public.x'])
  t.equal(without.code, 0, without.stderr)
  await copy.target.query('drop table x')
  await goesOn(t, copy)
  await goesOn(t, copy)
})

t.test('another table under the name of the target stops a running pipeline before it commits', async (t) => {
  const copy = await copied(t)
  const sync = startTidemark(t, ['sync', copy.file])
  await copy.source.query(`insert into x values (100, 'before', 1)`)
  await targetHas(copy, 100)
  await copy.target.query(REPLACE)
  await copy.source.query(`insert into x values (101, 'behind', 1); delete from x where id = 1`)
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, RECREATED)
  t.strictSame(await copy.target.query('select * from x'), [], 'nothing was written to it')
  await copy.target.query(BACK)
  await goesOn(t, copy)
})

t.test('a session finds the other table when it plans and when it commits', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('x', { id: 'integer' }, ['id'])
  for (const again of [table, { ...table, fingerprint: 'another' }]) {
    await db.query('drop table if exists x, was; drop schema if exists tidemark cascade')
    const session = await openSink(db.url, [table])
    await put(session, '1', batch(table, c(['1'])))
    await db.query(REPLACE)
    t.match(await failure(put(session, '2', batch(again, c(['2'])))), { code: 'sink.target_recreated', exitCode: 3 })
    await session.close()
    t.strictSame(await db.query('select * from x'), [])
    t.strictSame(await db.query('select checkpoint from tidemark.checkpoint'), [{ checkpoint: '1' }])
  }
})

t.test('a checkpoint table of before goes on, and knows its targets from then on', async (t) => {
  const copy = await copied(t)
  await copy.target.query('alter table tidemark.checkpoint drop column targets')
  const checked = await runTidemark(t, ['check', copy.file])
  t.equal(checked.code, 0, checked.stdout)
  await copy.source.query('update x set a = 0 where id = 1')
  await goesOn(t, copy)
  await copy.target.query(REPLACE)
  await stops(t, copy, 3, RECREATED)
})

t.test('a user who may not alter the checkpoint table of before is told what to run', async (t) => {
  const copy = await copied(t)
  await withRole(t, copy, async (file, role) => {
    await copy.target.query('alter table tidemark.checkpoint drop column targets')
    const fix = /(ALTER TABLE tidemark\.checkpoint ADD COLUMN IF NOT EXISTS targets jsonb;)/
    t.match(await runTidemark(t, ['check', file]), { code: 3, stdout: fix })
    const run = await runTidemark(t, ['sync', file, '--until-caught-up'])
    t.match(run, { code: 3, stderr: fix }, role)
    await copy.target.query(fix.exec(run.stderr)?.[1] ?? '')
    const again = await runTidemark(t, ['sync', file, '--until-caught-up'])
    t.equal(again.code, 0, again.stderr)
  })
})

/** The copy's pipeline, writing as a role that owns the target and not the checkpoint table. */
async function withRole(t: Test, copy: Copied, work: (file: string, role: string) => Promise<void>): Promise<void> {
  const role = `${copy.target.name}_writer`
  await copy.target.query(`create role ${role} login; grant usage on schema tidemark to ${role};
    grant select, insert, update, delete on tidemark.checkpoint to ${role}; alter table x owner to ${role}`)
  t.teardown(async () => {
    await copy.target.query(`drop owned by ${role} cascade; drop role ${role}`).catch(() => {})
  })
  const url = new URL(copy.target.url)
  url.username = role
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: copy.source.url, tables: 'public.*', 'heartbeat.interval': '200ms' },
    sink: { type: 'postgres', url: url.href },
    pipeline: { name: copy.source.name },
  })
  await work(file, role)
}
