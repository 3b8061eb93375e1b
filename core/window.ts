/**
 * The rows of a chunk whose source cannot name an exact cut: collected by key until the log has reached the high
 * mark, then the events between are folded in as log order says (1.10 a). Under an exact cut nothing is ever folded.
 */
import type { Cut } from './cut.js'
import { type Change, keyOf, keyText, type Row, type TableSchema } from './model.js'

/** Rows leave in pieces of about so many bytes. */
const PIECE_BYTES = 64 * 1024

export class Window {
  /** The high mark, known after the last row was read. */
  high: Cut | null = null
  /** Estimated memory of the rows, never less than they take: what a fold replaced still counts. */
  bytes = 0
  #rows = new Map<string, { schema: TableSchema; row: Row }>()

  add(schema: TableSchema, rows: readonly Row[], bytes: number): void {
    this.bytes += bytes
    for (const row of rows) this.#rows.set(keyText(keyOf(schema, row)), { schema, row })
  }

  fold(events: readonly { readonly schema: TableSchema; readonly change: Change; readonly bytes: number }[]): void {
    for (const { schema, change, bytes } of events) {
      this.bytes += bytes
      if (change.op === 'd') this.#rows.delete(keyText(keyOf(schema, change.before!)))
      else {
        const key = keyText(keyOf(schema, change.after!))
        const old = this.#rows.get(key)?.row
        this.#rows.set(key, { schema, row: change.after!.map((v, i) => (v === undefined ? old?.[i] : v)) })
      }
    }
  }

  /** Neighbours of one schema together, a piece at a time. */
  *rows(): Generator<{ readonly schema: TableSchema; readonly rows: readonly Row[]; readonly bytes: number }> {
    const each = this.bytes / Math.max(1, this.#rows.size)
    const most = Math.max(1, Math.ceil(PIECE_BYTES / Math.max(1, each)))
    let rows: Row[] = []
    let of: TableSchema | null = null
    for (const { schema, row } of this.#rows.values()) {
      if (of !== null && (of !== schema || rows.length >= most)) {
        yield { schema: of, rows, bytes: rows.length * each }
        rows = []
      }
      of = schema
      rows.push(row)
    }
    if (of !== null) yield { schema: of, rows, bytes: rows.length * each }
  }
}
