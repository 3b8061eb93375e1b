import { existsSync } from 'node:fs'
import t from 'tap'
import { tableDifference } from '../support/oracle.js'
import { createDatabase, startPostgres } from '../support/postgres.js'
import { testSeed } from '../support/seed.js'
import { createWriterTable, startWriter } from '../support/writer.js'

t.test('a database of its own, with text values and its slots dropped', async (t) => {
  let name = ''
  await t.test('use', async (t) => {
    const db = await createDatabase(t)
    name = db.name
    await db.query('CREATE TABLE x (id bigint PRIMARY KEY, v jsonb); INSERT INTO x VALUES (1, null)')
    t.same(await db.query('SELECT * FROM x WHERE id = $1', [1]), [{ id: '1', v: null }])
    await db.query(`SELECT pg_create_logical_replication_slot('left_over_' || $1, 'pgoutput')`, [name])
    const session = await db.connect()
    await session.query(`BEGIN; INSERT INTO x VALUES (2); PREPARE TRANSACTION 'left over'`)
    const [row] = await db.query('SELECT datcollate, datctype FROM pg_database WHERE datname = $1', [name])
    t.same(row, { datcollate: 'en_US.UTF-8', datctype: 'en_US.UTF-8' })
    const collations = await db.query(`SELECT DISTINCT lower(replace(collname, '-', '')) AS name FROM pg_collation`)
    const names = new Set(collations.map((c) => c.name))
    for (const wanted of ['en_us.utf8', 'de_de.utf8', 'sv_se.utf8']) t.ok(names.has(wanted), wanted)
  })
  const other = await createDatabase(t)
  t.same(await other.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]), [])
  t.same(await other.query('SELECT 1 FROM pg_replication_slots WHERE database = $1', [name]), [])
})

for (const version of ['13', '16'] as const) {
  t.test(`a shared server of an old release: ${version}`, async (t) => {
    const db = await createDatabase(t, { version })
    t.match((await db.query('SHOW server_version'))[0]?.server_version, new RegExp(`^${version}\\.`))
    t.same(await db.query('SHOW wal_level'), [{ wal_level: 'logical' }])
    const sorted = await db.query(
      `SELECT string_agg(v, ',' ORDER BY v COLLATE "sv-x-icu") AS v FROM unnest('{z,ö,a}'::text[]) v`,
    )
    t.same(sorted, [{ v: 'a,z,ö' }])
  })
}

for (const version of ['15', '18'] as const) {
  t.test(`a server of its own survives a kill: ${version}`, async (t) => {
    const server = await startPostgres(t, { version, settings: { wal_keep_size: '16MB' } })
    const db = await createDatabase(t, { server })
    t.match((await db.query('SHOW server_version'))[0]?.server_version, new RegExp(`^${version}`))
    t.same(await db.query('SHOW wal_keep_size'), [{ wal_keep_size: '16MB' }])
    await db.query('CREATE TABLE x (id int); INSERT INTO x VALUES (1)')
    await server.kill()
    await t.rejects(db.query('SELECT 1'))
    await server.start()
    t.same(await db.query('SELECT id FROM x'), [{ id: '1' }])
    await server.stop()
    await server.start()
    t.same(await db.query('SELECT id FROM x'), [{ id: '1' }])
    t.ok(existsSync(server.dataDir))
  })
}

t.test('the state oracle tells a lost, a doubled and a changed row', async (t) => {
  const [left, right] = [await createDatabase(t), await createDatabase(t)]
  for (const db of [left, right]) {
    await db.query('CREATE TABLE x (id int, v text); INSERT INTO x SELECT i, i::text FROM generate_series(1, 1000) i')
  }
  const difference = () => tableDifference({ db: left, table: 'x' }, { db: right, table: 'x' })
  t.equal(await difference(), null)
  await right.query('DELETE FROM x WHERE id = 7; INSERT INTO x VALUES (8, 8); UPDATE x SET v = NULL WHERE id = 9')
  const found = await difference()
  t.match(found, { rows: { source: 1000, target: 1000 } })
  t.same([...(found?.missing ?? [])].sort(), ['(7,7)', '(9,9)'])
  t.same([...(found?.extra ?? [])].sort(), ['(8,8)', '(9,)'])
})

t.test('the writer does all it is for, and stops', async (t) => {
  const db = await createDatabase(t)
  await db.query(`SELECT pg_create_logical_replication_slot('w_' || $1, 'test_decoding')`, [db.name])
  const table = await createWriterTable(db, 'w', { keys: 500 })
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const writer = startWriter(db, table, { seed, ratePerSecond: 20_000, prepared: true, changesMax: 4_000 })
  await writer.done
  await writer.stop()
  t.ok(writer.commits() > 100, `${writer.commits()} commits`)
  const log = await db.query(`SELECT data FROM pg_logical_slot_get_changes('w_' || $1, NULL, NULL)`, [db.name])
  const text = log.map(({ data }) => data).join('\n')
  for (const kind of ['INSERT:', 'UPDATE:', 'DELETE:', 'old-key:', 'unchanged-toast-datum']) {
    t.ok(text.includes(kind), kind)
  }
  t.same(await db.query('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [db.name]), [])
})
