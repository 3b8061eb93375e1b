/**
 * The order of keys. JavaScript compares only where it provably orders as the server does (D5): integers, numeric,
 * uuid, bytea, bool, dates and times, and text under a byte order. Every other key is located by the server itself.
 */
import type { Bound, KeyOrder, KeyRange } from '../../core/key.js'
import { LocatedOrder, type Places } from '../../core/located-order.js'
import type { Key, Value } from '../../core/model.js'
import { type PgConnection, quoteIdent, quoteLiteral } from '../../drivers/postgres.js'
import type { CatalogTable, KeyColumn } from './catalog.js'

type Compare = (a: string, b: string) => number

export function keyOrder(columns: readonly KeyColumn[]): KeyOrder {
  const compares = columns.map(comparator)
  if (compares.length === 0 || compares.includes(null)) return new LocatedOrder()
  return {
    located: false,
    compare(a, b) {
      for (let i = 0; i < compares.length; i++) {
        const sign = compares[i]!(a[i] as string, b[i] as string)
        if (sign !== 0) return sign
      }
      return 0
    },
  }
}

/** What a key's type means for reading it in chunks, for people. */
export function keyKind(columns: readonly KeyColumn[]): string {
  const types = columns.map((c) => `${c.name} ${c.type}`).join(', ')
  return keyOrder(columns).located ? `${types} (ordered by the server)` : types
}

/** Null: only the server knows. */
export function comparator({ base, byteOrder }: Pick<KeyColumn, 'base' | 'byteOrder'>): Compare | null {
  switch (base) {
    case 'int2':
    case 'int4':
    case 'int8':
    case 'oid':
      return compareIntegers
    case 'numeric':
      return compareDecimals
    case 'uuid':
    case 'bytea':
    case 'bool':
      return compareAscii
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return compareDates
    case 'text':
    case 'varchar':
    case 'name':
      return byteOrder ? compareUtf8 : null
    default:
      return null
  }
}

/** Lower-case hex and single letters: code units order as bytes do. */
function compareAscii(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1
}

export function compareIntegers(a: string, b: string): number {
  if (a === b) return 0
  const negative = a.charCodeAt(0) === 45
  if (negative !== (b.charCodeAt(0) === 45)) return negative ? -1 : 1
  const sign = a.length !== b.length ? a.length - b.length : a < b ? -1 : 1
  return negative ? -sign : sign
}

/** NaN is greatest, above infinity; 1.0 equals 1.00. */
export function compareDecimals(a: string, b: string): number {
  if (a === b) return 0
  const ra = decimalRank(a)
  const rb = decimalRank(b)
  if (ra !== rb) return ra - rb
  if (ra !== 1) return 0
  const negative = a.charCodeAt(0) === 45
  const otherNegative = b.charCodeAt(0) === 45
  const [ai, af] = decimalParts(a)
  const [bi, bf] = decimalParts(b)
  const zero = ai === '' && af === '' && bi === '' && bf === ''
  if (zero) return 0
  if (negative !== otherNegative) return negative ? -1 : 1
  const sign =
    ai.length !== bi.length ? ai.length - bi.length : ai !== bi ? (ai < bi ? -1 : 1) : af === bf ? 0 : af < bf ? -1 : 1
  return negative ? -sign : sign
}

function decimalRank(text: string): number {
  return text === '-Infinity' ? 0 : text === 'Infinity' ? 2 : text === 'NaN' ? 3 : 1
}

/** Digits before and after the point, without sign and without zeros that mean nothing. */
function decimalParts(text: string): [string, string] {
  const digits = text.charCodeAt(0) === 45 ? text.slice(1) : text
  const point = digits.indexOf('.')
  const whole = point < 0 ? digits : digits.slice(0, point)
  const fraction = point < 0 ? '' : digits.slice(point + 1)
  return [whole.replace(/^0+/, ''), fraction.replace(/0+$/, '')]
}

/** ISO dates and timestamps in UTC, with BC and infinities. */
export function compareDates(a: string, b: string): number {
  if (a === b) return 0
  const ra = dateRank(a)
  const rb = dateRank(b)
  if (ra !== rb) return ra - rb
  const ya = a.indexOf('-', 1)
  const yb = b.indexOf('-', 1)
  const years = ya !== yb ? ya - yb : compareAscii(a.slice(0, ya), b.slice(0, yb))
  if (years !== 0) return ra === 1 ? -years : years
  return compareAscii(a.slice(ya), b.slice(yb))
}

function dateRank(text: string): number {
  return text === '-infinity' ? 0 : text.endsWith(' BC') ? 1 : text === 'infinity' ? 3 : 2
}

/** Code points, which order as UTF-8 bytes do; UTF-16 code units do not above U+D7FF. */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const ca = a.charCodeAt(i)
    const cb = b.charCodeAt(i)
    if (ca !== cb) return utf8Weight(ca) - utf8Weight(cb)
  }
  return a.length - b.length
}

function utf8Weight(unit: number): number {
  return unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit
}

// ---- SQL

/** A typed literal, for statements that take no parameters (COPY). */
export function literal(value: Value, type: string): string {
  return value === null || value === undefined ? `null::${type}` : `${quoteLiteral(value as string)}::${type}`
}

const list = (parts: readonly string[]) => (parts.length === 1 ? parts[0]! : `(${parts.join(', ')})`)

/** The key columns as SQL. */
export function keyColumns(table: CatalogTable): string[] {
  return table.key.map((c) => quoteIdent(c.name))
}

/** `where ...` for a range, empty for everything. */
export function rangeSql(table: CatalogTable, { lo, hi }: KeyRange): string {
  const columns = list(keyColumns(table))
  const at = ({ key }: Bound) => list(key.map((v, i) => literal(v, table.key[i]!.type)))
  const parts: string[] = []
  if (lo !== null) parts.push(`${columns} ${lo.side === 'before' ? '>=' : '>'} ${at(lo)}`)
  if (hi !== null) parts.push(`${columns} ${hi.side === 'before' ? '<' : '<='} ${at(hi)}`)
  return parts.length === 0 ? '' : `where ${parts.join(' and ')}`
}

/** `where key in (...)`. */
export function keysSql(table: CatalogTable, keys: readonly Key[]): string {
  const values = keys.map((key) => list(key.map((v, i) => literal(v, table.key[i]!.type))))
  return `where ${list(keyColumns(table))} in (${values.join(', ')})`
}

/** Asks the server for the places of keys among bounds: one sort of both together, under the key's own types and collations. */
export async function locateKeys(
  connection: PgConnection,
  table: CatalogTable,
  keys: readonly Key[],
  bounds: readonly Key[],
): Promise<Places> {
  const names = table.key.map((_, i) => `c${i}`)
  const typed = table.key.map(
    ({ type, collation }, i) => `c${i}::${type}${collation === null ? '' : ` collate ${collation}`} as c${i}`,
  )
  const arrays = names.map((_, i) => `$${i + 2}::text[]`)
  // Equal keys are peers: not above counts them, below does not.
  const sql = `select string_agg(below || ' ' || not_above, ' ' order by n) from (
    select n, count(*) filter (where n > $1) over (o groups between unbounded preceding and 1 preceding) as below,
      count(*) filter (where n > $1) over (o groups between unbounded preceding and current row) as not_above
    from (select n, ${typed.join(', ')} from unnest(${arrays.join(', ')}) with ordinality k(${names.join(', ')}, n)) k
    window o as (order by ${names.join(', ')})) places`
  const columns = names.map((_, i) => [...keys, ...bounds].map((key) => key[i]))
  const [[text]] = (await connection.query(sql, [`${keys.length}`, ...columns])) as [[string]]
  const numbers = Int32Array.from(text.split(' '), Number)
  return { below: numbers.filter((_, i) => i % 2 === 0), notAbove: numbers.filter((_, i) => i % 2 === 1) }
}
