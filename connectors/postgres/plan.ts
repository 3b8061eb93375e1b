/**
 * Where to cut a range into chunks: hints for speed, never trusted. Integers are cut by arithmetic between what the index
 * shows as least and greatest; other keys by stepping through the index. Chunks limit themselves while being read.
 */
import type { KeyRange } from '../../core/key.js'
import type { Key } from '../../core/model.js'
import type { PgConnection } from '../../drivers/postgres.js'
import { quoteIdent } from '../../drivers/postgres.js'
import type { CatalogTable } from './catalog.js'
import { isRow, orderSql, rangeSql } from './keys.js'

/** Rows of a chunk for estimates shown to people. */
export const CHUNK_ROWS_HINT = 100_000

const INTEGERS = new Set(['int2', 'int4', 'int8', 'oid'])

export async function planKeys(
  connection: PgConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
  count: number,
): Promise<Key[]> {
  const base = table.key.length === 1 ? table.key[0]!.base : null
  const byArithmetic =
    base !== null && INTEGERS.has(base) ? await planIntegers(connection, table, range, rows, count) : null
  return byArithmetic ?? stepThrough(connection, table, range, rows, count)
}

export function tableName(table: CatalogTable): string {
  return `${quoteIdent(table.schema.namespace)}.${quoteIdent(table.schema.name)}`
}

/** What to read: a table that others inherit from without their rows, because its log has only its own. */
export function tableRows(table: CatalogTable): string {
  return table.kind === 'p' ? tableName(table) : `only ${tableName(table)}`
}

/** Null when the numbers say nothing: no statistics, or ids so sparse that most chunks would be empty. */
async function planIntegers(
  connection: PgConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
  count: number,
): Promise<Key[] | null> {
  const column = quoteIdent(table.key[0]!.name)
  const where = rangeSql(table, range)
  const [ends] = await connection.query(
    `select min(${column})::text, max(${column})::text from ${tableRows(table)} ${where}`,
  )
  const [low, high] = ends as [string | null, string | null]
  if (low === null || high === null) return []
  const span = BigInt(high) - BigInt(low) + 1n
  if (span <= BigInt(rows)) return []
  if (table.rows === null || table.rows <= 0) return null
  const [whole] = await connection.query(`select min(${column})::text, max(${column})::text from ${tableRows(table)}`)
  const spread = BigInt(whole![1]!) - BigInt(whole![0]!) + 1n
  // Rows per thousand ids; below SPARSE the gaps are too wide for arithmetic.
  const density = Math.min(1, table.rows / Number(spread))
  if (density < SPARSE) return null
  const stepSize = BigInt(Math.max(1, Math.ceil(rows / density)))
  const keys: Key[] = []
  for (let at = BigInt(low) + stepSize; at <= BigInt(high) && keys.length < count; at += stepSize) keys.push([`${at}`])
  return keys
}

const SPARSE = 0.01

async function stepThrough(
  connection: PgConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
  count: number,
): Promise<Key[]> {
  const keys: Key[] = []
  let lo = range.lo
  while (keys.length < count) {
    const next = await keyAfter(connection, table, { lo, hi: range.hi }, rows)
    if (next === null) break
    keys.push(next)
    lo = { key: next, side: 'before' }
  }
  return keys
}

/** The key so many rows on, null when there are not so many. */
async function keyAfter(
  connection: PgConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
): Promise<Key | null> {
  const columns = table.key.map((c) => `${quoteIdent(c.name)}::text`).join(', ')
  // Columns that cannot be compared as a row: first among the rows that share columns with `lo`, as many as possible.
  const pinnedMax = range.lo === null || isRow(table.key) ? 0 : table.key.length - 1
  for (let pinned = pinnedMax; pinned >= 0; pinned--) {
    const [next] = await connection.query(
      `select ${columns} from ${tableRows(table)} ${rangeSql(table, range, pinned)}
       order by ${orderSql(table, tableName(table))} offset ${rows} limit 1`,
    )
    if (next !== undefined) return next
  }
  return null
}
