/** Columns that are not what a copy took them for: other ones under their names, rewritten, of a type that is gone. */
import t from 'tap'
import { TableWatch } from '../../connectors/postgres/watch.js'
import { type Position, tableId } from '../../core/model.js'
import { connectPg, parseLsn, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { copied, goesOn, ROWS, same, stops } from '../support/ddl.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark } from '../support/process.js'

const IGNORE = ['--set', 'source.table.rewrites=ignore']

t.test('a name that belongs to another column than before stops', async (t) => {
  const before = 'alter table x add v int; alter table x add v_new bigint; update x set v = a, v_new = a * 10;'
  for (const [change, message] of [
    ['alter table x drop column v; alter table x rename v_new to v', /column v is not the one it was/],
    ['alter table x rename v to w; alter table x rename v_new to v', /column v is not the one it was/],
    [
      'alter table x rename a to h; alter table x rename v to a; alter table x rename h to v',
      /column (a|v) is not the/,
    ],
    ['alter table x drop column v; truncate x; alter table x add v int', /column v is not the one it was/],
  ] as const) {
    const copy = await copied(t, { before: (source) => source.query(before) })
    await copy.source.query(change)
    await stops(t, copy, 3, message)
  }
})

t.test('two columns that exchange names while streaming stop before a row is written under them', async (t) => {
  const copy = await copied(t, {
    sql: 'create table x (id int primary key, a int, b int); insert into x values (1, 1, 2)',
  })
  const sync = startTidemark(t, ['sync', copy.file])
  await copy.source.query('insert into x values (2, 1, 2)')
  await copy.source.query(
    'begin; alter table x rename a to h; alter table x rename b to a; alter table x rename h to b; insert into x values (3, 1, 2); commit',
  )
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, /column (a|b) is not the one it was/)
})

t.test('a rewrite behind a TRUNCATE stops; a TRUNCATE by itself goes on', async (t) => {
  const copy = await copied(t, { sql: 'create table x (id int primary key, v bigint); insert into x values (1, 1)' })
  await copy.source.query('truncate x')
  await copy.source.query('insert into x select i, i from generate_series(1, 50) i')
  await goesOn(t, copy)
  await copy.source.query('truncate x')
  await copy.source.query('insert into x select i, i from generate_series(1, 50) i')
  await copy.source.query('alter table x alter v type int using v * 10')
  await copy.source.query('insert into x values (1000, 1)')
  await stops(t, copy, 3, /ALTER TABLE rewrote its rows/)
})

t.test(
  'VACUUM FULL behind a column with a default is named as the likely cause, and the advice mends it',
  async (t) => {
    const copy = await copied(t)
    await copy.source.query('alter table x add d int default 7')
    await copy.source.query('vacuum full x')
    await copy.source.query(`insert into x values (100, 'new', 1, 8), (101, 'new', 1, default)`)
    await copy.target.query(await stops(t, copy, 3, /column "?d"? is missing/))
    await stops(
      t,
      copy,
      3,
      /rewritten since d was added: by VACUUM FULL or CLUSTER after ADD COLUMN \.\.\. DEFAULT.*UPDATE \.\.\. SET d =.*rewrites=ignore/s,
    )
    await copy.target.query('update x set d = 7 where d is null')
    await goesOn(t, copy, IGNORE)
    await goesOn(t, copy)
  },
)

t.test('a renamed label of an enum stops, also inside arrays and domains; a new label does not', async (t) => {
  const sql = `create type mood as enum ('sad', 'ok'); create domain dmood as mood;
    create table x (id int primary key, MOOD); insert into x values (1, VALUE);`
  for (const [type, value] of [
    ['m mood', `'sad'`],
    ['m mood[]', `'{sad}'`],
    ['m dmood', `'sad'`],
  ] as const) {
    const copy = await copied(t, { sql: sql.replace('MOOD', type).replace('VALUE', value) })
    for (const db of [copy.source, copy.target]) await db.query(`alter type mood add value 'happy' before 'sad'`)
    await goesOn(t, copy)
    await copy.source.query(`alter type mood rename value 'sad' to 'blue'`)
    await stops(t, copy, 3, /a label of enum public\.mood was renamed/)
    await copy.target.query(`alter type mood rename value 'sad' to 'blue'`)
    await goesOn(t, copy, IGNORE)
    await goesOn(t, copy)
  }
})

t.test('a column that is gone with its type is still read from the log', async (t) => {
  for (const [type, value] of [
    ['mood', `'ok'`],
    ['mood[]', `'{ok}'`],
    ['dmood', `'ok'`],
  ]) {
    const copy = await copied(t, {
      sql: `create type mood as enum ('sad', 'ok'); create domain dmood as mood; 
        create table x (id int primary key, m ${type}, v int); insert into x values (1, ${value}, 1)`,
    })
    await copy.source.query(`insert into x values (11, ${value}, 1)`)
    await copy.source.query('alter table x drop column m')
    await copy.source.query('drop type dmood; drop type mood')
    const run = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
    t.equal(run.code, 0, run.stderr)
    t.strictSame(await copy.target.query('select id, m::text as m, v from x where id = 11'), [
      { id: '11', m: value!.replaceAll(`'`, ''), v: '1' },
    ])
    await copy.source.query('insert into x values (12, 2)')
    t.equal((await runTidemark(t, ['sync', copy.file, '--until-caught-up'])).code, 0)
    t.strictSame(await copy.target.query('select m::text as m, v from x where id = 12'), [{ m: null, v: '2' }])
  }
})

t.test('a generated column that was left out and becomes an ordinary one stops', async (t) => {
  const sql = `create table x (id int primary key, a int, g int generated always as (a * 2) stored);
    insert into x select i, i from generate_series(1, 20) i`
  const source = { 'generated.columns': 'drop' }
  const drop = 'alter table x alter g drop expression; insert into x values (21, 21, 5)'
  const stopped = await copied(t, { sql, source })
  await stopped.source.query(drop)
  await stops(t, stopped, 3, /column g of public\.x.*DROP EXPRESSION/)
  const running = await copied(t, { sql, source: { ...source, 'heartbeat.interval': '1h' } })
  const sync = startTidemark(t, ['sync', running.file])
  await sync.line(/streaming/)
  await running.source.query('insert into x (id, a) values (100, 1)')
  await running.source.query(drop)
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, /column g of public\.x.*DROP EXPRESSION/)
})

t.test('what changes no copied value goes on', async (t) => {
  const copy = await copied(t)
  await copy.source.query('alter table x rename c to cc')
  await copy.target.query('alter table x rename c to cc')
  await copy.source.query(`${ROWS.replace('1, 20', '21, 30')}`)
  await goesOn(t, copy)
  await same(t, copy)
})

t.test('a rewrite that was seen is judged where it was seen, whatever is looked at later', async (t) => {
  const db = await createDatabase(t)
  await db.query('create table x (id int primary key, v bigint); create publication p for table x')
  const connect = () =>
    connectPg(
      { ...pgOptionsFromUrl(db.url, 'url'), applicationName: 'watch' },
      { signal: new AbortController().signal },
    )
  const connection = await connect()
  t.teardown(() => connection.close())
  const [[oid]] = (await connection.query(`select 'public.x'::regclass::oid::text`)) as [[string]]
  const id = tableId('public', 'x')
  const captured = { oid: Number(oid), id, namespace: 'public', name: 'x' }
  const watch = new TableWatch(connection, [captured], {
    version: Number((await connection.query('show server_version_num'))[0]![0]),
    publication: 'p',
    without: [],
    ignoreRewrites: false,
    ignorePartitions: false,
    connect,
    note: () => {},
  })
  await watch.begin()
  await db.query('insert into x values (1, 1); alter table x alter v type int using v * 10')
  await watch.look()
  const [[seenAt]] = (await connection.query('select pg_current_wal_insert_lsn()::text')) as [[string]]
  await db.query('insert into x select i, i from generate_series(2, 500) i')
  await watch.lookAt(id)
  const passed = (ordinal: bigint) =>
    watch.passed({ items: [], position: '' as Position, ordinal, midTransaction: false, bytes: 0 })
  passed(0n)
  t.throws(() => passed(parseLsn(seenAt)), { code: 'postgres.rewritten' })
})
