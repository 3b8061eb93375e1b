/**
 * Which definition of each table was announced last. It is stored with the checkpoint, so that a restart announces nothing
 * twice. Rows of a snapshot may be read under a newer definition than the log has come to, so what the log is at is kept
 * beside it: otherwise the two would announce each other's definition in turn.
 */
import type { ChangeBatch, TableId, TableSchema } from '../../core/model.js'
import type { SchemaChange } from '../formats/schema-change.js'

/** Fingerprints. */
export interface Announced {
  readonly last: string
  /** Of the log's last rows; null: there were none. */
  readonly log: string | null
}

export class Definitions {
  readonly #tables: Map<TableId, Announced>
  readonly #changed = new Set<TableId>()

  constructor(saved: ReadonlyMap<TableId, Announced>) {
    this.#tables = new Map(saved)
  }

  /** A captured table at the start; null: it is known, and what changed shows with its rows. */
  found(schema: TableSchema): SchemaChange | null {
    return this.#tables.has(schema.id) ? null : this.#announce(schema, null, null)
  }

  /** What goes out before the batch; null: nothing. */
  before({ schema, origin }: ChangeBatch): SchemaChange | null {
    const known = this.#tables.get(schema.id)
    const { fingerprint } = schema
    const log = origin.kind === 'log'
    if (known !== undefined) {
      if (fingerprint === known.log || (!log && fingerprint === known.last)) return null
      if (fingerprint === known.last) {
        this.#set(schema.id, { last: fingerprint, log: fingerprint })
        return null
      }
    }
    return this.#announce(schema, log ? fingerprint : (known?.log ?? null), origin)
  }

  /** What changed since the last call, for the checkpoint. */
  takeChanged(): [TableId, Announced][] {
    const changed = [...this.#changed].map((id): [TableId, Announced] => [id, this.#tables.get(id)!])
    this.#changed.clear()
    return changed
  }

  #announce(schema: TableSchema, log: string | null, origin: SchemaChange['origin']): SchemaChange {
    const type = this.#tables.has(schema.id) ? 'ALTER' : 'CREATE'
    this.#set(schema.id, { last: schema.fingerprint, log })
    return { type, schema, origin }
  }

  #set(id: TableId, announced: Announced): void {
    this.#tables.set(id, announced)
    this.#changed.add(id)
  }
}
