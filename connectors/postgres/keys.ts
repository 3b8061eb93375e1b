/**
 * The order of keys, here and in SQL: always that of the key's own index, whose operators and collation need not be
 * those that a plain comparison of the column would find. JavaScript compares only where it provably orders as the
 * server does (D5); every other key is located by the server itself.
 */
import type { KeyOrder, KeyRange } from '../../core/key.js'
import { LocatedOrder, type Places } from '../../core/located-order.js'
import type { Key, Value } from '../../core/model.js'
import { type PgConnection, quoteIdent, quoteLiteral } from '../../drivers/postgres.js'
import type { CatalogTable, KeyColumn } from './catalog.js'
import { comparator } from './key-compare.js'
import type { KeyOperator } from './key-index.js'

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

// ---- SQL

/** A typed literal, for statements that take no parameters (COPY). */
export function literal(value: Value, type: string): string {
  return value === null || value === undefined ? `null::${type}` : `${quoteLiteral(value as string)}::${type}`
}

const list = (parts: readonly string[]) => (parts.length === 1 ? parts[0]! : `(${parts.join(', ')})`)

/** A key column under the collation that the key's index has. */
function columnSql({ name, collation, collates }: KeyColumn): string {
  return `${quoteIdent(name)}${collates ? ` collate ${collation}` : ''}`
}

/** What follows `order by`. The columns are qualified, because output columns of the same names may be text. */
export function orderSql({ key }: CatalogTable, relation: string): string {
  return key.map((c) => `${relation}.${columnSql(c)}${usingSql(c)}`).join(', ')
}

function usingSql({ operators }: KeyColumn): string {
  return operators === null ? '' : ` using operator(${operators['<']})`
}

/**
 * `where ...` for a range, empty for everything. `pinned`: only where so many leading columns are as in `lo`. Columns
 * that cannot be compared as a row are pinned as far as both bounds agree, because an index scan would otherwise
 * begin and end with all that shares the first column.
 */
export function rangeSql({ key: columns }: CatalogTable, { lo, hi }: KeyRange, pinned = 0): string {
  const shared = lo === null || hi === null || isRow(columns) ? 0 : sharedLength(lo.key, hi.key)
  const fixed = Math.max(pinned, shared)
  const parts = columns.slice(0, fixed).map((column, i) => comparison([column], '=', [lo!.key[i]]))
  const beyond = (from: number, operator: '<' | '<=' | '>' | '>=', key: Key) =>
    parts.push(beside(columns.slice(from), operator, key.slice(from)))
  if (lo !== null) beyond(fixed, lo.side === 'before' ? '>=' : '>', lo.key)
  if (hi !== null) beyond(shared, hi.side === 'before' ? '<' : '<=', hi.key)
  return parts.length === 0 ? '' : `where ${parts.join(' and ')}`
}

/** The server compares the columns as one row, which an index scan takes as it is. */
export function isRow(columns: readonly KeyColumn[]): boolean {
  return columns.every((c) => c.operators === null)
}

/** Leading columns of the same text, all but the last. */
function sharedLength(a: Key, b: Key): number {
  const first = a.findIndex((value, i) => i === a.length - 1 || value !== b[i])
  return Math.max(0, first)
}

/** A row of columns has one operator name for all of them, so others than the usual ones are written out. */
function beside(columns: readonly KeyColumn[], operator: '<' | '<=' | '>' | '>=', key: Key): string {
  if (isRow(columns) || columns.length === 1) return comparison(columns, operator, key)
  const strict = operator === '<' || operator === '<=' ? '<' : '>'
  const from = (i: number): string => {
    const column = columns.slice(i, i + 1)
    const value = key.slice(i, i + 1)
    if (i === columns.length - 1) return comparison(column, operator, value)
    return `(${comparison(column, strict, value)} or ${comparison(column, '=', value)} and ${from(i + 1)})`
  }
  // Says nothing new, but an index scan can begin with it.
  const own = columns.findIndex((c) => c.operators !== null)
  const first = Math.max(1, own)
  return `${comparison(columns.slice(0, first), `${strict}=`, key.slice(0, first))} and ${from(0)}`
}

/** One column, or several that all have the usual operators. */
function comparison(columns: readonly KeyColumn[], operator: KeyOperator, key: Key): string {
  const own = columns[0]?.operators ?? null
  const values = columns.map(({ type }, i) => literal(key[i], type))
  return `${list(columns.map(columnSql))} ${own === null ? operator : `operator(${own[operator]})`} ${list(values)}`
}

/** Where the key is one of these. */
export function keysSql({ key: columns }: CatalogTable, keys: readonly Key[]): string {
  if (isRow(columns)) {
    const values = keys.map((key) => list(columns.map(({ type }, i) => literal(key[i], type))))
    return `where ${list(columns.map(columnSql))} in (${values.join(', ')})`
  }
  const each = keys.map((key) => columns.map((column, i) => comparison([column], '=', [key[i]])).join(' and '))
  return `where ${each.join(' or ')}`
}

/** Asks the server for the places of keys among bounds: one sort of both together, as the key's index would sort them. */
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
    window o as (order by ${table.key.map((c, i) => `c${i}${usingSql(c)}`).join(', ')})) places`
  const columns = names.map((_, i) => [...keys, ...bounds].map((key) => key[i]))
  const [[text]] = (await connection.query(sql, [`${keys.length}`, ...columns])) as [[string]]
  const numbers = Int32Array.from(text.split(' '), Number)
  return { below: numbers.filter((_, i) => i % 2 === 0), notAbove: numbers.filter((_, i) => i % 2 === 1) }
}
