/**
 * Snapshot rows that are still the bytes their source sent. Most sinks only copy values into a format of their own, and
 * making a string of every value first costs more than everything else that happens to a row.
 */
import type { Change, ChangeBatch, Origin, Row, TableSchema } from './model.js'
import type { ChunkRows } from './source.js'

export interface PackedRows {
  readonly count: number
  /** The rows as values, made anew by each call. */
  rows(): readonly Row[]
  last(): Row
  /** The same values as bytes. They live until the next call on any packed rows of the process. */
  values(): PackedValues
}

/** Values in the dialect's text form, UTF-8. */
export interface PackedValues {
  readonly bytes: Buffer
  /** Of the same bytes and at least PACKED_SLACK_BYTES behind the last value, so that copies may overshoot. */
  readonly view: DataView
  /** Two numbers for each value, row by row in column order: where it begins, and its length in bytes or NULL_LENGTH. */
  readonly places: Int32Array
}

export const PACKED_SLACK_BYTES = 4
export const NULL_LENGTH = -1

/** Rows of a chunk that are values only when somebody reads them as such. */
export function packedChunk(schema: TableSchema, packed: PackedRows, bytes: number): ChunkRows {
  let made: readonly Row[] | null = null
  return {
    schema,
    bytes,
    packed,
    get rows() {
      made ??= packed.rows()
      return made
    },
  }
}

export function rowCount(chunk: ChunkRows): number {
  return chunk.packed === undefined ? chunk.rows.length : chunk.packed.count
}

/** Rows of a chunk as what sinks receive. */
export function snapshotBatch(chunk: ChunkRows, origin: Origin): ChangeBatch {
  const { schema, bytes, packed } = chunk
  const at = origin.kind === 'snapshot' ? Number(origin.at) : 0
  const read = (): Change[] => chunk.rows.map((after) => ({ op: 'r', before: null, after, at }))
  if (packed === undefined) return { kind: 'rows', schema, origin, changes: read(), bytes }
  return packedBatch({ schema, origin, bytes, packed }, read)
}

/** The same batch under another name: a schema that only calls its table or columns differently. */
export function renamedBatch(batch: ChangeBatch, schema: TableSchema): ChangeBatch {
  if (batch.kind === 'truncate' || batch.packed === undefined) return { ...batch, schema }
  const { origin, bytes, packed } = batch
  return packedBatch({ schema, origin, bytes, packed }, () => batch.changes)
}

export function changeCount(batch: ChangeBatch): number {
  if (batch.kind === 'truncate') return 1
  return batch.packed === undefined ? batch.changes.length : batch.packed.count
}

function packedBatch(
  { schema, origin, bytes, packed }: Pick<ChangeBatch, 'schema' | 'origin' | 'bytes'> & { packed: PackedRows },
  read: () => readonly Change[],
): ChangeBatch {
  let made: readonly Change[] | null = null
  return {
    kind: 'rows',
    schema,
    origin,
    bytes,
    packed,
    get changes() {
      made ??= read()
      return made
    },
  }
}
