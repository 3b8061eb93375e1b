/**
 * Keys, key ranges and their order. A range's bounds are a key and a side, so that a range can end just before
 * or just after a key and hold a single one. The order must be the server's own (D5): where JavaScript cannot
 * reproduce it, a located order (located-order.ts) answers only what the server was asked before.
 */
import type { Key } from './model.js'

/** null as a range's lower bound is minus infinity, as its upper bound plus infinity. */
export interface Bound {
  readonly key: Key
  /** before: the key itself lies above the bound; after: below it. */
  readonly side: 'before' | 'after'
}

export interface KeyRange {
  readonly lo: Bound | null
  readonly hi: Bound | null
}

/** The server's order of a table's keys. Negative: a sorts before b. */
export interface KeyOrder {
  compare(a: Key, b: Key): number
  /** True: compare() may be called only on pairs that were located before, see LocatedOrder. */
  readonly located: boolean
}

/** True when the key lies above the bound. */
export function aboveBound(order: KeyOrder, key: Key, bound: Bound): boolean {
  const sign = order.compare(key, bound.key)
  return bound.side === 'before' ? sign >= 0 : sign > 0
}

/** True when the key lies in the range. */
export function inRange(order: KeyOrder, key: Key, range: KeyRange): boolean {
  if (range.lo !== null && !aboveBound(order, key, range.lo)) return false
  return range.hi === null || !aboveBound(order, key, range.hi)
}
