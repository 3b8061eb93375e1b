/** What happens to batches between the merger and the sink: routes and column rules, compiled per schema. */
import type { ChangeBatch, TableSchema } from './model.js'

export interface Transform {
  /** The schema that the sink sees. The same object for the same fingerprint. */
  apply(schema: TableSchema): TableSchema
  batch(batch: ChangeBatch): ChangeBatch
}

/** Leaves everything as it is. */
export const unchanged: Transform = { apply: (schema) => schema, batch: (batch) => batch }
