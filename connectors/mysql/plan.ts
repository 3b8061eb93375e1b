/** Where to cut a range into chunks: hints for speed, never trusted. Chunks limit themselves while being read. */
import type { KeyRange } from '../../core/key.js'
import type { Key, Value } from '../../core/model.js'
import { lengthEncoded, type MysqlConnection, quoteMysqlName } from '../../drivers/mysql.js'
import { type CatalogTable, tableSql } from './catalog.js'
import { keyColumns, orderSql, rangeSql } from './keys.js'
import { selectSql, textDecoder } from './text-values.js'

/** Rows of a chunk for estimates shown to people. */
export const CHUNK_ROWS_HINT = 100_000
const INTEGERS = new Set(['tinyint', 'smallint', 'mediumint', 'int', 'bigint'])
/** Rows per id; below, most chunks that arithmetic makes would be empty. */
const SPARSE = 0.01

export async function planKeys(
  connection: MysqlConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
  count: number,
): Promise<Key[]> {
  const [first, second] = keyColumns(table)
  const arithmetic = second === undefined && first !== undefined && INTEGERS.has(first.column.type.base)
  const keys = arithmetic ? await planIntegers(connection, table, range, rows, count) : null
  return keys ?? stepThrough(connection, table, range, rows, count)
}

/** Null when the numbers say nothing. */
async function planIntegers(
  connection: MysqlConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
  count: number,
): Promise<Key[] | null> {
  const columns = keyColumns(table)
  const name = quoteMysqlName(columns[0]!.name)
  const ends = `SELECT MIN(${name}), MAX(${name}) FROM ${tableSql(table.schema)}`
  const [[low, high]] = (await connection.query(`${ends} ${rangeSql(columns, range)}`)) as [
    [string | null, string | null],
  ]
  if (low === null || high === null) return []
  if (BigInt(high) - BigInt(low) < BigInt(rows)) return []
  if (table.rows === null || table.rows <= 0) return null
  const [[least, greatest]] = (await connection.query(ends)) as [[string, string]]
  const density = Math.min(1, table.rows / Number(BigInt(greatest) - BigInt(least) + 1n))
  if (density < SPARSE) return null
  const stepSize = BigInt(Math.max(1, Math.ceil(rows / density)))
  const keys: Key[] = []
  for (let at = BigInt(low) + stepSize; at <= BigInt(high) && keys.length < count; at += stepSize) keys.push([`${at}`])
  return keys
}

async function stepThrough(
  connection: MysqlConnection,
  table: CatalogTable,
  range: KeyRange,
  rows: number,
  count: number,
): Promise<Key[]> {
  const columns = keyColumns(table)
  const keys: Key[] = []
  for (let lo = range.lo; keys.length < count; ) {
    const where = rangeSql(columns, { lo, hi: range.hi })
    const next = await keyAt(connection, table, `${where} ORDER BY ${orderSql(columns)} LIMIT ${rows}, 1`)
    if (next === null) break
    keys.push(next)
    lo = { key: next, side: 'before' }
  }
  return keys
}

async function keyAt(connection: MysqlConnection, table: CatalogTable, rest: string): Promise<Key | null> {
  const columns = keyColumns(table)
  const decoders = columns.map(({ column }) => textDecoder(column))
  let key: Key | null = null
  const list = columns.map(({ name, column }) => selectSql(name, column)).join(', ')
  const raw = 'SET SESSION character_set_results = NULL'
  await connection.queries(raw)
  try {
    await connection.stream(`SELECT ${list} FROM ${tableSql(table.schema)} ${rest}`, (bytes, start, end) => {
      key = rowOf(bytes, start, end, decoders)
    }).over
  } finally {
    await connection.queries('SET SESSION character_set_results = utf8mb4')
  }
  return key
}

/** A row packet as values. */
export function rowOf(
  bytes: Buffer,
  from: number,
  to: number,
  decoders: readonly ((bytes: Buffer, start: number, end: number) => Value)[],
): Value[] {
  const row: Value[] = new Array(decoders.length)
  let at = from
  for (let i = 0; i < decoders.length && at < to; i++) {
    const { start, end } = lengthEncoded(bytes, at)
    row[i] = start < 0 ? null : decoders[i]!(bytes, start, end)
    at = end
  }
  return row
}
