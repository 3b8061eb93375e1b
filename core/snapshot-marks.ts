/**
 * Which rows of the initial snapshot are called its first and last, and the first and last of their table: by the order
 * in which rows leave, whatever chunks of whatever tables are read beside each other. A row can be called the last only
 * when no other can follow, so the last row read of each table is held back (last-row.ts). What was given is part of
 * the checkpoint, so that a restart gives nothing twice (1.10 l). docs/decisions/2026-11-28-snapshot-marks.md.
 */
import type { BatchMarks } from './model.js'
import type { TableMerge } from './table-merge.js'

/** none: nothing left yet; begun: the first row left; over: the last one did, or there was none. */
export type MarkState = 'none' | 'begun' | 'over'

/** What the last row of a table is. */
export type MarkEnd = 'table' | 'snapshot'

/** A row that is read again once its table's snapshot is over (1.10 g). */
const AFTERWARDS: BatchMarks = { others: 'incremental' }

export class SnapshotMarks {
  state: MarkState = 'none'
  /** Tables whose last row did not leave yet. */
  readonly #unfinished = new Set<TableMerge>()

  /** Takes all tables of a start, with what the checkpoint says; absent: it was written when nobody asked. */
  begin(tables: readonly TableMerge[], saved: MarkState | undefined): void {
    for (const table of tables) if (table.marks!.state !== 'over') this.#unfinished.add(table)
    const started = tables.some((table) => table.marks!.state !== 'none')
    this.state = saved ?? (started ? 'begun' : 'none')
    this.advance()
    if (this.#unfinished.size === 0) this.state = 'over'
  }

  /** Lets the last rows go of which it is known what they are the last of. True: rows left. */
  advance(): boolean {
    if (this.#unfinished.size === 0) return false
    let left = false
    for (const table of this.#unfinished) {
      if (!table.complete) continue
      // Another row that is held back follows this one in any case.
      if (table.last !== null && this.state !== 'over' && !this.#followed(table)) continue
      left = table.last !== null || left
      this.#end(table, 'table')
    }
    const [only] = this.#unfinished
    if (this.#unfinished.size === 1 && only!.complete) {
      left = true
      this.#end(only!, 'snapshot')
    }
    if (this.#unfinished.size === 0) this.state = 'over'
    return left
  }

  /** What the last row of a table without a key is: it cannot wait until more is known, as that of others can. */
  endNow(table: TableMerge): MarkEnd {
    this.#unfinished.delete(table)
    return this.state !== 'over' && this.#unfinished.size === 0 ? 'snapshot' : 'table'
  }

  #followed(table: TableMerge): boolean {
    for (const other of this.#unfinished) if (other !== table && other.last !== null && !other.keyless) return true
    return false
  }

  #end(table: TableMerge, end: MarkEnd): void {
    this.#unfinished.delete(table)
    table.letGo(end)
    table.marks!.state = 'over'
  }
}

/** The marks of one table. */
export class TableMarks {
  state: MarkState
  readonly #all: SnapshotMarks

  constructor(all: SnapshotMarks, state: MarkState) {
    this.#all = all
    this.state = state
  }

  /** Of rows that others of the table follow. */
  next(): BatchMarks | undefined {
    if (this.state === 'over') return AFTERWARDS
    const first = this.#all.state === 'none' ? 'first' : this.state === 'none' ? 'first_in_data_collection' : undefined
    this.state = 'begun'
    if (this.#all.state === 'none') this.#all.state = 'begun'
    return first && { first }
  }

  /** Where the table has no key and its last row cannot wait. */
  endNow(table: TableMerge): MarkEnd {
    return this.#all.endNow(table)
  }

  /** Of the last row, alone in its batch. Where it is the first too, Debezium's order of precedence decides. */
  end(end: MarkEnd): BatchMarks {
    const first = this.#all.state === 'none'
    this.state = 'over'
    this.#all.state = end === 'snapshot' ? 'over' : first ? 'begun' : this.#all.state
    return { last: end === 'snapshot' ? 'last' : first ? 'first' : 'last_in_data_collection' }
  }
}
