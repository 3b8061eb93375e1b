/** Types that are dropped while the catalog is being read: by the time the next query runs, the column is gone too. */
import t from 'tap'
import { readTables, type ServerFacts } from '../../connectors/postgres/catalog.js'
import { type PostgresOptions, postgresOptions } from '../../connectors/postgres/options.js'
import { serverFacts } from '../../connectors/postgres/setup.js'
import { TagReader } from '../../connectors/postgres/table-tag.js'
import type { TidemarkError } from '../../core/errors.js'
import { tableId } from '../../core/model.js'
import { connectPg, type PgConnection, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'

const signal = new AbortController().signal

const DROPS = {
  'an array column, its type whole': { column: 'm mood[]', drop: 'drop type mood cascade', nth: 1 },
  'an array column, the element after the array': { column: 'm mood[]', drop: 'drop type mood cascade', nth: 2 },
  'a domain, what it is made of after it': {
    column: 'm dmood',
    drop: 'drop domain dmood cascade; drop type mood cascade',
    nth: 2,
  },
  'a column of the type': { column: 'm mood', drop: 'drop type mood cascade', nth: 1 },
}

interface Setup {
  readonly db: TestDatabase
  readonly connection: PgConnection
  readonly server: ServerFacts
  readonly options: PostgresOptions
}

async function setup(t: Parameters<typeof createDatabase>[0]): Promise<Setup> {
  const db = await createDatabase(t)
  await db.query(`create type mood as enum ('sad', 'ok'); create domain dmood as mood;
    create table x (id int primary key)`)
  const connection = await connectPg(pgOptionsFromUrl(db.url), { signal })
  t.teardown(() => connection.close())
  const options = postgresOptions.parse({ url: db.url, tables: 'public.*' })
  return { db, connection, server: await serverFacts(connection), options }
}

/** Runs `work` before each query for types that `when` picks by its number, counted from 1. */
function interrupted(
  connection: PgConnection,
  when: (nth: number) => boolean,
  work: () => Promise<unknown>,
): PgConnection {
  let count = 0
  const query = async (text: string, params?: readonly unknown[]) => {
    if (text.includes('t.typtypmod') && when(++count)) await work()
    return connection.query(text, params)
  }
  return { options: connection.options, query } as unknown as PgConnection
}

for (const [name, { column, drop, nth }] of Object.entries(DROPS)) {
  t.test(`${name}: the tables are read again`, async (t) => {
    const { db, connection, server, options } = await setup(t)
    await db.query(`alter table x add ${column}`)
    const dropping = interrupted(
      connection,
      (n) => n === nth,
      () => db.query(drop),
    )
    const [table] = await readTables(dropping, options, server)
    t.strictSame(
      table?.schema.columns.map((c) => c.name),
      ['id'],
    )
  })

  t.test(`${name}: a tag of the table is read without the type`, async (t) => {
    const { db, connection, server } = await setup(t)
    await db.query(`alter table x add ${column}`)
    const dropping = interrupted(
      connection,
      (n) => n === nth,
      () => db.query(drop),
    )
    const id = tableId('public', 'x')
    const reader = new TagReader(dropping, { version: server.version, publication: 'none', without: [] })
    const { tables } = await reader.read([{ oid: 0, id, namespace: 'public', name: 'x' }])
    t.strictSame(tables.get(id)?.tag.types, {})
  })
}

t.test('types that go on being dropped are an error that passes', async (t) => {
  const { db, connection, server, options } = await setup(t)
  await db.query('alter table x add m mood[]')
  let reads = 0
  const dropping = interrupted(
    connection,
    () => true,
    async () => {
      reads++
      await db.query(`drop type mood cascade; create type mood as enum ('sad'); alter table x add m mood[]`)
    },
  )
  const error = (await readTables(dropping, options, server).then(
    () => null,
    (thrown: unknown) => thrown,
  )) as TidemarkError | null
  t.equal(error?.code, 'postgres.query')
  t.equal(error?.retriable, true)
  t.equal(reads, 5)
})
