/** T84: every column type has the same value in a chunk and in the log, and it is what the server holds. */
import t, { type Test } from 'tap'
import { mysqlSource } from '../../connectors/mysql/index.js'
import type { Row, TableSchema } from '../../core/model.js'
import type { ChunkRows, LogBatch } from '../../core/source.js'
import { createMysqlDatabase, type MysqlKind } from '../support/mysql.js'
import { type TypedColumn, typedColumns } from '../support/mysql-values.js'
import { random, testSeed } from '../support/seed.js'

const ROWS = 200
const NULLS = 0.1
const SEED = testSeed()

interface Both {
  readonly schema: TableSchema
  readonly logSchemas: Set<string>
  readonly read: readonly Row[]
  readonly logged: readonly Row[]
}

/** The table as a chunk shows it, and as the log does from `start` on. */
async function both(t: Test, url: string, table: string, write: () => Promise<void>): Promise<Both> {
  const options = mysqlSource.options.parse({ url, tables: table, 'visibility.margin': 10 }) as never
  const source = mysqlSource.create(options, { pipeline: `types_${table}` })
  const end = new AbortController()
  t.teardown(async () => {
    end.abort()
    await source.close()
  })
  const { signal } = end
  const { tables } = await source.open({
    pipeline: 'types',
    durable: true,
    fenced: true,
    first: true,
    known: new Map(),
    saved: null,
    signal,
    note: () => {},
  })
  const position = await source.createLog({ signal })
  await write()
  const target = await source.logEnd({ signal })
  const logged: Row[] = []
  const logSchemas = new Set<string>()
  for await (const batch of source.tail(position, { signal }) as AsyncIterable<LogBatch>) {
    for (const item of batch.items) {
      if (item.kind !== 'rows') continue
      logSchemas.add(item.schema.fingerprint)
      logged.push(...item.changes.map((change) => change.after!))
    }
    if (batch.ordinal >= target) break
  }
  const session = await source.session({ signal })
  await session.lock(tables[0]!, { signal })
  await session.cut(tables[0]!, { signal })
  const read: Row[] = []
  for await (const chunk of session.rows(
    tables[0]!,
    { lo: null, hi: null },
    { rowsMax: 1e6, bytesMax: 1e9 },
    { signal },
  ) as AsyncIterable<ChunkRows>) {
    read.push(...chunk.rows)
  }
  await session.end()
  await session.close()
  return { schema: tables[0]!.schema, logSchemas, read, logged }
}

async function create(db: { query(sql: string): Promise<unknown> }, columns: readonly TypedColumn[]): Promise<void> {
  await db.query(
    `CREATE TABLE t (id INT PRIMARY KEY, ${columns.map(({ name, sql }) => `${name} ${sql}`).join(', ')}) ROW_FORMAT = DYNAMIC`,
  )
}

const show = (value: unknown) =>
  value instanceof Uint8Array ? `0x${Buffer.from(value).toString('hex')}` : JSON.stringify(value)

/** Types that the server prints in another form than ours, or that mysql2 does not give as they are. */
const UNJUDGED = /^(FLOAT|DOUBLE\(|BIT|VECTOR|COMPRESSED|VARBINARY\(2000)/
const IN_HEX = /BINARY|BLOB|POINT|GEOMETRY|POLYGON/

function plain(value: unknown): string | null {
  if (value === null) return null
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  return String(value).replace(/^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?)\+00$/, '$1')
}

for (const kind of ['mysql', 'mariadb', 'mysql56'] satisfies MysqlKind[]) {
  t.test(`every type, ${kind}`, async (t) => {
    t.comment(`TIDEMARK_SEED=${SEED}`)
    const r = random(SEED)
    const columns = typedColumns(kind)
    const db = await createMysqlDatabase(t, kind)
    const writer = await db.connect()
    await writer.query(`SET sql_mode = '', time_zone = '+00:00', NAMES utf8mb4`.replace(', NAMES', '; SET NAMES'))
    await create(writer, columns)
    const written = columns.filter(({ value }) => value !== null)
    const result = await both(t, db.captureUrl, `${db.name}.t`, async () => {
      for (let id = 0; id < ROWS; id++) {
        const values = written.map(({ value }) => (r.chance(NULLS) ? 'NULL' : value!(r)))
        await writer.query(
          `INSERT INTO t (id, ${written.map((c) => c.name).join(', ')}) VALUES (${id}, ${values.join(', ')})`,
        )
      }
    })
    t.equal(result.read.length, ROWS)
    t.equal(result.logged.length, ROWS)
    t.same([...result.logSchemas], [result.schema.fingerprint], 'one definition has one schema')
    const differing = new Map<string, string>()
    result.read.forEach((row, i) => {
      result.schema.columns.forEach(({ name }, c) => {
        const [a, b] = [show(row[c]), show(result.logged[i]![c])]
        if (a !== b && !differing.has(name)) differing.set(name, `row ${i}: chunk ${a}, log ${b}`)
      })
    })
    t.same(Object.fromEntries(differing), {}, 'chunk and log agree')
    const wrong = new Map<string, string>()
    const judged = columns.filter(({ sql }) => !UNJUDGED.test(sql))
    const lists = judged.map(({ name, sql }) => (IN_HEX.test(sql) ? `LOWER(HEX(${name})) AS ${name}` : name))
    for (const held of await writer.query(`SELECT id, ${lists.join(', ')} FROM t ORDER BY id`)) {
      const row = result.read[Number(held.id)]!
      for (const { name, sql } of judged) {
        const value = plain(row[result.schema.columns.findIndex((c) => c.name === name)])
        const want =
          held[name] === null || held[name] === undefined
            ? null
            : /ZEROFILL/.test(sql)
              ? held[name].replace(/^0+(?=\d)/, '')
              : held[name]
        if (value !== want) wrong.set(name, `row ${held.id}: ${value}, server ${want}`)
      }
    }
    t.same(Object.fromEntries(wrong), {}, 'as the server prints it')
  })
}
