/** Columns that are added with a default, which fills rows that were copied before and is in no log. */
import t from 'tap'
import { type Copied, copied, goesOn, stops } from '../support/ddl.js'
import { runTidemark, startTidemark } from '../support/process.js'

const IGNORE = ['--set', 'source.table.rewrites=ignore']
const UNFILLED = /sink\.column_unfilled: "public"\."x": column "d" was added to public\.x/

/** Runs what the error says to run. */
async function mend(t: Parameters<typeof stops>[0], copy: Copied): Promise<void> {
  const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
  t.match(run, { code: 3, stderr: UNFILLED })
  const statements = /(ALTER TABLE .*;)$/m.exec(run.stderr)?.[1]
  await copy.target.query(statements ?? 'no statement was printed')
}

/** Adds column d with a default to the source, and to the target whatever is given. */
async function addColumn(copy: Copied, target: string): Promise<void> {
  await copy.target.query(`alter table x add column d ${target}`)
  await copy.source.query('alter table x add column d int default 7')
}

t.test('a target that has the column without the default stops until its rows are filled', async (t) => {
  for (const [type, target, value] of [
    ['int default 7', 'int', '8'],
    ['int default 7', 'int; update x set d = 7', '8'],
    ['int default 7', 'int; update x set d = 5; alter table x alter d set default 7', '8'],
    [`text not null default 'it''s \\so'`, `text not null default ''`, `''`],
    [`jsonb default '{"a": 1}'`, 'jsonb', `'[]'`],
    ['int', 'int default 5', '8'],
  ] as const) {
    const copy = await copied(t)
    await copy.source.query(`insert into x (id, c) values (99, 'the log has this one')`)
    await copy.source.query(`alter table x add column d ${type}`)
    await copy.target.query(`alter table x add column d ${target}`)
    await copy.source.query(`insert into x (id, c, d) values (100, 'new', ${value})`)
    await mend(t, copy)
    await goesOn(t, copy)
    await copy.source.query(`update x set d = ${value} where id = 1`)
    await goesOn(t, copy)
  }
})

t.test('rows that hold the value already are accepted', async (t) => {
  for (const [type, target] of [
    ['int default 7', 'bigint default 7'],
    ['bool default true', `bool default 'on'`],
    ['four', 'four'],
    [`varchar(5) default 'a'`, "text; update x set d = 'a'; alter table x alter d set default 'a'"],
  ] as const) {
    const copy = await copied(t)
    for (const db of [copy.source, copy.target]) await db.query('create domain four as int default 4')
    await copy.source.query(`alter table x add column d ${type}`)
    await copy.target.query(`alter table x add column d ${target}`)
    await goesOn(t, copy)
  }
})

t.test('rows that were rewritten behind their column are not said to hold nothing', async (t) => {
  const partitioned = `create table x (id int primary key, c text) partition by range (id);
    create table x1 partition of x for values from (0) to (1000); insert into x select i, 'value' from generate_series(1, 90) i`
  for (const options of [{}, { sql: partitioned }]) {
    const copy = await copied(t, options)
    await copy.source.query('alter table x add column d int default 7')
    await copy.source.query('vacuum full x')
    await copy.target.query('alter table x add column d int default 7')
    await copy.source.query(`update x set c = 'x' where id = 1`)
    await stops(t, copy, 3, /error postgres\.rewritten/)
    const running = await copied(t, options)
    const sync = startTidemark(t, ['sync', running.file])
    await sync.line(/streaming/)
    await addColumn(running, 'int default 7')
    await running.source.query('vacuum full x')
    await running.source.query(`update x set c = 'x' where id = 1`)
    const { code, stderr } = await sync.exit()
    t.equal(code, 3, stderr)
    t.match(stderr, /error postgres\.rewritten/)
  }
})

t.test('a running pipeline stops at the first row that has the column', async (t) => {
  const copy = await copied(t, { source: { 'heartbeat.interval': '1h' } })
  const sync = startTidemark(t, ['sync', copy.file])
  await sync.line(/streaming/)
  await addColumn(copy, 'int')
  await copy.source.query(`insert into x values (100, 'new', 1, NULL)`)
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, UNFILLED)
  await mend(t, copy)
  await goesOn(t, copy)
})

t.test('what was found is still known after looks at the catalog, restarts and rows without the column', async (t) => {
  const copy = await copied(t)
  await addColumn(copy, 'int default 7')
  await goesOn(t, copy)
  const [row] = await copy.target.query(
    `select checkpoint::json->'tables'->'public.x'->>'tag' as tag, targets->'public.x'->>'columns' as columns from tidemark.checkpoint`,
  )
  t.equal(JSON.parse(row!.tag!).added, '4', 'the column is known to be newer than the copy')
  t.strictSame(JSON.parse(row!.columns!), ['id', 'c', 'a', 'd'])
  await copy.source.query('update x set d = null')
  await goesOn(t, copy)
  await goesOn(t, copy)
})

t.test('a partitioned table is filled by its partitions', async (t) => {
  for (const version of ['15', '18'] as const) {
    const copy = await copied(t, {
      version,
      sql: `create table x (id int primary key, c text) partition by range (id);
        create table x1 partition of x for values from (0) to (50); create table x2 partition of x for values from (50) to (1000);
        insert into x select i, 'value' from generate_series(1, 90) i`,
    })
    await addColumn(copy, 'int')
    await copy.source.query(`insert into x values (100, 'new', 8)`)
    await mend(t, copy)
    await goesOn(t, copy)
  }
})

t.test('an option leaves the rows as they are', async (t) => {
  const copy = await copied(t)
  await addColumn(copy, 'int')
  await copy.source.query(`insert into x values (100, 'new', 1, 8)`)
  await stops(t, copy, 3, UNFILLED)
  for (const args of [IGNORE, []]) {
    const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up', ...args])
    t.equal(run.code, 0, run.stderr)
    t.strictSame(await copy.target.query('select count(*), sum(d) from x'), [{ count: '21', sum: '8' }])
  }
})

t.test('a masked column shows its default nowhere, and old rows get what new ones would', async (t) => {
  for (const [mask, filled] of [
    ['redact', '***'],
    ['sha256', 'f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7'],
    ['null', null],
  ] as const) {
    const copy = await copied(t, {
      blocks: { transform: [{ 'source-table': 'public.x', mask: { 'd*': mask } }] },
    })
    await copy.source.query(`alter table x add column d text default 'hunter2'`)
    await copy.source.query(`insert into x values (100, 'new', 1)`)
    const missing = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
    t.match(missing, { code: 3, stderr: /column "d" is missing/ })
    await copy.target.query(`alter table x add column d text default 'other'`)
    const unfilled = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
    t.match(unfilled, { code: 3, stderr: UNFILLED })
    const statements = /(ALTER TABLE .*;)$/m.exec(unfilled.stderr)?.[1]
    await copy.target.query(statements ?? 'no statement was printed')
    const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
    t.equal(run.code, 0, run.stderr)
    t.strictSame(await copy.target.query('select distinct d from x'), [{ d: filled }])
    const [state] = await copy.target.query('select to_jsonb(s)::text as text from tidemark.checkpoint s')
    for (const text of [missing.stderr, unfilled.stderr, run.stderr, state!.text!]) t.notMatch(text, /hunter2/)
  }
})

t.test('a file sink has the column in its log and needs nothing', async (t) => {
  const copy = await copied(t, { sink: { type: 'file', path: '{{DIR}}/out' } })
  await copy.source.query('alter table x add column d int default 7')
  await copy.source.query(`insert into x values (100, 'new', 1, 8)`)
  const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
  t.equal(run.code, 0, run.stderr)
})
