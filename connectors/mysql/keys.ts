/**
 * The order of keys, here and in SQL. JavaScript compares only where it provably orders as the server does (D5): numbers, dates,
 * bytes, labels by their number. Text under a collation is located by the server itself (rule b).
 */
import type { KeyOrder, KeyRange } from '../../core/key.js'
import { LocatedOrder, type Places } from '../../core/located-order.js'
import type { Key, Value } from '../../core/model.js'
import { type MysqlConnection, quoteMysqlName, quoteMysqlText } from '../../drivers/mysql.js'
import type { CatalogTable } from './catalog.js'
import { holdsBytes, type MysqlColumnType } from './column-types.js'

export interface KeyColumn {
  readonly name: string
  readonly column: MysqlColumnType
}

type Compare = (a: Value, b: Value) => number

export function keyColumns({ schema, types }: CatalogTable): KeyColumn[] {
  return schema.key.map((i) => ({ name: schema.columns[i]!.name, column: types[i]! }))
}

export function mysqlKeyOrder(columns: readonly KeyColumn[]): KeyOrder {
  const compares = columns.map(({ column }) => comparator(column))
  if (compares.length === 0 || compares.includes(null)) return new LocatedOrder()
  return {
    located: false,
    compare(a, b) {
      for (let i = 0; i < compares.length; i++) {
        const sign = compares[i]!(a[i], b[i])
        if (sign !== 0) return sign
      }
      return 0
    },
  }
}

/** Types that cannot be a chunk's bound: literals of them are not what was stored. */
export function unusableKey(columns: readonly KeyColumn[]): KeyColumn | undefined {
  return columns.find(({ column }) => /^(float|double|json|vector)$/.test(column.type.base))
}

/** Null: only the server knows. */
function comparator(column: MysqlColumnType): Compare | null {
  const { type } = column
  if (holdsBytes(column)) return (a, b) => Buffer.compare(a as Uint8Array, b as Uint8Array)
  switch (type.base) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
    case 'decimal':
      return (a, b) => compareNumbers(a as string, b as string)
    case 'year':
    case 'date':
    case 'datetime':
    case 'timestamp':
    case 'bit':
      // Of one column all have the same length; the zero timestamp is shorter and lower.
      return compareTexts
    case 'time':
      return (a, b) => compareTimes(a as string, b as string)
    case 'enum':
      return (a, b) => indexOf(type.labels!, a) - indexOf(type.labels!, b)
    default:
      return null
  }
}

function compareTexts(a: Value, b: Value): number {
  return a === b ? 0 : (a as string) < (b as string) ? -1 : 1
}

function indexOf(labels: readonly string[], label: Value): number {
  return labels.indexOf(label as string)
}

/** Digits with the scale of one column. */
export function compareNumbers(a: string, b: string): number {
  if (a === b) return 0
  const negative = a.charCodeAt(0) === 45
  if (negative !== (b.charCodeAt(0) === 45)) return isZero(a) && isZero(b) ? 0 : negative ? -1 : 1
  const size = a.length !== b.length ? a.length - b.length : a < b ? -1 : 1
  return negative ? -size : size
}

function isZero(text: string): boolean {
  return /^-?[0.]+$/.test(text)
}

function compareTimes(a: string, b: string): number {
  return compareNumbers(a.replaceAll(':', ''), b.replaceAll(':', ''))
}

// ---- SQL

/** A literal that the column compares with as with its own values, so that its index serves. */
export function keyLiteral(value: Value, { type, charset, collation }: MysqlColumnType): string {
  if (value === null || value === undefined) return 'NULL'
  if (value instanceof Uint8Array) {
    const hex = Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex')
    return hex === '' ? "_binary ''" : `_binary X'${hex}'`
  }
  const text = String(value)
  switch (type.base) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
    case 'decimal':
    case 'year':
      return text
    case 'bit':
      return `b'${text}'`
    case 'enum':
      return String(indexOf(type.labels!, text) + 1)
    case 'set':
      return String(
        text === ''
          ? 0n
          : text.split(',').reduce((mask, label) => mask | (1n << BigInt(type.labels!.indexOf(label))), 0n),
      )
    case 'timestamp':
      return quoteMysqlText(text.replace(/\+00$/, ''))
    case 'date':
    case 'time':
    case 'datetime':
    case 'uuid':
    case 'inet4':
    case 'inet6':
      return quoteMysqlText(text)
    default: {
      const literal = `_utf8mb4${quoteMysqlText(text)}`
      if (charset === null || collation === null) return literal
      return charset === 'utf8mb4'
        ? `${literal} COLLATE ${collation}`
        : `CONVERT(${literal} USING ${charset}) COLLATE ${collation}`
    }
  }
}

export function orderSql(columns: readonly KeyColumn[]): string {
  return columns.map(({ name }) => quoteMysqlName(name)).join(', ')
}

/** `WHERE ...` for a range, '' for everything. Rows of columns are written out, because an index serves only those. */
export function rangeSql(columns: readonly KeyColumn[], { lo, hi }: KeyRange): string {
  const parts: string[] = []
  if (lo !== null && lo.key.length > 0) parts.push(beside(columns, lo.side === 'before' ? '>=' : '>', lo.key))
  if (hi !== null) parts.push(beside(columns, hi.side === 'before' ? '<' : '<=', hi.key))
  return parts.length === 0 ? '' : `WHERE ${parts.join(' AND ')}`
}

function beside(columns: readonly KeyColumn[], operator: '<' | '<=' | '>' | '>=', key: Key): string {
  const strict = operator[0]!
  const one = (i: number, sign: string) =>
    `${quoteMysqlName(columns[i]!.name)} ${sign} ${keyLiteral(key[i], columns[i]!.column)}`
  const from = (i: number): string =>
    i === columns.length - 1 ? one(i, operator) : `(${one(i, strict)} OR ${one(i, '=')} AND ${from(i + 1)})`
  // The first says nothing new, but an index scan can begin with it.
  return columns.length === 1 ? from(0) : `${one(0, `${strict}=`)} AND ${from(0)}`
}

export function keysSql(columns: readonly KeyColumn[], keys: readonly Key[]): string {
  const each = keys.map(
    (key) =>
      `(${columns.map(({ name, column }, i) => `${quoteMysqlName(name)} = ${keyLiteral(key[i], column)}`).join(' AND ')})`,
  )
  return `WHERE ${each.join(' OR ')}`
}

// ---- located keys (rule b)

/**
 * Asks the server for the places of keys among bounds: it sorts all of them as the key's index would, and says which neighbours
 * are equal. Works on every version.
 */
export async function locateKeys(
  connection: MysqlConnection,
  columns: readonly KeyColumn[],
  keys: readonly Key[],
  bounds: readonly Key[],
): Promise<Places> {
  const all = [...keys, ...bounds]
  const literals = all.map((key) => columns.map(({ column }, i) => sortable(keyLiteral(key[i], column), column)))
  const order = await sorted(connection, literals, columns.length)
  const equal = await equalNeighbours(
    connection,
    order.map((n) => literals[n]!),
  )
  const below = new Int32Array(all.length)
  const notAbove = new Int32Array(all.length)
  let passed = 0
  for (let from = 0; from < order.length; ) {
    let to = from + 1
    while (to < order.length && equal[to - 1]) to++
    const peers = order.slice(from, to)
    const boundsHere = peers.filter((n) => n >= keys.length).length
    for (const n of peers) {
      below[n] = passed
      notAbove[n] = passed + boundsHere
    }
    passed += boundsHere
    from = to
  }
  return { below, notAbove }
}

/** Literals of types that are compared by another value than they are written as. */
function sortable(literal: string, { type }: MysqlColumnType): string {
  switch (type.base) {
    case 'uuid':
    case 'inet4':
    case 'inet6':
      return `CAST(${literal} AS ${type.base.toUpperCase()})`
    case 'date':
    case 'time':
    case 'datetime':
      return `CAST(${literal} AS ${type.base.toUpperCase()}${type.precision ? `(${type.precision})` : ''})`
    case 'timestamp':
      return `CAST(${literal} AS DATETIME${type.precision ? `(${type.precision})` : ''})`
    default:
      return literal
  }
}

async function sorted(
  connection: MysqlConnection,
  literals: readonly (readonly string[])[],
  columns: number,
): Promise<number[]> {
  const names = Array.from({ length: columns }, (_, i) => `c${i}`)
  const selects = literals.map((row, n) =>
    n === 0 ? `SELECT 0 AS n, ${row.map((l, i) => `${l} AS c${i}`).join(', ')}` : `SELECT ${n}, ${row.join(', ')}`,
  )
  const rows = await connection.query(`SELECT n FROM (${selects.join(' UNION ALL ')}) k ORDER BY ${names.join(', ')}`)
  return rows.map(([n]) => Number(n))
}

/** Pairs in one SELECT. */
const PAIRS_MAX = 1_000

async function equalNeighbours(
  connection: MysqlConnection,
  literals: readonly (readonly string[])[],
): Promise<boolean[]> {
  const out: boolean[] = []
  for (let from = 1; from < literals.length; from += PAIRS_MAX) {
    const pairs = literals.slice(from, from + PAIRS_MAX).map((row, i) => {
      const before = literals[from + i - 1]!
      return row.map((literal, c) => `${before[c]} = ${literal}`).join(' AND ')
    })
    const [row] = await connection.query(`SELECT ${pairs.join(', ')}`)
    out.push(...row!.map((text) => text === '1'))
  }
  return out
}
