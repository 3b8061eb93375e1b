/**
 * The net effect of consecutive changes of one keyed table, so that a batch costs a few statements. Always true:
 * applying moves, then deletes, then patches, then upserts gives what the changes give one after the other. A patch
 * (an update with unsent values) merges onto an earlier image of its key and is never replaced by last-wins (1.10 g).
 */
import { assert } from '../core/errors.js'
import type { Op, Row } from '../core/model.js'

export interface FoldedChange<R extends Row> {
  readonly op: Op
  readonly before: R | null
  readonly after: R | null
}

/** A row whose key changes while values were not sent: only the target's own row has them. */
export interface Move<R extends Row> {
  readonly from: R
  readonly row: R
}

interface Net<R extends Row> {
  readonly kind: 'delete' | 'patch' | 'upsert'
  readonly row: R
}

export interface Folded<R extends Row> {
  readonly moves: readonly Move<R>[]
  readonly deletes: readonly R[]
  readonly patches: readonly R[]
  readonly upserts: readonly R[]
  /** True: nothing but inserts and reads of keys that occur once. */
  readonly onlyInserts: boolean
}

export class Fold<R extends Row> {
  readonly #keyText: (row: R) => string
  #net = new Map<string, Net<R>>()
  #moves: Move<R>[] = []
  #moved = new Set<string>()
  #onlyInserts = true

  constructor(keyText: (row: R) => string) {
    this.#keyText = keyText
  }

  get empty(): boolean {
    return this.#net.size === 0 && this.#moves.length === 0
  }

  /**
   * false: what was added before must be written first, then the change is added again. missing: an update of a key that
   * this batch deleted.
   */
  add(change: FoldedChange<R>): boolean | 'missing' {
    const { op, before, after } = change
    if (op === 'd') {
      this.#set(this.#keyText(before!), { kind: 'delete', row: before! })
      return true
    }
    const key = this.#keyText(after!)
    if (op !== 'u') {
      assert(isComplete(after!), 'an insert or a read has unsent values')
      if (this.#onlyInserts && !this.#net.has(key)) this.#net.set(key, { kind: 'upsert', row: after! })
      else this.#set(key, { kind: 'upsert', row: after! })
      return true
    }
    const from = before === null ? key : this.#keyText(before)
    return from === key ? this.#update(key, after!) : this.#move(from, key, before!, after!)
  }

  #set(key: string, net: Net<R>): void {
    this.#onlyInserts = false
    this.#net.set(key, net)
  }

  #update(key: string, row: R): boolean | 'missing' {
    if (isComplete(row)) {
      this.#set(key, { kind: 'upsert', row })
      return true
    }
    const earlier = this.#net.get(key)
    if (earlier?.kind === 'delete') return 'missing'
    this.#set(key, earlier ? { kind: earlier.kind, row: onto(earlier.row, row) } : { kind: 'patch', row })
    return true
  }

  #move(from: string, to: string, before: R, after: R): boolean | 'missing' {
    const earlier = this.#net.get(from)
    const known = isComplete(after) ? after : earlier?.kind === 'upsert' ? onto(earlier.row, after) : null
    if (known !== null) {
      this.#set(from, { kind: 'delete', row: before })
      this.#set(to, { kind: 'upsert', row: known })
      return true
    }
    if (earlier?.kind === 'delete') return 'missing'
    // Moves go first, so neither of their keys may have been touched before.
    for (const key of [from, to]) if (this.#net.has(key) || this.#moved.has(key)) return false
    this.#onlyInserts = false
    this.#moves.push({ from: before, row: after })
    this.#moved.add(from).add(to)
    return true
  }

  /** Returns the net effect and starts anew. */
  take(): Folded<R> {
    const deletes: R[] = []
    const patches: R[] = []
    const upserts: R[] = []
    const lists = { delete: deletes, patch: patches, upsert: upserts }
    for (const { kind, row } of this.#net.values()) lists[kind].push(row)
    const folded = { moves: this.#moves, deletes, patches, upserts, onlyInserts: this.#onlyInserts }
    this.#net = new Map()
    this.#moves = []
    this.#moved = new Set()
    this.#onlyInserts = true
    return folded
  }
}

/** The later image on top of the earlier one. */
function onto<R extends Row>(earlier: R, later: R): R {
  return later.map((value, i) => (value === undefined ? earlier[i] : value)) as unknown as R
}

/** Every value was sent. */
export function isComplete(row: Row): boolean {
  for (const value of row) if (value === undefined) return false
  return true
}
