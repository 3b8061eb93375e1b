/** What follows the rows in Debezium's envelope: `source`, `transaction`, the operation and the times. */
import type { Change, Origin, SnapshotMark, TableSchema } from '../../core/model.js'
import type { ByteWriter } from './byte-writer.js'
import { floorMs } from './calendar.js'
import { putUnsigned } from './calendar-bytes.js'

export interface SourceOptions {
  readonly logicalName: string
  readonly version: string
  readonly connector?: string
  /** What stands behind each event; a newline by default. */
  readonly closing?: string
  /** JSON of the next event's `transaction`; null by default. */
  readonly transaction?: (origin: Origin, place: number | bigint) => string
}

const CONNECTORS = { postgres: 'postgresql', mysql: 'mysql', plain: 'custom' } as const
const US_PER_MS = 1000
/** Integers of fewer digits are exact in a double. */
const EXACT_DIGITS_MAX = 16
const LOOPED_BYTES_MAX = 64
const NO_TRANSACTION = (): string => 'null'

/** Short constants: a loop costs less than a call into the runtime. */
export function putBytes(bytes: Buffer, at: number, constant: Buffer): number {
  const { length } = constant
  if (length > LOOPED_BYTES_MAX) {
    bytes.set(constant, at)
    return at + length
  }
  for (let i = 0; i < length; i++) bytes[at + i] = constant[i]!
  return at + length
}

export interface SourceWriter {
  begin(origin: Origin, nowMs: number): void
  /** What `snapshot` says of the next rows of a snapshot. */
  mark(snapshot: SnapshotMark): void
  /** Closes the row if there is one and writes everything after it. Sets the writer's length. */
  end(writer: ByteWriter, at: number, op: Change['op'] | 't', place: number | bigint): void
}

/**
 * Everything after the rows is one constant, made when a batch or an operation begins; only the place in the log,
 * which stands in it twice, is written over from line to line while its number of digits stays the same.
 */
export function sourceWriter(schema: TableSchema, options: SourceOptions): SourceWriter {
  const constant = sourceConstants(schema, options)
  const { closing = '\n', transaction = NO_TRANSACTION } = options
  const counted = options.transaction !== undefined
  let origin: Origin | null = null
  let now = 0
  let madeFor = ''
  let snapshot: SnapshotMark = 'true'
  let place: number | bigint = -1
  /** Places from `low` up to but without `high` can be written over: they have as many digits. */
  let low = 0
  let high = 0
  let room = Buffer.alloc(0)
  let ending = room
  let first = 0
  let second = 0

  const make = (op: Change['op'] | 't', at: number | bigint): void => {
    place = at
    const digits = String(at)
    const head = `${op === 'd' || op === 't' ? '' : '}'}${headOf(origin!, constant, snapshot)}`
    const middle = middleOf(origin!, constant)
    const text = `${head}${digits}${middle}${digits}${tailOf(op, now, transaction(origin!, at))}${closing}`
    const needed = Buffer.byteLength(text)
    if (needed > room.length) room = Buffer.allocUnsafeSlow(needed * 2)
    ending = room.subarray(0, room.write(text, 0, 'utf8'))
    first = Buffer.byteLength(head)
    second = first + digits.length + Buffer.byteLength(middle)
    const exact = at >= 0 && digits.length < EXACT_DIGITS_MAX
    low = exact ? 10 ** (digits.length - 1) : 1
    high = exact ? 10 ** digits.length : 0
    madeFor = op
  }

  return {
    begin(from, nowMs) {
      origin = from
      now = nowMs
      madeFor = ''
      snapshot = 'true'
    },
    mark(next) {
      snapshot = next
      madeFor = ''
    },
    end(writer, at, op, to) {
      if (counted || op !== madeFor || (to !== place && (to < low || to >= high))) make(op, to)
      writer.reserve(at, ending.length)
      const { bytes } = writer
      bytes.set(ending, at)
      if (to !== place) {
        const from = at + first
        const digits = putUnsigned(bytes, from, Number(to)) - from
        for (let i = 0; i < digits; i++) bytes[at + second + i] = bytes[from + i]!
      }
      writer.length = at + ending.length
    },
  }
}

type SourceConstants = ReturnType<typeof sourceConstants>

function headOf(origin: Origin, { opening, database }: SourceConstants, snapshot: SnapshotMark): string {
  const log = origin.kind === 'log'
  const tsUs = log ? origin.txn.tsUs : origin.tsUs
  const previous = log && origin.txn.previous !== 0n ? `\\"${origin.txn.previous}\\"` : 'null'
  return `,"source":${opening}"ts_ms":${floorMs(tsUs)},"snapshot":"${log ? 'false' : snapshot}",${database}"sequence":"[${previous},\\"`
}

function middleOf(origin: Origin, constants: SourceConstants): string {
  const tsUs = origin.kind === 'log' ? origin.txn.tsUs : origin.tsUs
  const xid = origin.kind === 'log' ? origin.txn.xid : origin.xid
  return `\\"]","ts_us":${tsUs},"ts_ns":${tsUs}000,${constants.schema}"txId":${xid ?? 'null'},"lsn":`
}

function tailOf(op: string, nowMs: number, transaction: string): string {
  return `,"xmin":null,"origin":null,"origin_lsn":null},"transaction":${transaction},"op":"${op}",${timesJson(nowMs)}}`
}

/** When the event was written. */
export function timesJson(nowMs: number): string {
  const us = String(Math.floor(nowMs * US_PER_MS))
  return `"ts_ms":${Math.floor(nowMs)},"ts_us":${us},"ts_ns":${us}000`
}

function sourceConstants(schema: TableSchema, options: SourceOptions) {
  const text = JSON.stringify
  const connector = connectorName(schema, options.connector)
  return {
    opening: `{"version":${text(options.version)},"connector":${text(connector)},"name":${text(options.logicalName)},`,
    database: `"db":${text(schema.database)},`,
    schema: `"schema":${text(schema.namespace)},"table":${text(schema.name)},`,
  }
}

/** The commit before this transaction and the event's place, as the JSON text that `sequence` holds. */
export function sequenceOf(origin: Origin, at: number | bigint): string {
  const previous = origin.kind === 'log' && origin.txn.previous !== 0n ? `"${origin.txn.previous}"` : 'null'
  return `[${previous},"${at}"]`
}

export function connectorName({ dialect }: TableSchema, given: string | undefined): string {
  return given ?? CONNECTORS[dialect]
}
