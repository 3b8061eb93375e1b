/** Row events as changes: images of all columns, or of some where the session's binlog_row_image says so (rule h). */
import { binlogAt } from '../../core/binlog-place.js'
import { TidemarkError } from '../../core/errors.js'
import type { Change, Row, Value } from '../../core/model.js'
import { EVENT, HEADER_BYTES, packedInteger } from './binlog-events.js'
import type { DecodePlan } from './decode-plan.js'
import type { Cursor } from './row-values.js'

export type RowKind = 'insert' | 'update' | 'delete'

interface RowEventType {
  readonly kind: RowKind
  /** Has the extra header of version 2. */
  readonly extra: boolean
  /** MariaDB: the rows are compressed. */
  readonly compressed: boolean
}

const of = (kind: RowKind, extra: boolean, compressed = false): RowEventType => ({ kind, extra, compressed })

export const ROW_EVENTS: ReadonlyMap<number, RowEventType> = new Map([
  [EVENT.writeRowsV1, of('insert', false)],
  [EVENT.updateRowsV1, of('update', false)],
  [EVENT.deleteRowsV1, of('delete', false)],
  [EVENT.writeRows, of('insert', true)],
  [EVENT.updateRows, of('update', true)],
  [EVENT.deleteRows, of('delete', true)],
  [EVENT.mariadbWriteRowsCompressedV1, of('insert', false, true)],
  [EVENT.mariadbUpdateRowsCompressedV1, of('update', false, true)],
  [EVENT.mariadbDeleteRowsCompressedV1, of('delete', false, true)],
  [EVENT.mariadbWriteRowsCompressed, of('insert', true, true)],
  [EVENT.mariadbUpdateRowsCompressed, of('update', true, true)],
  [EVENT.mariadbDeleteRowsCompressed, of('delete', true, true)],
])

/** Which columns an image holds; null: all of them. */
type Present = readonly boolean[] | null

/**
 * The changes of an event. `at` is its place in the log. `body` begins behind the header of the event's kind, see rowsBody().
 */
export function readRows(b: Buffer, from: number, end: number, kind: RowKind, plan: DecodePlan, pos: number): Change[] {
  const { value: count, next } = packedInteger(b, from)
  if (count !== plan.decoders.length) {
    throw new TidemarkError('mysql.binlog_event', {
      message: `a row event of ${plan.schema.id} has ${count} columns, its table map ${plan.decoders.length}`,
      fix: 'The binlog is damaged, or the server has a bug. Check it with mysqlbinlog --verify-binlog-checksum.',
    })
  }
  const size = (count + 7) >> 3
  const first = presence(b, next, count)
  const second = kind === 'update' ? presence(b, next + size, count) : null
  const cursor: Cursor = { bytes: b, at: next + size * (kind === 'update' ? 2 : 1) }
  const changes: Change[] = []
  while (cursor.at < end) {
    const row = readImage(cursor, plan, first)
    const at = binlogAt(pos, changes.length)
    if (kind === 'insert')
      changes.push({ op: 'c', before: null, after: first === null ? row : defaulted(row, plan), at })
    else if (kind === 'delete') changes.push({ op: 'd', before: row, after: null, at })
    else {
      const after = readImage(cursor, plan, second)
      changes.push({ op: 'u', before: row, after: second === null ? after : completed(after, row), at })
    }
  }
  if (cursor.at !== end) throw misread(plan)
  return changes
}

/** Where the body of a row event begins, behind the table id, the flags and the extra header. */
export function rowsBody(b: Buffer, start: number, { extra }: RowEventType): number {
  const fixed = start + HEADER_BYTES + 8
  return extra ? fixed + b.readUInt16LE(fixed) : fixed
}

function presence(b: Buffer, at: number, count: number): Present {
  let all = true
  const present: boolean[] = []
  for (let i = 0; i < count; i++) {
    const has = (b[at + (i >> 3)]! & (1 << (i & 7))) !== 0
    present.push(has)
    all &&= has
  }
  return all ? null : present
}

function readImage(cursor: Cursor, { decoders }: DecodePlan, present: Present): Value[] {
  const { bytes } = cursor
  const count = decoders.length
  const row: Value[] = new Array(count)
  const nulls = cursor.at
  if (present === null) {
    cursor.at = nulls + ((count + 7) >> 3)
    for (let i = 0; i < count; i++) {
      row[i] = (bytes[nulls + (i >> 3)]! & (1 << (i & 7))) !== 0 ? null : decoders[i]!(cursor)
    }
    return row
  }
  let held = 0
  for (const has of present) if (has) held++
  cursor.at = nulls + ((held + 7) >> 3)
  for (let i = 0, bit = 0; i < count; i++) {
    if (!present[i]) {
      row[i] = undefined
      continue
    }
    row[i] = (bytes[nulls + (bit >> 3)]! & (1 << (bit & 7))) !== 0 ? null : decoders[i]!(cursor)
    bit++
  }
  return row
}

/** An insert leaves out columns that took constant defaults: absent is neither NULL nor unchanged. */
function defaulted(row: Row, { absent, schema }: DecodePlan): Row {
  return row.map((value, i) => {
    if (value !== undefined || absent[i] !== undefined) return value === undefined ? absent[i] : value
    throw new TidemarkError('mysql.binlog_event', {
      message: `an insert into ${schema.id} lacks column ${schema.columns[i]!.name}, whose default is not the same for every row`,
      fix: 'SET GLOBAL binlog_row_image = FULL; and make sure that no session sets another.',
    })
  })
}

/** What an update left out did not change, so the old image has it if it has everything. */
function completed(after: Row, before: Row): Row {
  return after.map((value, i) => (value === undefined ? before[i] : value))
}

function misread({ schema }: DecodePlan): TidemarkError {
  return new TidemarkError('mysql.binlog_event', {
    message: `a row event of ${schema.id} does not end where its values do`,
    fix: 'Please report this with the version of the server and the CREATE TABLE.',
  })
}
