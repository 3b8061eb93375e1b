/**
 * Keys, key ranges and their order. A range's bounds are a key and a side, so that a range can end just before
 * or just after a key and hold a single one. The order must be the server's own (D5): where JavaScript cannot
 * reproduce it, a located order answers only what the server was asked before.
 */
import { assert } from './errors.js'
import { type Key, keyText } from './model.js'

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

/**
 * An order that only the server knows (collations, enums, floats...). Before the merger sees keys, the caller
 * asks the server where they lie against the current bounds and stores the answers here.
 */
export class LocatedOrder implements KeyOrder {
  readonly located = true
  /** keyText(key) -> keyText(bound key) -> sign. */
  #known = new Map<string, Map<string, number>>()

  /** The pairs among keys x bounds that are not known yet, as the keys to ask about. */
  missing(keys: readonly Key[], bounds: readonly Key[]): Key[] {
    if (bounds.length === 0) return []
    const texts = bounds.map(keyText)
    const out = new Map<string, Key>()
    for (const key of keys) {
      const text = keyText(key)
      const known = this.#known.get(text)
      if (!known || texts.some((b) => !known.has(b))) out.set(text, key)
    }
    return [...out.values()]
  }

  /** `signs[i * bounds.length + j]`: how keys[i] compares with bounds[j]. */
  learn(keys: readonly Key[], bounds: readonly Key[], signs: ArrayLike<number>): void {
    keys.forEach((key, i) => {
      const text = keyText(key)
      const known = this.#known.get(text) ?? new Map<string, number>()
      this.#known.set(text, known)
      for (let j = 0; j < bounds.length; j++) known.set(keyText(bounds[j]!), signs[i * bounds.length + j]!)
    })
  }

  /** Forgets everything; answers are cheap to ask again and memory is bounded (I8). */
  clear(): void {
    this.#known.clear()
  }

  get size(): number {
    return this.#known.size
  }

  compare(a: Key, b: Key): number {
    const ta = keyText(a)
    const tb = keyText(b)
    if (ta === tb) return 0
    const forward = this.#known.get(ta)?.get(tb)
    if (forward !== undefined) return forward
    const backward = this.#known.get(tb)?.get(ta)
    assert(backward !== undefined, `keys ${ta} and ${tb} were compared before the server was asked`)
    return -backward
  }
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
