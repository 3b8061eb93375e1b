/**
 * An order that only the server knows (collations, enums, floats...). Before the merger sees keys, the caller asks the
 * server for their places among the current bounds and stores the answers here. A key's place is two numbers beside the
 * bounds that were asked about, so memory grows with keys plus bounds and not with their product (I8).
 */
import { assert } from './errors.js'
import type { KeyOrder } from './key.js'
import { type Key, keyText } from './model.js'

/** The server's answer for some keys and, behind them, the bounds themselves: how many bounds sort below each, and how many not above it. */
export interface Places {
  readonly below: ArrayLike<number>
  readonly notAbove: ArrayLike<number>
}

/** The bounds of one question, by text, with how many of them sort below each. */
type Ranks = ReadonlyMap<string, number>

interface Place {
  readonly ranks: Ranks
  readonly below: number
  readonly notAbove: number
}

export class LocatedOrder implements KeyOrder {
  readonly located = true
  readonly #places = new Map<string, Place>()
  /** Keys and bounds that answers are kept for, those of replaced answers included. */
  #size = 0

  /** The keys whose places among these bounds are not known yet. */
  missing(keys: readonly Key[], bounds: readonly Key[]): Key[] {
    if (bounds.length === 0) return []
    const texts = bounds.map(keyText)
    // Many keys share one question, so its bounds are looked through once.
    const enough = new Map<Ranks, boolean>()
    const answered = (ranks: Ranks) => {
      const known = enough.get(ranks) ?? texts.every((text) => ranks.has(text))
      enough.set(ranks, known)
      return known
    }
    const out = new Map<string, Key>()
    for (const key of keys) {
      const text = keyText(key)
      const place = this.#places.get(text)
      if (place === undefined || !answered(place.ranks)) out.set(text, key)
    }
    return [...out.values()]
  }

  learn(keys: readonly Key[], bounds: readonly Key[], { below, notAbove }: Places): void {
    const ranks = new Map(bounds.map((bound, j) => [keyText(bound), below[keys.length + j]!]))
    keys.forEach((key, i) => {
      this.#places.set(keyText(key), { ranks, below: below[i]!, notAbove: notAbove[i]! })
    })
    this.#size += keys.length + ranks.size
  }

  /** Forgets all answers but those for `keys`; the others are cheap to ask again (I8). */
  retain(keys: Iterable<Key>): void {
    const kept = new Map<string, Place>()
    for (const key of keys) {
      const text = keyText(key)
      const place = this.#places.get(text)
      if (place !== undefined) kept.set(text, place)
    }
    this.#places.clear()
    for (const [text, place] of kept) this.#places.set(text, place)
    const questions = new Set([...kept.values()].map(({ ranks }) => ranks))
    this.#size = kept.size
    for (const { size } of questions) this.#size += size
  }

  get size(): number {
    return this.#size
  }

  compare(a: Key, b: Key): number {
    const ta = keyText(a)
    const tb = keyText(b)
    if (ta === tb) return 0
    const forward = this.#sign(ta, tb)
    if (forward !== null) return forward
    const backward = this.#sign(tb, ta)
    assert(backward !== null, `keys ${ta} and ${tb} were compared before the server was asked`)
    return -backward
  }

  /** Null: the bound was not among those that the key was placed among. */
  #sign(key: string, bound: string): number | null {
    const place = this.#places.get(key)
    const rank = place?.ranks.get(bound)
    if (place === undefined || rank === undefined) return null
    if (rank < place.below) return 1
    return rank < place.notAbove ? 0 : -1
  }
}
