/** Keys that change under a copy (1.10 h): rows that were copied by the old key cannot be found by the new one. */
import t from 'tap'
import { copied, goesOn, stops } from '../support/ddl.js'
import { startTidemark } from '../support/process.js'
import { until } from '../support/until.js'

const TABLE = `create table x (id int primary key, email text not null, nick text not null, v int);
  create unique index x_email on x (email); create unique index x_nick on x (nick);
  insert into x select i, 'e' || i, 'n' || i, i from generate_series(1, 20) i;`
const PRIMARY_KEY = 'alter table x drop constraint x_pkey; alter table x add primary key (email);'

t.test('another primary key while streaming stops before a change by it is delivered', async (t) => {
  const copy = await copied(t, { sql: TABLE, source: { 'heartbeat.interval': '1h' } })
  const sync = startTidemark(t, ['sync', copy.file])
  await copy.source.query('update x set v = 100 where id = 1')
  await until(async () => (await copy.target.query('select 1 from x where v = 100')).length === 1, {
    what: 'streaming',
  })
  await copy.source.query(`${PRIMARY_KEY} delete from x where id = 5`)
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, /the key of public\.x was \(id\).*\(email\)/)
  await stops(t, copy, 3, /the key of public\.x/)
})

t.test('another identity index while streaming stops', async (t) => {
  const sql = `${TABLE} alter table x replica identity using index x_email;`
  const copy = await copied(t, { sql, source: { 'heartbeat.interval': '1h' } })
  const sync = startTidemark(t, ['sync', copy.file])
  await copy.source.query('update x set v = 100 where id = 1')
  await until(async () => (await copy.target.query('select 1 from x where v = 100')).length === 1, {
    what: 'streaming',
  })
  await copy.source.query('alter table x replica identity using index x_nick; delete from x where id = 5')
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, /the key of public\.x was \(email\).*\(nick\)/)
})

t.test('a key that changes while no row does stops at the next look', async (t) => {
  const copy = await copied(t, { sql: TABLE })
  const sync = startTidemark(t, ['sync', copy.file])
  await sync.line(/streaming/)
  await copy.source.query(PRIMARY_KEY)
  const { code, stderr } = await sync.exit()
  t.equal(code, 3, stderr)
  t.match(stderr, /the key of public\.x/)
})

t.test('a key that changed between two runs stops, whatever the sink', async (t) => {
  const copy = await copied(t, { sql: TABLE, sink: { type: 'file', path: '{{DIR}}/out' } })
  await copy.source.query(`${PRIMARY_KEY} delete from x where id = 5`)
  await stops(t, copy, 3, /the key of public\.x was \(id\).*\(email\)/)
})

t.test('the same columns under another index are the same key', async (t) => {
  const copy = await copied(t, { sql: TABLE })
  await copy.source.query('create unique index x_again on x (id)')
  await copy.source.query('alter table x drop constraint x_pkey, add primary key using index x_again')
  await copy.source.query('delete from x where id = 5')
  await goesOn(t, copy)
  await copy.source.query('alter table x replica identity full')
  await copy.source.query('delete from x where id = 6')
  await goesOn(t, copy)
})
