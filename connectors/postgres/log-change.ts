/** Messages of pgoutput inside XLogData, as changes. */
import { TidemarkError } from '../../core/errors.js'
import type { Change, Row, TableSchema } from '../../core/model.js'
import { MESSAGE, type TupleReader } from './pgoutput.js'

/** XLogData: kind, start, end, time. */
export const DATA_HEADER_BYTES = 25

/** Where the record lies in the log. */
export function placeOf(b: Buffer): number {
  return b.readUInt32BE(1) * 2 ** 32 + b.readUInt32BE(5)
}

/** The change of a row message. */
export function decodeChange(b: Buffer, schema: TableSchema, tuples: TupleReader): Change {
  const at = placeOf(b)
  const end = b.length
  tuples.offset = DATA_HEADER_BYTES + 6
  const kind = b[DATA_HEADER_BYTES]
  const tag = b[DATA_HEADER_BYTES + 5]
  if (kind === MESSAGE.insert) return { op: 'c', before: null, after: tuples.read(b, end), at }
  let before: Row | null = null
  if (tag === 0x4b || tag === 0x4f) {
    before = tuples.read(b, end)
    if (tag === 0x4b) before = keyOnly(schema, before)
    if (kind === MESSAGE.delete) return { op: 'd', before, after: null, at }
    tuples.offset++
  }
  const after = tuples.read(b, end)
  return { op: 'u', before, after: tag === 0x4f ? completed(after, before!) : after, at }
}

/** An old key arrives with NULL for every other column, which were not sent. A partition may send another key than its root's. */
function keyOnly(schema: TableSchema, row: Row): Row {
  return row.map((value, i) => {
    if (!schema.key.includes(i)) return undefined
    if (value !== null) return value
    throw new TidemarkError('postgres.identity_changed', {
      message: `a change of ${schema.id} carries an old key without ${schema.columns[i]!.name}: a partition has a REPLICA IDENTITY of its own`,
      fix: 'See `tidemark check FILE` for the partition. Rows that this change should have found are still in the target: run `tidemark drop FILE`, empty it and start anew.',
    })
  })
}

/** Under FULL the old row has what the new one leaves out. */
function completed(after: Row, before: Row): Row {
  for (let i = 0; i < after.length; i++) {
    if (after[i] === undefined) return after.map((value, j) => (value === undefined ? before[j] : value))
  }
  return after
}
