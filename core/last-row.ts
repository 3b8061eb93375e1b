/**
 * 1.10 l: the row of a table that was read last, held back until another one follows or the table is complete. It is not
 * passed by what the log brings for its key (I3): an update or a new insert becomes the row, and a delete waits behind it. So it
 * costs one row and one delete, however long it waits, and the log never waits for it (I8). Nothing of it was emitted,
 * so a checkpoint says that its key waits to be read, with the transactions that are in the row by now.
 */
import type { Origin, Row, TableSchema, Value } from './model.js'
import type { Held, Range } from './range.js'
import { complete } from './row-change.js'

export class LastRow {
  schema: TableSchema
  row: Row
  readonly bytes: number
  readonly origin: Origin
  /** The one that the row was read with; a one-row range of its own (`kept`) once that is finished. */
  range: Range
  /** The row's delete, which leaves behind it. */
  deleted: Held | null = null

  constructor(range: Range, from: { schema: TableSchema; row: Row; bytes: number; origin: Origin }) {
    this.range = range
    this.schema = from.schema
    this.row = from.row
    this.bytes = from.bytes
    this.origin = from.origin
  }

  /** Takes in what happened to the row. False: the row cannot be made from it, so it has to be read again. */
  fold(event: Held): boolean {
    const { schema, change } = event
    if (change.op === 'd') {
      this.deleted = event
      return true
    }
    let after = change.after!
    if (!complete(after)) {
      if (change.op !== 'u' || this.deleted !== null) return false
      after = after.map((value, i) => (value === undefined ? this.#unsent(schema, i) : value))
      if (!complete(after)) return false
    }
    this.row = after
    this.schema = schema
    this.deleted = null
    return true
  }

  /** What an update left out, which the row has unless the column became another one; undefined: it did. */
  #unsent({ columns }: TableSchema, i: number): Value {
    const { name, type } = columns[i]!
    const at = this.schema.columns.findIndex((column) => column.name === name)
    return this.schema.columns[at]?.type.native === type.native ? this.row[at] : undefined
  }
}
