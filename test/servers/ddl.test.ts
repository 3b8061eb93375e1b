/** What ALTER TABLE, DROP and the like do to copied rows, while streaming and between runs: equal, or stopped with what to do. */
import t from 'tap'
import { goesOn, ROWS, copied as setup, stops } from '../support/ddl.js'
import { runTidemark, startTidemark } from '../support/process.js'

t.test('a column added with a default: the printed statement gives old rows their value', async (t) => {
  for (const type of [
    `int default 7`,
    `text not null default 'it''s "so"'`,
    `timestamptz default now()`,
    `int[] default '{1,NULL}'`,
  ]) {
    const s = await setup(t)
    await s.source.query(`alter table x add column d ${type}`)
    await s.source.query(`insert into x (id, c) values (100, 'new')`)
    const fix = await stops(t, s, 3, /column "?d"? is missing/)
    await s.target.query(fix)
    await goesOn(t, s)
  }
})

t.test('a renamed column: the printed statement renames it', async (t) => {
  const s = await setup(t)
  await s.source.query('alter table x rename column c to cc')
  await s.source.query(`insert into x values (100, 'new', 1)`)
  const fix = await stops(t, s, 3, /called it c before/)
  t.match(fix, /RENAME COLUMN "?c"? TO "?cc"?/)
  await s.target.query(fix)
  t.match(await goesOn(t, s), /column c was renamed to cc/)
})

t.test('a rewrite of copied rows stops; an option says that the values did not change', async (t) => {
  const s = await setup(t)
  await s.source.query('alter table x alter column a type bigint using a * 1000')
  await s.target.query(await stops(t, s, 3, /column "?a"? has type integer/))
  await stops(t, s, 3, /ALTER TABLE rewrote its rows, which no log shows/)
  await stops(t, s, 3, /ALTER TABLE rewrote its rows/)
  const wider = await setup(t)
  await wider.source.query('alter table x alter column a type bigint')
  await wider.target.query('alter table x alter column a type bigint')
  await stops(t, wider, 3, /--set source\.table\.rewrites=ignore/)
  const ignored = await runTidemark(t, [
    'sync',
    wider.file,
    '--until-caught-up',
    '--set',
    'source.table.rewrites=ignore',
  ])
  t.equal(ignored.code, 0, ignored.stderr)
  await goesOn(t, wider)
})

t.test('a rewrite while streaming stops', async (t) => {
  const s = await setup(t)
  const sync = startTidemark(t, ['sync', s.file])
  await s.source.query(`insert into x values (100, 'abc', 1)`)
  await s.source.query(`alter table x alter column c type varchar(20) using left(c, 2)`)
  const { code } = await sync.exit()
  t.equal(code, 3, sync.stderr())
  t.match(sync.stderr(), /ALTER TABLE rewrote its rows/)
})

t.test('a column that was dropped and added again stops', async (t) => {
  const s = await setup(t)
  await s.source.query('alter table x drop column a')
  await s.source.query('alter table x add column a int')
  await s.source.query(`insert into x values (100, 'new', 1)`)
  await stops(t, s, 3, /column a is not the one it was: dropped and added again/)
})

t.test('what changes no row goes on', async (t) => {
  const s = await setup(t)
  await s.source.query('vacuum full x')
  await goesOn(t, s)
  await s.source.query(`alter table x alter column a set default 5`)
  await s.source.query('alter table x alter column a set not null')
  await s.source.query(`insert into x (id, c) values (100, 'new')`)
  await goesOn(t, s)
  await s.source.query('truncate x')
  await s.source.query(ROWS)
  await goesOn(t, s)
  await s.source.query('alter table x drop column a')
  await s.source.query(`insert into x values (100, 'new')`)
  const dropped = await runTidemark(t, ['sync', s.file, '--until-caught-up'])
  t.equal(dropped.code, 0, dropped.stderr)
  t.match(dropped.stderr, /column a was dropped; targets keep theirs/)
})

t.test('a table that was dropped and made again, or replaced by another, stops', async (t) => {
  for (const statements of ['drop table x', 'alter table x rename to y']) {
    const s = await setup(t)
    await s.source.query(statements)
    await s.source.query('create table x (id int primary key, c text, a int)')
    await s.source.query(ROWS)
    await stops(t, s, 3, /another one was made under its name/)
  }
})

t.test('a table made again is copied anew the way the error says', async (t) => {
  const s = await setup(t)
  await s.source.query('create table other (id int primary key)')
  await s.source.query('drop table x')
  await s.source.query('create table x (id int primary key, c text, a int)')
  await s.source.query(`insert into x values (1, 'one', 1)`)
  await stops(t, s, 3, /Take the table out/)
  const without = await runTidemark(t, ['sync', s.file, '--once', '--set', 'source.tables.exclude=public.x'])
  t.equal(without.code, 0, without.stderr)
  await s.target.query('truncate x')
  await goesOn(t, s)
})

t.test('a table that was taken out of the publication stops', async (t) => {
  const s = await setup(t)
  await s.source.query(`alter publication tidemark_${s.source.name} drop table x`)
  await s.source.query(`insert into x values (100, 'lost', 1)`)
  await stops(t, s, 3, /taken out of publication/)
})
