/** What happens to batches between the merger and the sink: routes and column rules, compiled per schema. */
import type { ChangeBatch, TableSchema } from './model.js'

export interface Transform {
  /** Called at every start with all captured tables, before anything is written. Throws when a rule cannot be meant. */
  start?(tables: readonly TableSchema[]): void
  /** The schema that the sink sees. The same object for the same fingerprint, and for all tables that go to one target. */
  apply(schema: TableSchema): TableSchema
  batch(batch: ChangeBatch): ChangeBatch
}

/** Leaves everything as it is. */
export const unchanged: Transform = { apply: (schema) => schema, batch: (batch) => batch }
