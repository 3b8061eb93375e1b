/** Partitions whose REPLICA IDENTITY is not their root's (1.10 h), and targets that do not keep what they take. */
import t from 'tap'
import { copied, goesOn, stops } from '../support/ddl.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'

const ROOT = `create table x (id int, r int, u int not null, v text, primary key (id, r), unique (u, r)) partition by list (r);
  alter table x replica identity using index x_u_r_key;
  create table x1 partition of x for values in (1);
  insert into x select i, 1, i, 'x' from generate_series(1, 10) i;`

t.test('1.10 h a partition with an identity of its own is refused, with what mends it', async (t) => {
  for (const [sql, fix, more] of [
    [ROOT, 'ALTER TABLE public.x1 REPLICA IDENTITY FULL;', {}],
    [
      `create table x (id int, r int, v text) partition by list (r); create table x1 partition of x for values in (1);
       alter table x replica identity full`,
      'ALTER TABLE public.x1 REPLICA IDENTITY FULL;',
      { 'no-primary-key': 'full-row' },
    ],
  ] as const) {
    const source = await createDatabase(t)
    const target = await createDatabase(t)
    await source.query(sql)
    const { file } = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.*', ...more },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name },
    })
    const check = await runTidemark(t, ['check', file])
    t.match(check, { code: 3, stdout: new RegExp(`fix: ${fix}`) })
    const sync = await runTidemark(t, ['sync', file, '--once'])
    t.equal(sync.code, 3, sync.stderr)
    t.match(sync.stderr, fix)
    t.same(await source.query('select from pg_publication'), [], 'the application may go on writing')
    await source.query(fix)
    t.equal((await runTidemark(t, ['check', file])).code, 0)
  }
})

t.test('1.10 h with the fix changes are found, and a new partition without it stops', async (t) => {
  const copy = await copied(t, { sql: `${ROOT} alter table x1 replica identity full` })
  await copy.source.query('delete from x where id = 2; update x set u = 777 where id = 3')
  await goesOn(t, copy)
  await copy.source.query('create table x2 partition of x for values in (2)')
  await copy.source.query(`insert into x values (20, 2, 20, 'new')`)
  await copy.source.query('delete from x where id = 20')
  await stops(t, copy, 3, /partition/)
})

t.test('a partition that is attached while the pipeline runs is looked at', async (t) => {
  const copy = await copied(t, { sql: `${ROOT} alter table x1 replica identity full` })
  const sync = startTidemark(t, ['sync', copy.file])
  await sync.line(/streaming, /)
  await copy.source.query('create table x2 partition of x for values in (2)')
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, /postgres\.identity_changed: .*its partition public\.x2/)
})

t.test(
  '1.10 h an old key that lacks a column stops at once, before anybody has looked at the new partition',
  async (t) => {
    const copy = await copied(t, {
      sql: `${ROOT} alter table x1 replica identity full`,
      source: { 'heartbeat.interval': '1h' },
    })
    const sync = startTidemark(t, ['sync', copy.file])
    await sync.line(/streaming, /)
    await copy.source.query(`create table x2 partition of x for values in (2); insert into x values (20, 2, 20, 'new')`)
    await copy.source.query('delete from x where id = 20')
    const { code, stderr } = await sync.exit()
    t.equal(code, 3, stderr)
    t.match(stderr, /postgres\.identity_changed: .*carries an old key without u/)
  },
)

t.test('a trigger that drops rows of the target stops the pipeline', async (t) => {
  const copy = await copied(t)
  await copy.target.query(`create function drop_row() returns trigger language plpgsql as 'begin return null; end';
    create trigger drop_row before insert or update on x for each row execute function drop_row()`)
  await copy.source.query(`insert into x values (100, 'lost', 1)`)
  const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up', '--set', 'sink.target.constraints=allow'])
  t.equal(run.code, 3, run.stderr)
  t.match(run.stderr, /sink\.constraints: .*without keeping them/)
  await copy.source.query(`insert into x select i, 'many', i from generate_series(200, 900) i`)
  const many = await runTidemark(t, ['sync', copy.file, '--until-caught-up', '--set', 'sink.target.constraints=allow'])
  t.equal(many.code, 3, many.stderr)
  await copy.target.query('drop trigger drop_row on x')
  await goesOn(t, copy)
})

t.test('row security of a target is found by check, and a read-only default is lifted', async (t) => {
  const copy = await copied(t)
  const role = `r_${copy.target.name}`
  await copy.target.query(`create role ${role} login password 'pw'; grant all on schema public, tidemark to ${role};
    grant all on all tables in schema public, tidemark to ${role}; alter role ${role} set default_transaction_read_only = on`)
  t.teardown(() => copy.target.query(`drop owned by ${role}; drop role ${role}`).then(() => {}))
  const url = Object.assign(new URL(copy.target.url), { username: role, password: 'pw' }).href
  const as = ['--set', `sink.url=${url}`]
  await copy.source.query(`insert into x values (100, 'new', 1)`)
  await goesOn(t, copy, as)
  await copy.target.query('alter table x enable row level security')
  const check = await runTidemark(t, ['check', copy.file, ...as])
  t.match(check, { code: 3, stdout: new RegExp(`fix: ALTER ROLE "?${role}"? BYPASSRLS;`) })
})
