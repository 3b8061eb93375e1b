/** The exported contracts on the connectors of this repository that need a server. */
import pg from 'pg'
import t, { type Test } from 'tap'
import { postgresSource } from '../../connectors/postgres/index.js'
import type { TableId } from '../../core/model.js'
import {
  type OpenTransaction,
  type RowChange,
  type SinkHarness,
  type SourceHarness,
  sinkContract,
  sourceContract,
} from '../../core/testing/index.js'
import { postgresSink } from '../../sinks/postgres/index.js'
import { createDatabase, type PostgresVersion, type TestDatabase } from '../support/postgres.js'

/** Ends what a case began with the test around it, earlier when the case is over. */
interface Owner {
  teardown(handler: () => Promise<void>): unknown
}

function owner(t: Test): { owner: Owner; end: () => Promise<void> } {
  const handlers: (() => Promise<void>)[] = []
  const end = async () => {
    for (const handler of handlers.splice(0).reverse()) await handler()
  }
  t.teardown(end)
  return { owner: { teardown: (handler) => handlers.push(handler) }, end }
}

function statement(change: RowChange): [string, unknown[]] {
  if ('insert' in change) return ['insert into t values ($1, $2)', [change.insert, change.v]]
  if ('update' in change) return ['update t set v = $2 where id = $1', [change.update, change.v]]
  if ('remove' in change) return ['delete from t where id = $1', [change.remove]]
  return ['update t set id = $2 where id = $1', [change.move, change.to]]
}

/** Neighbouring inserts become one statement: thousands of round trips prove nothing more. */
async function run(client: pg.Client, changes: readonly RowChange[]): Promise<void> {
  for (let i = 0; i < changes.length; ) {
    const rows: { insert: number; v: string | null }[] = []
    for (let c = changes[i]; c !== undefined && 'insert' in c; c = changes[++i]) rows.push(c)
    if (rows.length > 0) {
      await client.query('insert into t select * from unnest($1::int[], $2::text[])', [
        rows.map((row) => row.insert),
        rows.map((row) => row.v),
      ])
    } else await client.query(...statement(changes[i++]!))
  }
}

async function transaction(db: TestDatabase, owned: Owner): Promise<OpenTransaction> {
  const client = new pg.Client({ connectionString: db.url })
  await client.connect()
  owned.teardown(() => client.end())
  await client.query('begin')
  return {
    write: (...changes) => run(client, changes),
    commit: async () => void (await client.query('commit')),
    rollback: async () => void (await client.query('rollback')),
  }
}

function sources(t: Test, version: PostgresVersion): SourceHarness {
  return {
    async database() {
      const { owner: owned, end } = owner(t)
      const db = await createDatabase(owned, { version })
      await db.query('create table t (id bigint primary key, v text)')
      const options = postgresSource.options.parse({ url: db.url, tables: 'public.t' }) as never
      const writer = new pg.Client({ connectionString: db.url })
      await writer.connect()
      owned.teardown(() => writer.end())
      return {
        table: 'public.t' as TableId,
        source: (pipeline) => postgresSource.create(options, { pipeline: `${pipeline}_${db.name}` }),
        async commit(...changes) {
          await writer.query('begin')
          await run(writer, changes)
          await writer.query('commit')
        },
        begin: () => transaction(db, owned),
        rows: async () => (await db.query('select id, v from t')) as { id: string; v: string | null }[],
        drop: async (pipeline) => {
          const { signal } = new AbortController()
          await postgresSource.drop(options, { pipeline: `${pipeline}_${db.name}`, signal })
        },
        close: end,
      }
    },
  }
}

function sinks(t: Test): SinkHarness {
  return {
    guarantee: 'exactly-once',
    async target() {
      const { owner: owned, end } = owner(t)
      const db = await createDatabase(owned)
      const options = postgresSink.options.parse({ url: db.url }) as never
      return {
        sink: (pipeline) => postgresSink.create(options, { pipeline }),
        contents: async (table) => ({
          kind: 'rows',
          rows: (await db.query(`select * from ${table.id}`)).map((row) => table.columns.map((c) => row[c.name]!)),
        }),
        close: end,
      }
    },
  }
}

for (const version of ['15', '18'] as const) {
  t.test(`source postgres ${version}`, async (t) => {
    sourceContract((name, body) => t.test(name, body), sources(t, version))
  })
}

t.test('sink postgres', async (t) => {
  sinkContract((name, body) => t.test(name, body), sinks(t))
})
