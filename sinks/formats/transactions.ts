/**
 * Counts the events of source transactions across batches and tables: Debezium's `transaction` block and the BEGIN and
 * END messages of its transaction topic, and Maxwell's `xoffset`.
 */
import type { TableId, TxnRef } from '../../core/model.js'

export interface TransactionPlace {
  /** Its number among all events of the transaction, from 1. */
  readonly total: number
  /** Its number among those of its table, from 1. */
  readonly ofTable: number
}

/** A transaction of which some events have been counted; plain JSON, kept in a checkpoint where a transaction spans several. */
export interface TransactionCounts {
  /** The commit's position in the log, as text. */
  readonly ordinal: string
  readonly total: number
  readonly tables: Readonly<Record<TableId, number>>
}

export class TransactionCounter {
  #ordinal: bigint | null = null
  #total = 0
  #tables = new Map<TableId, number>()

  /** Counts one event. */
  next({ ordinal }: TxnRef, table: TableId): TransactionPlace {
    if (ordinal !== this.#ordinal) this.#reset(ordinal)
    const ofTable = (this.#tables.get(table) ?? 0) + 1
    this.#tables.set(table, ofTable)
    return { total: ++this.#total, ofTable }
  }

  get counts(): TransactionCounts | null {
    if (this.#ordinal === null) return null
    return { ordinal: String(this.#ordinal), total: this.#total, tables: Object.fromEntries(this.#tables) }
  }

  /** Goes on where another run stopped inside a transaction. */
  restore({ ordinal, total, tables }: TransactionCounts): void {
    this.#reset(BigInt(ordinal))
    this.#total = total
    this.#tables = new Map(Object.entries(tables) as [TableId, number][])
  }

  #reset(ordinal: bigint): void {
    this.#ordinal = ordinal
    this.#total = 0
    this.#tables = new Map()
  }
}
