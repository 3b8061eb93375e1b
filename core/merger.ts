/**
 * Merges chunk rows and the log into one stream of batches: the product's heart, pure and synchronous. Every table
 * has its own TableMerge; here batches are routed to them, changes grouped into batches again, and the position,
 * the remembered transactions and the chunks' progress are put into a checkpoint that says exactly how far the
 * emitted batches got.
 */
import type { CheckpointState } from './checkpoint.js'
import { loadTable, saveTables } from './checkpoint.js'
import type { Cut } from './cut.js'
import { assert } from './errors.js'
import type { Bound } from './key.js'
import type { BatchMarks, Change, ChangeBatch, Origin, Position, TableId, TableSchema } from './model.js'
import { rowCount, snapshotBatch } from './packed-rows.js'
import { newRange } from './range.js'
import { complete, keyMoved } from './row-change.js'
import { SnapshotMarks, TableMarks } from './snapshot-marks.js'
import type { ChunkRows, LogBatch, LogItem, SourceTable } from './source.js'
import { type Emitter, TableMerge } from './table-merge.js'

export interface MergerOptions {
  readonly tables: readonly SourceTable[]
  /** Tables that were in no checkpoint before although others were (1.10 j). */
  readonly added: ReadonlySet<TableId>
  readonly state: CheckpointState | null
  /** Where the log is read from; with a state, the state's own position counts. */
  readonly position: Position
  /** False: existing rows are not read (`latest-offset`). */
  readonly snapshot: boolean
  /** True: no row can be read, so one that comes with unsent values leaves with them. */
  readonly streamOnly?: boolean
  readonly completesMoves: boolean
  readonly keepsMoves?: boolean
  /** Whether snapshot batches say which rows are the first and the last. */
  readonly marks?: boolean
  readonly emit: (batch: ChangeBatch) => void
}

/** A batch closes at this many changes so that no single one grows without bound. */
const BATCH_CHANGES_MAX = 4_096

export class Merger {
  readonly tables = new Map<TableId, TableMerge>()
  position: Position
  /** Everything that committed at or before it has been delivered. */
  ordinal = 0n
  midTransaction = false
  /** Estimated bytes that left since the last transaction boundary. */
  transactionBytes = 0
  readonly #emit: (batch: ChangeBatch) => void
  readonly #emitter: Emitter
  readonly #traits: Omit<ConstructorParameters<typeof TableMerge>[3], 'marks'>
  #group: { schema: TableSchema; origin: Origin; changes: Change[]; bytes: number } | null = null
  #unresolved = new Set<Cut>()
  readonly #marks: SnapshotMarks | null

  constructor(options: MergerOptions) {
    this.#emit = options.emit
    this.position = options.state?.position ?? options.position
    this.ordinal = BigInt(options.state?.ordinal ?? 0)
    this.#emitter = {
      change: (s, o, c, b) => this.#change(s, o, c, b),
      rows: (chunk, origin, marks) => this.#rows(chunk, origin, marks),
    }
    const { completesMoves, keepsMoves = false, streamOnly = false } = options
    this.#traits = { completesMoves, keepsMoves, streamOnly, readUnsent: !options.snapshot && !streamOnly }
    const all = options.marks ? new SnapshotMarks() : null
    this.#marks = all
    for (const table of options.tables) {
      const saved = options.state?.tables[table.schema.id]
      const marks = all && new TableMarks(all, options.snapshot ? 'none' : 'over')
      const merge = new TableMerge(table, [], this.#emitter, { ...this.#traits, marks })
      if (saved !== undefined) loadTable(merge, saved, options.state!)
      else merge.ranges = [newRange(null, null, options.snapshot ? 'waiting' : 'finished')]
      merge.added ||= options.added.has(table.schema.id)
      this.tables.set(table.schema.id, merge)
    }
    all?.begin([...this.tables.values()], options.state?.marks)
    for (const { ranges } of this.tables.values()) for (const { cut } of ranges) if (cut) this.#unresolved.add(cut)
  }

  table(id: TableId): TableMerge {
    const table = this.tables.get(id)
    assert(table, `table ${id} is not captured`)
    return table
  }

  /** A table that came up in a log without rows beside it. */
  meet(table: SourceTable): void {
    const marks = this.#marks && new TableMarks(this.#marks, 'over')
    const merge = new TableMerge(table, [newRange(null, null, 'finished')], this.#emitter, { ...this.#traits, marks })
    this.tables.set(table.schema.id, merge)
  }

  /** Cuts that the log has not passed yet. Chunk reading pauses when there are too many (1.10 i). */
  get unresolvedCuts(): number {
    return this.#unresolved.size
  }

  get heldBytes(): number {
    let bytes = 0
    for (const table of this.tables.values()) bytes += table.heldBytes
    return bytes
  }

  /** Rows of windows that the log has not reached the end of. */
  get windowBytes(): number {
    let bytes = 0
    for (const table of this.tables.values()) bytes += table.windowBytes
    return bytes
  }

  /** True when every row that existed has been read and no cut waits for the log any more. */
  get snapshotDone(): boolean {
    for (const table of this.tables.values()) if (!table.pure) return false
    return true
  }

  /** True when no chunk waits or is read; the log may still have to pass the last cuts. */
  get chunksFinished(): boolean {
    for (const table of this.tables.values()) if (table.ranges.some((r) => r.state !== 'finished')) return false
    return true
  }

  // ---- inputs

  /** True when a checkpoint taken now would say more than the position. */
  log(batch: LogBatch): boolean {
    for (const item of batch.items) {
      if (item.kind === 'rows') this.#logRows(item)
      else this.#truncate(item)
    }
    this.#flush()
    this.position = batch.position
    this.ordinal = batch.ordinal
    this.midTransaction = batch.midTransaction
    this.transactionBytes = batch.midTransaction ? this.transactionBytes + batch.bytes : 0
    return this.#passCuts() || batch.items.length > 0
  }

  /** Rows of an open range; see TableMerge.rows. */
  rows(id: TableId, range: number, chunk: ChunkRows, upTo: Bound | null): boolean {
    const kept = this.table(id).rows(range, chunk, upTo)
    this.#flush()
    return kept
  }

  finish(id: TableId, range: number, upTo: Bound | null, high: Cut | null = null): void {
    const table = this.table(id)
    const cut = table.range(range, 'open')?.cut
    table.finish(range, upTo, high)
    this.#flush()
    if (cut) this.#track(cut)
    this.#passCuts()
  }

  giveUp(id: TableId, range: number): void {
    const table = this.table(id)
    const cut = table.range(range, 'open')?.cut
    table.giveUp(range)
    this.#flush()
    if (cut) this.#track(cut)
  }

  /** Prunes what waiting ranges remember, by a snapshot taken after those events were delivered (1.9). */
  prune(visible: Cut): void {
    for (const table of this.tables.values()) table.prune(visible)
  }

  /** True when a checkpoint may be taken now: never inside the rows of a keyless table. */
  get divisible(): boolean {
    for (const table of this.tables.values()) if (table.unsplittable) return false
    return true
  }

  /**
   * Says exactly how far the batches emitted so far got (1.10 c). May emit held events of ranges whose rows left.
   * The caller delivers the state behind everything emitted before.
   */
  checkpoint(): Pick<CheckpointState, 'position' | 'ordinal' | 'cuts' | 'marks' | 'tables'> {
    assert(this.divisible, 'a checkpoint was taken inside the rows of a keyless table')
    for (const table of this.tables.values()) {
      table.settle()
      for (const { cut, state } of table.ranges) if (cut && state === 'finished') this.#track(cut)
    }
    this.#flush()
    const marks = this.#marks && { marks: this.#marks.state }
    return { position: this.position, ordinal: `${this.ordinal}`, ...marks, ...saveTables(this.tables.values()) }
  }

  // ---- log items

  #logRows(item: LogItem & { kind: 'rows' }): void {
    const table = this.tables.get(item.schema.id)
    if (table === undefined) return
    if (table.pure && !this.#hasMove(item)) {
      this.#flush()
      table.started = true
      const { schema, changes, bytes } = item
      this.#emit({ kind: 'rows', schema, origin: { kind: 'log', txn: item.txn }, changes, bytes })
      return
    }
    const each = item.bytes / item.changes.length
    for (const change of item.changes) table.change(item.txn, item.schema, change, each)
  }

  /** True when a change needs a look at its key or its unsent values. */
  #hasMove({ schema, changes }: LogItem & { kind: 'rows' }): boolean {
    if (schema.key.length === 0) return false
    for (const { op, before, after } of changes) {
      if (op !== 'u') continue
      if (before !== null && keyMoved(schema, before, after!)) return true
      if (this.table(schema.id).readsUnsent && !complete(after!)) return true
    }
    return false
  }

  /** Call before a batch with truncates: 1.10 l, what is held back was read before, so it leaves before them or not at all. */
  beforeTruncate(batch: LogBatch): void {
    for (const item of batch.items) {
      if (item.kind !== 'truncate') continue
      for (const { id } of item.schemas) {
        const table = this.tables.get(id)
        if (table?.last && table.complete) table.letGo('table')
      }
    }
    this.#flush()
  }

  /** 1.10 f: leaves once for the whole table, whatever its ranges do. */
  #truncate(item: LogItem & { kind: 'truncate' }): void {
    for (const schema of item.schemas) {
      const table = this.tables.get(schema.id)
      if (table === undefined) continue
      this.#flush()
      this.#emit({ kind: 'truncate', schema, origin: { kind: 'log', txn: item.txn }, at: item.at, bytes: 0 })
      table.truncate(item.txn)
    }
  }

  // ---- grouping

  #change(schema: TableSchema, origin: Origin, change: Change, bytes: number): void {
    const group = this.#group
    if (
      group === null ||
      group.schema !== schema ||
      !sameOrigin(group.origin, origin) ||
      group.changes.length >= BATCH_CHANGES_MAX
    ) {
      this.#flush()
      this.#group = { schema, origin, changes: [change], bytes }
      return
    }
    group.changes.push(change)
    group.bytes += bytes
  }

  #rows(chunk: ChunkRows, origin: Origin, marks: BatchMarks | undefined): void {
    this.#flush()
    if (rowCount(chunk) > 0) this.#emit(snapshotBatch(chunk, origin, marks))
  }

  #flush(): void {
    const group = this.#group
    if (group === null) return
    this.#group = null
    this.#emit({ kind: 'rows', ...group })
  }

  // ---- cuts

  #track(cut: Cut): void {
    if (cut.resolvedAfter > this.ordinal) this.#unresolved.add(cut)
  }

  #passCuts(): boolean {
    let changed = false
    for (const table of this.tables.values()) if (!table.pure && table.passed(this.ordinal)) changed = true
    if (this.#marks?.advance()) changed = true
    this.#flush()
    for (const cut of this.#unresolved) if (cut.resolvedAfter <= this.ordinal) this.#unresolved.delete(cut)
    return changed
  }
}

function sameOrigin(a: Origin, b: Origin): boolean {
  if (a.kind === 'log') return b.kind === 'log' && a.txn.ordinal === b.txn.ordinal
  return a === b
}
