/**
 * A piece of a table's key space and how far its copy got:
 *
 *   waiting   its rows were not read: events are dropped and their transaction remembered
 *   open      its rows are being read: events are held
 *   kept      its only row was read and is held back (last-row.ts): events become part of it unless the cut covers them
 *   finished  its rows have left: events leave unless the cut covers them
 */
import type { Cut } from './cut.js'
import type { Bound, KeyOrder, KeyRange } from './key.js'
import { type Change, type Key, keyOf, type Origin, type TableSchema, type TxnRef } from './model.js'
import type { Window } from './window.js'

export interface Held {
  readonly txn: TxnRef
  readonly schema: TableSchema
  readonly change: Change
  readonly bytes: number
}

export interface Range extends KeyRange {
  readonly id: number
  lo: Bound | null
  hi: Bound | null
  state: 'waiting' | 'open' | 'kept' | 'finished'
  /** All but finished: transactions whose events were dropped here; any later cut must cover them (1.9). */
  remembered: Map<bigint, TxnRef>
  /** open: once known. kept, finished: null when the log has passed it and it covers nothing that can still come. */
  cut: Cut | null
  /** open: how its rows are described to sinks. */
  origin: Origin | null
  held: Held[]
  heldBytes: number
  /** open: every row up to here has left. */
  handed: Bound | null
  /** open, sources without exact cuts: rows wait for the high mark (1.10 a). */
  window: Window | null
  /** waiting: the source was asked for split points, or the range is small enough. */
  planned: boolean
  /** The only key of a one-row range (1.10 g). */
  single: Key | null
}

let lastId = 0

export function newRange(lo: Bound | null, hi: Bound | null, state: Range['state']): Range {
  return {
    id: ++lastId,
    lo,
    hi,
    state,
    remembered: new Map(),
    cut: null,
    origin: null,
    held: [],
    heldBytes: 0,
    handed: null,
    window: null,
    planned: false,
    single: null,
  }
}

export function heldKey({ schema, change }: Held): Key {
  return keyOf(schema, change.op === 'd' ? change.before! : change.after!)
}

export function passes(range: Range, txn: TxnRef): boolean {
  return range.state === 'finished' && !(range.cut?.covers(txn) ?? false)
}

export function piece(of: Range, lo: Bound | null, hi: Bound | null): Range {
  const part = newRange(lo, hi, of.state)
  part.cut = of.cut
  part.planned = true
  return part
}

export function sameBound(order: KeyOrder, a: Bound, b: Bound): boolean {
  return a.side === b.side && order.compare(a.key, b.key) === 0
}
