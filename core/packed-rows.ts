/**
 * Snapshot rows that are still the bytes their source sent. Most sinks only copy values into a format of their own, and
 * making a string of every value first costs more than everything else that happens to a row.
 */
import type { BatchMarks, Change, ChangeBatch, Origin, Row, TableSchema } from './model.js'
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
export function snapshotBatch(chunk: ChunkRows, origin: Origin, marks?: BatchMarks): ChangeBatch {
  const { schema, bytes, packed } = chunk
  const at = origin.kind === 'snapshot' ? Number(origin.at) : 0
  const read = (): Change[] => chunk.rows.map((after) => ({ op: 'r', before: null, after, at }))
  const marked = marks && { marks }
  if (packed === undefined) return { kind: 'rows', schema, origin, changes: read(), bytes, ...marked }
  return packedBatch({ schema, origin, bytes, packed, ...marked }, read)
}

/** The same batch under another name: a schema that only calls its table or columns differently. */
export function renamedBatch(batch: ChangeBatch, schema: TableSchema): ChangeBatch {
  if (batch.kind === 'truncate' || batch.packed === undefined) return { ...batch, schema }
  const { origin, bytes, packed, marks } = batch
  return packedBatch({ schema, origin, bytes, packed, ...(marks && { marks }) }, () => batch.changes)
}

export function changeCount(batch: ChangeBatch): number {
  if (batch.kind === 'truncate') return 1
  return batch.packed === undefined ? batch.changes.length : batch.packed.count
}

/** All rows of a chunk but the last, null when that is the only one, and the last as values. */
export function splitLast(chunk: ChunkRows): { head: ChunkRows | null; row: Row; bytes: number } {
  const { schema, packed } = chunk
  const count = rowCount(chunk)
  const bytes = chunk.bytes / count
  if (packed === undefined) {
    const row = chunk.rows[count - 1]!
    const rows = count === 1 ? null : chunk.rows.slice(0, -1)
    return { head: rows && { schema, rows, bytes: chunk.bytes - bytes }, row, bytes }
  }
  const head = count === 1 ? null : packedChunk(schema, withoutLast(packed), chunk.bytes - bytes)
  return { head, row: packed.last(), bytes }
}

/** The bytes stay as they are: whoever writes them goes by the count. */
function withoutLast(packed: PackedRows): PackedRows {
  const rows = (): readonly Row[] => packed.rows().slice(0, -1)
  return { count: packed.count - 1, rows, last: () => rows().at(-1)!, values: () => packed.values() }
}

type PackedParts = Pick<RowsBatch, 'schema' | 'origin' | 'bytes' | 'marks'> & { packed: PackedRows }
type RowsBatch = Extract<ChangeBatch, { kind: 'rows' }>

function packedBatch(
  { schema, origin, bytes, packed, marks }: PackedParts,
  read: () => readonly Change[],
): ChangeBatch {
  let made: readonly Change[] | null = null
  return {
    kind: 'rows',
    schema,
    origin,
    bytes,
    packed,
    ...(marks && { marks }),
    get changes() {
      made ??= read()
      return made
    },
  }
}
