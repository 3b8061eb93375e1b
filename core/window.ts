/**
 * The rows of a chunk whose source cannot name an exact cut: collected by key until the log has reached the high
 * mark, then the events between are folded in as log order says (1.10 a). Under an exact cut nothing is ever folded.
 */
import type { Cut } from './cut.js'
import { type Change, keyOf, keyText, type Row, type TableSchema } from './model.js'

export class Window {
  /** The high mark, known after the last row was read. */
  high: Cut | null = null
  #rows = new Map<string, { schema: TableSchema; row: Row }>()

  add(schema: TableSchema, rows: readonly Row[]): void {
    for (const row of rows) this.#rows.set(keyText(keyOf(schema, row)), { schema, row })
  }

  fold(events: readonly { readonly schema: TableSchema; readonly change: Change }[]): void {
    for (const { schema, change } of events) {
      if (change.op === 'd') this.#rows.delete(keyText(keyOf(schema, change.before!)))
      else {
        const key = keyText(keyOf(schema, change.after!))
        const old = this.#rows.get(key)?.row
        this.#rows.set(key, { schema, row: change.after!.map((v, i) => (v === undefined ? old?.[i] : v)) })
      }
    }
  }

  rows() {
    const bySchema = new Map<TableSchema, Row[]>()
    for (const { schema, row } of this.#rows.values()) {
      const rows = bySchema.get(schema)
      if (rows) rows.push(row)
      else bySchema.set(schema, [row])
    }
    return [...bySchema].map(([schema, rows]) => ({ schema, rows, bytes: 0 }))
  }
}
