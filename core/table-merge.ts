/**
 * The merge rule for one table (design.md section 2, correctness.md 1.9 and 1.10): a partition of the key space into
 * ranges (range.ts), and what happens to a log event that falls into one. Long because its steps share one invariant.
 *
 * Always true: the ranges cover the key space without gap or overlap; rows of a range left in key order up to
 * `handed`; an event of a key leaves after the key's row (I3). Synchronous on purpose: interleavings are inputs.
 */
import type { Cut } from './cut.js'
import { assert, TidemarkError } from './errors.js'
import { aboveBound, type Bound, inRange, type KeyOrder } from './key.js'
import { LastRow } from './last-row.js'
import { LocatedOrder } from './located-order.js'
import {
  type BatchMarks,
  type Change,
  type Key,
  keyOf,
  keyText,
  type Origin,
  type TableSchema,
  type TxnRef,
} from './model.js'
import { rowCount, splitLast } from './packed-rows.js'
import { type Held, heldKey, newRange, passes, piece, type Range, sameBound } from './range.js'
import { complete, completeKey, keyMoved, keyOnly, keyTypes } from './row-change.js'
import type { MarkEnd, TableMarks } from './snapshot-marks.js'
import type { ChunkCut, ChunkRows, SourceTable } from './source.js'
import { Window } from './window.js'

/** Where changes leave to, in order. */
export interface Emitter {
  change(schema: TableSchema, origin: Origin, change: Change, bytes: number): void
  rows(chunk: ChunkRows, origin: Origin, marks?: BatchMarks): void
}

export class TableMerge {
  table: SourceTable
  ranges: Range[]
  /** True once any change or row of the table left. */
  started = false
  /** 1.10 j: true until the first cut of a table that was added later is in a checkpoint. */
  added = false
  heldBytes = 0
  /** The row that was read last, while it is held back. */
  last: LastRow | null = null
  /** null: the sink does not ask which rows are the first and the last, so nothing is held back. */
  readonly marks: TableMarks | null
  readonly #emit: Emitter
  /** Sinks that cannot complete a row from their own old one need it read (1.10 g). */
  readonly #completesMoves: boolean
  /** Sinks that want to see that a key changed. */
  readonly #keepsMoves: boolean
  /** In latest-offset mode the sink may lack the old row even when it could complete from it. */
  readonly #readUnsent: boolean
  /** Nothing can be read. */
  readonly #streamOnly: boolean

  constructor(
    table: SourceTable,
    ranges: Range[],
    emit: Emitter,
    options: {
      completesMoves: boolean
      keepsMoves: boolean
      readUnsent: boolean
      streamOnly: boolean
      marks: TableMarks | null
    },
  ) {
    this.table = table
    this.ranges = ranges
    this.#emit = emit
    this.#completesMoves = options.completesMoves
    this.#keepsMoves = options.keepsMoves
    this.#readUnsent = options.readUnsent
    this.#streamOnly = options.streamOnly
    this.marks = options.marks
  }

  /** True: an update with unsent values may need its row read. */
  get readsUnsent(): boolean {
    return this.#completesMoves && this.#readUnsent
  }

  /** Rows that wait for the high mark of their window. */
  get windowBytes(): number {
    let bytes = 0
    for (const { window } of this.ranges) bytes += window?.bytes ?? 0
    return bytes
  }

  get order(): KeyOrder {
    return this.table.order
  }

  /** The table's definition changed. Bounds stay in the order that they were made in, with what is known of it (D5). */
  redefine(table: SourceTable): void {
    const [only] = this.ranges
    if (this.ranges.length === 1 && only!.state === 'waiting') {
      this.table = table
      return
    }
    const [was, now] = [keyTypes(this.table.schema), keyTypes(table.schema)]
    if (was !== now) {
      throw new TidemarkError('core.identity_changed', {
        message: `the key of ${table.schema.id} was (${was}) and is now (${now}), so its half-read chunks cannot be continued`,
        fix: 'Restore the key, or run `tidemark drop FILE`, empty the targets and start anew.',
      })
    }
    this.table = { ...table, order: this.table.order }
  }

  /** Nothing waits, nothing is read and no cut covers anything: events pass. */
  get pure(): boolean {
    const only = this.ranges[0]!
    return this.ranges.length === 1 && only.state === 'finished' && only.cut === null
  }

  get keyless(): boolean {
    return this.table.schema.key.length === 0
  }

  /** Every row was read and no cut covers anything: none can follow the one that is held back. */
  get complete(): boolean {
    return this.ranges.every(({ state, cut }) => (state === 'finished' || state === 'kept') && cut === null)
  }

  // ---- log events

  /** One row change of the log. */
  change(txn: TxnRef, schema: TableSchema, raw: Change, bytes: number): void {
    if (schema.key.length === 0) return this.#part(this.ranges[0]!, txn, schema, raw, bytes)
    const change = completeKey(schema, raw)
    if (change.op !== 'u' || change.before === null || !keyMoved(schema, change.before, change.after!)) {
      const row = change.op === 'd' ? change.before! : change.after!
      return this.#part(this.find(keyOf(schema, row)), txn, schema, change, bytes)
    }
    this.#move(txn, schema, change, bytes)
  }

  /** D6: a row that changes its key is a delete and an insert, each judged by its own range. */
  #move(txn: TxnRef, schema: TableSchema, change: Change, bytes: number): void {
    const before = change.before!
    const after = change.after!
    const from = this.find(keyOf(schema, before))
    // 1.10 g: the only copy of an unsent value is the sink's old row, so the sink moves the row itself.
    const whole = complete(after) ? this.#keepsMoves : this.#completesMoves && !this.#readUnsent
    if (whole && passes(from, txn) && passes(this.find(keyOf(schema, after)), txn)) {
      return this.#leave(schema, txn, change, bytes)
    }
    this.#part(from, txn, schema, { op: 'd', before: keyOnly(schema, before), after: null, at: change.at }, bytes)
    const insert: Change = { op: 'c', before: null, after, at: change.at }
    this.#part(this.find(keyOf(schema, after)), txn, schema, insert, bytes)
  }

  #part(range: Range, txn: TxnRef, schema: TableSchema, change: Change, bytes: number): void {
    switch (range.state) {
      case 'waiting':
        range.remembered.set(txn.ordinal, txn)
        return
      case 'open':
        this.#hold(range, { txn, schema, change, bytes })
        return
      case 'kept':
        if (!range.cut?.covers(txn)) this.#absorb(range, { txn, schema, change, bytes })
        return
      case 'finished':
        if (!passes(range, txn)) return
        if (this.#mustRead(change)) this.#readAgain(range, { schema, change }, [txn])
        else this.#leave(schema, txn, change, bytes)
    }
  }

  #hold(range: Range, held: Held): void {
    if (range.window?.high?.covers(held.txn)) return this.#fold(range, range.window, [held])
    range.held.push(held)
    range.heldBytes += held.bytes
    this.heldBytes += held.bytes
  }

  /**
   * 1.10 a: what the high mark covers goes into the window's rows in log order, and at once: were it held, its bytes would
   * stop the log, for which the window waits (I8). It is remembered, since the read may still be given up.
   */
  #fold(range: Range, window: Window, inside: readonly Held[]): void {
    window.fold(inside)
    for (const { txn } of inside) range.remembered.set(txn.ordinal, txn)
  }

  /** An insert with unsent values has no row to complete it; under latest-offset no update has (1.10 g). */
  #mustRead(change: Change): boolean {
    if (this.#streamOnly || change.after === null || complete(change.after)) return false
    return change.op === 'c' || (change.op === 'u' && this.readsUnsent)
  }

  /** 1.10 g: the key becomes a one-row waiting range and is read with its own cut. */
  #readAgain(
    range: Range,
    { schema, change }: Pick<Held, 'schema' | 'change'>,
    remembered: readonly TxnRef[],
  ): Range[] {
    const key = keyOf(schema, change.after!)
    const lo: Bound = { key, side: 'before' }
    const hi: Bound = { key, side: 'after' }
    const row = newRange(lo, hi, 'waiting')
    row.single = key
    row.planned = true
    for (const txn of remembered) row.remembered.set(txn.ordinal, txn)
    const parts: Range[] = []
    if (range.lo === null || !sameBound(this.order, range.lo, lo)) parts.push(piece(range, range.lo, lo))
    parts.push(row)
    if (range.hi === null || !sameBound(this.order, range.hi, hi)) parts.push(piece(range, hi, range.hi))
    this.#replace(range, parts)
    return parts
  }

  #leave(schema: TableSchema, txn: TxnRef, change: Change, bytes: number): void {
    this.started = true
    this.#emit.change(schema, { kind: 'log', txn }, change, bytes)
  }

  /** 1.10 f: the truncate itself leaves once, by the caller; here every range learns of it. */
  truncate(txn: TxnRef): void {
    this.started = true
    const kept = this.last?.range
    this.last = null
    if (kept?.state === 'kept') this.#unkeep(kept)
    for (const range of this.ranges) {
      if (range.state === 'waiting') {
        range.remembered.set(txn.ordinal, txn)
      } else if (range.state === 'open') {
        this.#giveUp(range)
        range.remembered.set(txn.ordinal, txn)
      } else if (range.cut?.covers(txn)) {
        const again = newRange(range.lo, range.hi, 'waiting')
        again.remembered.set(txn.ordinal, txn)
        this.#replace(range, [again])
      }
    }
  }

  // ---- chunk reads

  find(key: Key): Range {
    const ranges = this.ranges
    let low = 0
    let high = ranges.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (aboveBound(this.order, key, ranges[middle]!.lo!)) low = middle
      else high = middle - 1
    }
    const range = ranges[low]!
    if (range.hi !== null && aboveBound(this.order, key, range.hi)) {
      throw new TidemarkError('core.key_outside_chunks', {
        message: `key ${keyText(key)} of ${this.table.schema.id} lies in no chunk`,
        fix: 'If the collation of the key changed (operating system upgrade), REINDEX the table and start the pipeline anew.',
      })
    }
    return range
  }

  range(id: number, state: Range['state']): Range | null {
    return this.ranges.find((r) => r.id === id && r.state === state) ?? null
  }

  /** Splits a waiting range before each key. Keys are hints: those outside the range or out of order are left out. */
  split(id: number, hints: readonly Key[]): void {
    const range = this.range(id, 'waiting')
    if (range === null) return
    const keys: Key[] = []
    for (const key of hints) {
      const last = keys.at(-1)
      if (last !== undefined && this.order.compare(key, last) <= 0) continue
      if (inRange(this.order, key, range) && (range.lo === null || this.order.compare(key, range.lo.key) !== 0))
        keys.push(key)
    }
    if (keys.length === 0) {
      range.planned = true
      return
    }
    const bounds: (Bound | null)[] = [range.lo, ...keys.map((key) => ({ key, side: 'before' }) as const), range.hi]
    const parts = bounds.slice(1).map((hi, i) => {
      const part = newRange(bounds[i]!, hi, 'waiting')
      part.remembered = new Map(range.remembered)
      part.planned = i < bounds.length - 2
      return part
    })
    this.#replace(range, parts)
  }

  /** I4: call between the table lock and the snapshot. False: the range is no longer there to be read. */
  open(id: number): boolean {
    const range = this.range(id, 'waiting')
    if (range === null) return false
    range.state = 'open'
    return true
  }

  /**
   * The snapshot is taken, its SELECT is not. retry: it does not show a transaction whose events were dropped, so take
   * another; the range stays open so that the list cannot grow (1.9). gone: the range was given up meanwhile.
   */
  cut(id: number, chunk: ChunkCut): 'ok' | 'retry' | 'gone' {
    const range = this.range(id, 'open')
    if (range === null) return 'gone'
    for (const txn of range.remembered.values()) if (!chunk.cut.covers(txn)) return 'retry'
    range.cut = chunk.cut
    const { tsUs, at, xid, binlog } = chunk
    range.origin = { kind: 'snapshot', tsUs, at, xid, ...(binlog && { binlog }) }
    range.window = chunk.window ? new Window() : null
    return 'ok'
  }

  /** Rows of an open range, all those up to `upTo` that were not given before. False: the range was given up. */
  rows(id: number, chunk: ChunkRows, upTo: Bound | null): boolean {
    const range = this.range(id, 'open')
    if (range === null || range.cut === null) return false
    this.started = true
    if (range.window) range.window.add(chunk.schema, chunk.rows, chunk.bytes)
    else this.#send(range, chunk)
    range.handed = upTo
    return true
  }

  /**
   * The read is over. `upTo` null: the whole range was read; otherwise the rest waits again (1.10 c, d).
   * `high`: the high mark of a window, read after its last row.
   */
  finish(id: number, upTo: Bound | null, high: Cut | null = null): void {
    const range = this.range(id, 'open')
    if (range === null) return
    const rest = upTo === null ? null : this.#splitOpen(range, upTo)
    if (rest !== null) this.#giveUp(rest)
    if (range.window === null) return this.#close(range)
    assert(high !== null, 'a window ends with its high mark')
    range.window.high = high
    const inside = range.held.filter((h) => high.covers(h.txn))
    this.#fold(range, range.window, inside)
    const bytes = inside.reduce((sum, h) => sum + h.bytes, 0)
    range.held = range.held.filter((h) => !high.covers(h.txn))
    range.heldBytes -= bytes
    this.heldBytes -= bytes
  }

  /** Exact cut: held events leave after the rows, unless the rows show them already (1.10 a). */
  #close(range: Range): void {
    const held = range.held
    const windowed = range.window !== null
    const seen = windowed ? range.remembered : new Map<bigint, TxnRef>()
    this.heldBytes -= range.heldBytes
    range.held = []
    range.heldBytes = 0
    range.handed = null
    range.origin = null
    range.window = null
    range.remembered = new Map()
    range.state = 'finished'
    // No event is routed again here: a key that must be read becomes a range of its own after the last one.
    const reads = new Map<string, { first: Held; remembered: TxnRef[] }>()
    // How the last key of a window lies beside keys that are read again was never asked; their rows follow in any case.
    if (windowed && this.order.located && held.some((h) => this.#mustRead(h.change))) this.letGo(null)
    let pieces = this.#keep(range, seen)
    const kept = pieces.find(({ state }) => state === 'kept')
    const text = kept && keyText(kept.single!)
    for (const h of held) {
      if (kept && keyText(heldKey(h)) === text) this.#part(kept, h.txn, h.schema, h.change, h.bytes)
      else this.#release(range, h, reads)
    }
    for (const { first, remembered } of reads.values()) {
      const key = keyOf(first.schema, first.change.after!)
      const holder = pieces.find((piece) => inRange(this.order, key, piece))
      assert(holder !== undefined, `held key ${keyText(key)} lies outside its range`)
      const parts = this.#readAgain(holder, first, remembered)
      pieces = pieces.flatMap((piece) => (piece === holder ? parts : [piece]))
    }
  }

  #release(range: Range, held: Held, reads: Map<string, { first: Held; remembered: TxnRef[] }>): void {
    const { txn, schema, change, bytes } = held
    if (!passes(range, txn)) return
    const key = keyText(heldKey(held))
    const read = reads.get(key)
    if (read !== undefined) read.remembered.push(txn)
    else if (this.#mustRead(change)) reads.set(key, { first: held, remembered: [txn] })
    else this.#leave(schema, txn, change, bytes)
  }

  /** Ends a read for good: held events are dropped and remembered, the next read takes a new snapshot (1.10 c). */
  giveUp(id: number): void {
    const range = this.range(id, 'open')
    if (range === null) return
    assert(!this.unsplittable, 'a keyless range cannot be given up once rows of it left')
    if (range.handed !== null && range.window === null) this.finish(id, range.handed)
    else this.#giveUp(range)
  }

  #giveUp(range: Range): void {
    const again = newRange(range.lo, range.hi, 'waiting')
    again.planned = range.planned
    again.single = range.single
    again.remembered = range.remembered
    for (const h of range.held) again.remembered.set(h.txn.ordinal, h.txn)
    this.heldBytes -= range.heldBytes
    this.#replace(range, [again])
  }

  /** Splits an open range after `at`; the first part keeps the id, both stay open. Returns the rest, null when empty. */
  #splitOpen(range: Range, at: Bound): Range | null {
    if (range.hi !== null && sameBound(this.order, range.hi, at)) return null
    const rest = newRange(at, range.hi, 'open')
    rest.remembered = new Map(range.remembered)
    const mine: Held[] = []
    for (const h of range.held) {
      if (aboveBound(this.order, heldKey(h), at)) {
        rest.held.push(h)
        rest.heldBytes += h.bytes
      } else mine.push(h)
    }
    range.held = mine
    range.heldBytes -= rest.heldBytes
    range.hi = at
    this.ranges.splice(this.ranges.indexOf(range) + 1, 0, rest)
    return rest
  }

  /**
   * 1.10 c: before a checkpoint, what was handed over of an open range becomes finished with its cut and its held
   * events leave. The rest goes on under the same id, cut and SELECT.
   */
  settle(): void {
    for (const range of [...this.ranges]) {
      if (range.state !== 'open' || range.handed === null || range.window !== null || range.cut === null) continue
      const at = range.handed
      const rest = this.#splitOpen(range, at)
      if (rest === null) {
        this.#close(range)
        continue
      }
      // The reader knows the range by its id, so the id goes with the rest.
      const done = { ...range, id: rest.id }
      Object.assign(rest, { id: range.id, cut: range.cut, origin: range.origin, handed: null, planned: range.planned })
      this.ranges[this.ranges.indexOf(range)] = done
      if (this.last?.range === range) this.last.range = done
      this.#close(done)
    }
  }

  // ---- the last row

  /** 1.10 l: rows leave. For marks all but the last do, which waits until others follow. */
  #send(range: Range, chunk: ChunkRows): void {
    const { marks } = this
    if (marks === null || rowCount(chunk) === 0) return this.#emit.rows(chunk, range.origin!)
    if (marks.state === 'over') return this.#emit.rows(chunk, range.origin!, marks.next())
    this.letGo(null)
    const { head, row, bytes } = splitLast(chunk)
    if (head !== null) this.#emit.rows(head, range.origin!, marks.next())
    this.last = new LastRow(range, { schema: chunk.schema, row, bytes, origin: range.origin! })
  }

  /** The row that is held back leaves as the last one, or (null) because others follow. */
  letGo(end: MarkEnd | null): void {
    const { last } = this
    if (last === null) return
    const { range, schema, row, bytes, origin, deleted } = last
    this.last = null
    if (range.state === 'kept') this.#unkeep(range)
    // Nobody saw the row, so nobody has to see its delete.
    if (end === null && deleted !== null) return
    this.#emit.rows({ schema, rows: [row], bytes }, origin, end === null ? this.marks!.next() : this.marks!.end(end))
    if (deleted !== null) this.#leave(deleted.schema, deleted.txn, deleted.change, deleted.bytes)
    if (end !== null) this.#join()
  }

  #unkeep(range: Range): void {
    range.state = 'finished'
    range.single = null
    range.remembered = new Map()
  }

  /**
   * 1.10 l: the range of the row that is held back is finished: the row's key becomes a range of its own. `seen`: transactions
   * that are in the row although no snapshot may show them yet (1.10 a). Without a key nothing tells which events are
   * the row's, so it leaves. Returns what the range became.
   */
  #keep(range: Range, seen: ReadonlyMap<bigint, TxnRef>): Range[] {
    const { last } = this
    if (last === null || last.range !== range) return [range]
    if (last.schema.key.length === 0) {
      this.letGo(this.marks!.endNow(this))
      return [range]
    }
    const key = keyOf(last.schema, last.row)
    const kept = newRange({ key, side: 'before' }, { key, side: 'after' }, 'kept')
    kept.cut = range.cut
    kept.single = key
    kept.planned = true
    kept.remembered = new Map(seen)
    last.range = kept
    // Bounds are told apart by their text: one that only sorts alike leaves an empty range behind, which is harmless.
    const alike = (a: Bound | null, b: Bound) => a?.side === b.side && keyText(a.key) === keyText(b.key)
    const parts: Range[] = []
    if (!alike(range.lo, kept.lo!)) parts.push(piece(range, range.lo, kept.lo))
    parts.push(kept)
    if (!alike(range.hi, kept.hi!)) parts.push(piece(range, kept.hi, range.hi))
    this.#replace(range, parts)
    return parts
  }

  /** The row that is held back takes in what happened to it. What the checkpoint says of its key must know of it. */
  #absorb(range: Range, event: Held): void {
    range.remembered.set(event.txn.ordinal, event.txn)
    if (this.last!.fold(event)) return
    this.last = null
    range.state = 'waiting'
    range.cut = null
  }

  /** A keyless range cannot be split, so no checkpoint may fall inside its rows. */
  get unsplittable(): boolean {
    return this.table.schema.key.length === 0 && this.ranges[0]!.state === 'open' && this.ranges[0]!.handed !== null
  }

  // ---- upkeep

  /** The log has delivered everything up to `ordinal`: passed cuts cover nothing any more and ranges join. True: something changed. */
  passed(ordinal: bigint): boolean {
    let changed = false
    for (const range of this.ranges) {
      if (range.window) changed = this.#closeWindow(range, ordinal) || changed
      else if (range.state !== 'open' && range.cut !== null && range.cut.resolvedAfter <= ordinal) {
        range.cut = null
        changed = true
      }
    }
    this.#join()
    return changed
  }

  /** I5: a window closes only when the log has reached its high mark. */
  #closeWindow(range: Range, ordinal: bigint): boolean {
    const window = range.window!
    if (window.high === null || window.high.resolvedAfter > ordinal) return false
    for (const rows of window.rows()) this.#send(range, rows)
    range.cut = null
    this.#close(range)
    return true
  }

  /** A snapshot taken now shows these: waiting ranges need not remember them. Never open ones (1.9). */
  prune(visible: Cut): void {
    for (const range of this.ranges) {
      if (range.state !== 'waiting' && range.state !== 'kept') continue
      for (const [ordinal, txn] of range.remembered) if (visible.covers(txn)) range.remembered.delete(ordinal)
    }
  }

  /** Every key that an event's key may be compared with. */
  bounds(): Key[] {
    const out: Key[] = []
    // It becomes a range of its own when that of its chunk is finished.
    if (this.last !== null) out.push(keyOf(this.last.schema, this.last.row))
    for (const { lo, held } of this.ranges) {
      if (lo !== null) out.push(lo.key)
      // These may become one-row ranges when their chunk closes.
      for (const { schema, change } of held) if (this.#mustRead(change)) out.push(keyOf(schema, change.after!))
    }
    return out
  }

  /** The keys held by an open range. */
  heldKeys(id: number): Key[] {
    const range = this.range(id, 'open')
    return range === null ? [] : range.held.map(heldKey)
  }

  /** Every key that may be compared without another question to the server. */
  *locatedKeys(): Generator<Key> {
    yield* this.bounds()
    for (const { hi, held } of this.ranges) {
      if (hi !== null) yield hi.key
      for (const h of held) yield heldKey(h)
    }
  }

  /**
   * For located orders: every key that these changes make the merge look at, and those among them that may become
   * bounds while the changes are taken in.
   */
  keysOf(schema: TableSchema, changes: readonly Change[]): { keys: Key[]; bounds: Key[] } {
    const keys: Key[] = []
    const bounds: Key[] = []
    for (const raw of changes) {
      const { before, after } = completeKey(schema, raw)
      if (before !== null) keys.push(keyOf(schema, before))
      if (after === null) continue
      const key = keyOf(schema, after)
      keys.push(key)
      if (!complete(after)) bounds.push(key)
    }
    return { keys, bounds }
  }

  #replace(range: Range, parts: Range[]): void {
    const i = this.ranges.indexOf(range)
    assert(i >= 0, 'a range to replace is not in its table')
    this.ranges.splice(i, 1, ...parts)
  }

  #join(): void {
    if (this.ranges.length === 1) return
    const joined: Range[] = []
    for (const range of this.ranges) {
      const last = joined.at(-1)
      if (last?.state === 'finished' && range.state === 'finished' && last.cut === range.cut) last.hi = range.hi
      else joined.push(range)
    }
    this.ranges = joined
    if (this.order instanceof LocatedOrder && this.pure) this.order.retain([])
  }
}
