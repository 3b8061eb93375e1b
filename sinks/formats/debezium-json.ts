/**
 * Debezium's change event envelope for one table. Everything that is the same for a whole batch is put together once
 * in begin(); what changes from line to line is the row and the place in the log.
 */
import type { Change, Column, Origin, TableSchema } from '../../core/model.js'
import type { ByteWriter } from './byte-writer.js'
import { putUnsigned } from './calendar-bytes.js'
import { mysqlCodec } from './debezium-mysql.js'
import { plainCodec } from './debezium-plain.js'
import { postgresCodec, unavailableJson, valueJson } from './debezium-postgres.js'
import type { LineEncoder } from './format.js'
import { compileRow, type Field, type RowWriter, type ValueCodec } from './row-compiler.js'

export interface DebeziumOptions {
  readonly logicalName: string
  readonly version: string
  readonly connector?: string
}

const CONNECTORS = { postgres: 'postgresql', mysql: 'mysql', plain: 'custom' } as const
const CODECS = { postgres: postgresCodec, mysql: mysqlCodec, plain: plainCodec } as const
const US_PER_MS = 1000
/** Integers of fewer digits are exact in a double. */
const EXACT_DIGITS_MAX = 16

export function debeziumEncoder(schema: TableSchema, options: DebeziumOptions): LineEncoder {
  const codecs = schema.columns.map(({ type }) => CODECS[schema.dialect](type))
  const compile = (unsent: (column: Column, codec: ValueCodec) => string): RowWriter =>
    compileRow(fieldsOf(schema, codecs, unsent), { leadingComma: false, slack: EMPTY_AFTER.length })
  const present = compile(({ type }) => unavailableJson(type))
  // Under DEFAULT identity the old row has only its key: the rest is null, or the column's default where it has one.
  const old = compile(defaultJson)
  const source = sourceWriter(schema, options)

  return {
    begin: source.begin,
    gather(text, { before, after }) {
      const head = before === null ? text : old.gather(text, before)
      return after === null ? head : present.gather(head, after)
    },
    line(writer, { op, before, after, at }) {
      let p = writer.length
      if (before === null) {
        writer.reserve(p, NO_BEFORE.length)
        p = putBytes(writer.bytes, p, NO_BEFORE)
      } else {
        writer.reserve(p, BEFORE.length)
        p = old.write(writer, putBytes(writer.bytes, p, BEFORE), before)
        p = putBytes(writer.bytes, p, op === 'd' ? EMPTY_AFTER : AFTER)
      }
      if (op !== 'd') p = present.write(writer, p, after!)
      source.end(writer, p, op, at)
    },
    packed(writer, values, base, at) {
      const p = writer.length
      writer.reserve(p, NO_BEFORE.length)
      const end = present.packed(writer, putBytes(writer.bytes, p, NO_BEFORE), values, base)
      source.end(writer, end, 'r', at)
    },
    truncate(writer, at) {
      writer.reserve(writer.length, NO_ROWS.length)
      source.end(writer, putBytes(writer.bytes, writer.length, NO_ROWS), 't', at)
    },
  }
}

const NO_BEFORE = Buffer.from('{"before":null,"after":{')
const BEFORE = Buffer.from('{"before":{')
const AFTER = Buffer.from('},"after":{')
const EMPTY_AFTER = Buffer.from('},"after":null')
const NO_ROWS = Buffer.from('{"before":null,"after":null')

/** Short constants: a loop costs less than a call into the runtime. */
function putBytes(bytes: Buffer, at: number, constant: Buffer): number {
  const { length } = constant
  for (let i = 0; i < length; i++) bytes[at + i] = constant[i]!
  return at + length
}

interface SourceWriter {
  begin(origin: Origin, nowMs: number): void
  /** Closes the row if there is one and writes everything after it. Sets the writer's length. */
  end(writer: ByteWriter, at: number, op: Change['op'] | 't', place: number | bigint): void
}

/**
 * Everything after the rows is one constant, made when a batch or an operation begins; only the place in the log,
 * which stands in it twice, is written over from line to line while its number of digits stays the same.
 */
function sourceWriter(schema: TableSchema, options: DebeziumOptions): SourceWriter {
  const constant = sourceConstants(schema, options)
  let origin: Origin | null = null
  let now = 0
  let madeFor = ''
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
    const head = `${op === 'd' || op === 't' ? '' : '}'}${headOf(origin!, constant)}`
    const middle = middleOf(origin!, constant)
    const text = `${head}${digits}${middle}${digits}${tailOf(op, now)}`
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
    },
    end(writer, at, op, to) {
      if (op !== madeFor || (to !== place && (to < low || to >= high))) make(op, to)
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

function headOf(origin: Origin, { opening, database }: SourceConstants): string {
  const log = origin.kind === 'log'
  const tsUs = log ? origin.txn.tsUs : origin.tsUs
  const previous = log && origin.txn.previous !== 0n ? `\\"${origin.txn.previous}\\"` : 'null'
  return `,"source":${opening}"ts_ms":${floorMs(tsUs)},"snapshot":"${log ? 'false' : 'true'}",${database}"sequence":"[${previous},\\"`
}

function middleOf(origin: Origin, constants: SourceConstants): string {
  const tsUs = origin.kind === 'log' ? origin.txn.tsUs : origin.tsUs
  const xid = origin.kind === 'log' ? origin.txn.xid : origin.xid
  return `\\"]","ts_us":${tsUs},"ts_ns":${tsUs}000,${constants.schema}"txId":${xid ?? 'null'},"lsn":`
}

function tailOf(op: string, nowMs: number): string {
  const us = String(Math.floor(nowMs * US_PER_MS))
  return `,"xmin":null,"origin":null,"origin_lsn":null},"transaction":null,"op":"${op}","ts_ms":${Math.floor(nowMs)},"ts_us":${us},"ts_ns":${us}000}\n`
}

function floorMs(us: bigint): bigint {
  return us >= 0n ? us / 1000n : (us - 999n) / 1000n
}

function defaultJson({ defaultValue }: Column, codec: ValueCodec): string {
  try {
    return valueJson(codec, defaultValue)
  } catch {
    // A default is an expression, `0` for money, say: one without a value's form is none, and no reason to stop.
    return 'null'
  }
}

function fieldsOf(
  schema: TableSchema,
  codecs: readonly (ValueCodec | null)[],
  unsent: (column: Column, codec: ValueCodec) => string,
): Field[] {
  const fields: Field[] = []
  schema.columns.forEach((column, index) => {
    const codec = codecs[index]
    if (!codec) return
    // A generated column that the log does not carry has no old value to stand for: it is left out, but not as the
    // first field, on whose place the commas depend.
    const absent = column.generated && fields.length > 0 ? null : unsent(column, codec)
    fields.push({ name: column.name, index, codec, unsent: absent })
  })
  return fields
}

function sourceConstants(schema: TableSchema, options: DebeziumOptions) {
  const text = JSON.stringify
  const connector = options.connector ?? CONNECTORS[schema.dialect]
  return {
    opening: `{"version":${text(options.version)},"connector":${text(connector)},"name":${text(options.logicalName)},`,
    database: `"db":${text(schema.database)},`,
    schema: `"schema":${text(schema.namespace)},"table":${text(schema.name)},`,
  }
}
