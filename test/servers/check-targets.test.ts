/** `check` refuses what `sync` would refuse: a sink that is the source. */
import t from 'tap'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, writePipeline } from '../support/process.js'

t.test('a target that is captured is a problem of check as of sync, and is never to be emptied', async (t) => {
  const db = await createDatabase(t)
  await db.query('create table orders (id int primary key); insert into orders values (1)')
  const pipeline = (more: object) =>
    writePipeline(t, {
      source: { type: 'postgres', url: db.url, tables: 'public.*' },
      sink: { type: 'postgres', url: db.url, ...more },
      pipeline: { name: db.name },
    })
  const same = pipeline({})
  const checked = await runTidemark(t, ['check', same.file])
  t.equal(checked.code, 3, checked.stdout)
  t.match(checked.stdout, /problem {2}targets .*"public"\."orders" is captured from this very database/)
  t.notMatch(checked.stdout, /TRUNCATE|exists and fits/)
  const synced = await runTidemark(t, ['sync', same.file, '--once'])
  t.match(synced, { code: 2, stderr: /sink\.target_is_source: "public"\."orders" is captured from this very database/ })
  await runTidemark(t, ['drop', same.file, '--yes'])
  const other = await runTidemark(t, ['check', pipeline({ schema: 'copy' }).file])
  t.match(other, { code: 0, stdout: /"copy"\."orders" +will be created/ })
})

t.test('a pipeline whose tables are all excluded has one plain mistake', async (t) => {
  const db = await createDatabase(t)
  await db.query('create table orders (id int primary key)')
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: db.url, tables: 'public.*', 'tables.exclude': 'public.o*' },
    sink: { type: 'blackhole' },
    pipeline: { name: db.name },
  })
  const checked = await runTidemark(t, ['check', file])
  t.match(checked, { code: 3, stdout: /no table is left: tables\.exclude \(/ })
  t.notMatch(checked.stdout, 'CREATE PUBLICATION')
  const synced = await runTidemark(t, ['sync', file, '--once'])
  t.match(synced, { code: 2, stderr: /error postgres\.no_tables: no table is left/ })
})

t.test(
  'a pattern that matches nothing: of tables a mistake, of tables.exclude a warning, both with what was meant',
  async (t) => {
    const db = await createDatabase(t)
    await db.query('create table orders (id int primary key); create table users (id int primary key)')
    const pipeline = (source: object) =>
      writePipeline(t, {
        source: { type: 'postgres', url: db.url, tables: 'public.*', ...source },
        sink: { type: 'blackhole' },
        pipeline: { name: db.name },
      })
    const misspelt = pipeline({ 'tables.exclude': 'public.usres' })
    const said = /tables\.exclude.*"public\.usres" matches no table of database .* leaves nothing out/
    const checked = await runTidemark(t, ['check', misspelt.file])
    t.match(checked, { code: 0, stdout: said })
    t.match(checked.stdout, /Did you mean "public\.users"\?/)
    const synced = await runTidemark(t, ['sync', misspelt.file, '--once'])
    t.match(synced, { code: 0, stderr: said })
    t.match(synced.stderr, /Did you mean "public\.users"\?/)
    const right = pipeline({ 'tables.exclude': 'public.users' })
    t.notMatch((await runTidemark(t, ['check', right.file])).stdout, /leaves nothing out/)
    t.notMatch((await runTidemark(t, ['sync', right.file, '--once'])).stderr, /leaves nothing out/)
    const none = await runTidemark(t, ['check', pipeline({ tables: 'public.orders, public.usres' }).file])
    t.match(none, { code: 3, stdout: /no table of database .* matches "public\.usres"/ })
    t.match(none.stdout, /Did you mean "public\.users"\? The tables there are: public\.orders, public\.users\./)
  },
)
