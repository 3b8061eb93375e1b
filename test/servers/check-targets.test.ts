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
