/** Rows as Avro records: a writer for each column, made once for each version of a table. */
import { TidemarkError } from '../../core/errors.js'
import type { Row, TableSchema, Value } from '../../core/model.js'
import { NULL_LENGTH, type PackedValues } from '../../core/packed-rows.js'
import { putBranch, putByte, putDigits, putDouble, putJson, putLong } from './avro-bytes.js'
import { putUnscaled, unscaledDigits } from './avro-decimal.js'
import { type ByteWriter, copyAscii, OVERSHOOT_BYTES } from './byte-writer.js'
import { type ConnectField, type ConnectSchema, DECIMAL } from './connect-schema.js'
import { PUT_BYTES_MAX, type ValueCodec } from './value-codec.js'

export interface AvroRow {
  write(writer: ByteWriter, row: Row): void
  packed(writer: ByteWriter, values: PackedValues, base: number): void
}

/** Writes a value that is there, from its text's bytes; at least OVERSHOOT_BYTES may be read behind them. */
type Put = (writer: ByteWriter, source: Buffer, view: DataView, from: number, length: number) => void

interface ColumnWriter {
  readonly index: number
  readonly schema: ConnectSchema
  readonly codec: ValueCodec
  readonly put: Put
  /** JSON of a value that was not sent; null: there is none. */
  readonly unsent: string | null
}

/** `unsent`: JSON for a column's value that was not sent, null where the type has none. */
export function avroRow(
  table: TableSchema,
  fields: readonly ConnectField[],
  codecs: readonly (ValueCodec | null)[],
  unsent: (field: ConnectField) => string | null,
): AvroRow {
  const columns = fields.map((field): ColumnWriter => {
    const codec = codecs[field.column!]!
    const put = putterOf(field.schema, codec)
    return { index: field.column!, schema: field.schema, codec, put, unsent: unsent(field) }
  })
  return {
    write(writer, row) {
      const isAscii = load(columns, row)
      let from = 0
      for (const column of columns) {
        const value = row[column.index]
        if (typeof value !== 'string') {
          writeOther(table, writer, column, value)
          continue
        }
        const length = isAscii ? value.length : Buffer.byteLength(value)
        column.put(writer, scratch, scratchView, from, length)
        from += length
      }
    },
    packed(writer, { bytes, view, places }, base) {
      for (const { index, schema, put } of columns) {
        const from = places[base + 2 * index]!
        const length = places[base + 2 * index + 1]!
        if (length === NULL_LENGTH) putBranch(writer, schema, true)
        else put(writer, bytes, view, from, length)
      }
    },
  }
}

/** Text is brought into bytes here first, a row at a time, so that both kinds of rows take the same way. */
let scratch = Buffer.allocUnsafeSlow(64 * 1024)
let scratchView = new DataView(scratch.buffer)
const UTF8_BYTES_PER_CHAR_MAX = 3
const SCRATCH_BYTES_KEPT_MAX = 16 * 1024 * 1024

/** Puts the row's text values one after the other into `scratch`. True: each takes as many bytes as it has characters. */
function load(columns: readonly ColumnWriter[], row: Row): boolean {
  let text = ''
  for (const { index } of columns) {
    const value = row[index]
    if (typeof value === 'string') text += value
  }
  const size = text.length * UTF8_BYTES_PER_CHAR_MAX + OVERSHOOT_BYTES
  // A huge row must not pin its size for ever (I8).
  if (size > scratch.length || scratch.length > SCRATCH_BYTES_KEPT_MAX) {
    scratch = Buffer.allocUnsafeSlow(Math.max(size, 64 * 1024))
    scratchView = new DataView(scratch.buffer)
  }
  return scratch.write(text, 0, 'utf8') === text.length
}

function writeOther(table: TableSchema, writer: ByteWriter, column: ColumnWriter, value: Exclude<Value, string>): void {
  const { schema, codec } = column
  if (value === null) return putBranch(writer, schema, true)
  if (value === undefined) {
    if (column.unsent === null) throw notSent(table, column.index)
    return putJson(writer, schema, column.unsent)
  }
  putJson(writer, schema, codec.form === 'call' || codec.form === 'put' ? codec.json(value) : String(value))
}

function putterOf(schema: ConnectSchema, codec: ValueCodec): Put {
  const slow: Put = (writer, source, _, from, length) => {
    const value = source.toString('utf8', from, from + length)
    putJson(writer, schema, codec.form === 'call' || codec.form === 'put' ? codec.json(value) : value)
  }
  if (codec.form === 'text') {
    return (writer, _, view, from, length) => {
      putBranch(writer, schema, false)
      putUtf8(writer, view, from, length)
    }
  }
  if (codec.form === 'raw') {
    if (!/^int/.test(schema.type)) return slow
    return (writer, source, _, from, length) => {
      putBranch(writer, schema, false)
      putDigits(writer, source, from, length)
    }
  }
  if (codec.form === 'call') return slow
  return schema.name === DECIMAL ? decimalPutter(schema, slow) : tokenPutter(schema, codec, slow)
}

function decimalPutter(schema: ConnectSchema, slow: Put): Put {
  const scale = Number(schema.parameters!.scale)
  return (writer, source, view, from, length) => {
    const unscaled = unscaledDigits(source, from, length, scale)
    if (Number.isNaN(unscaled)) return slow(writer, source, view, from, length)
    putBranch(writer, schema, false)
    putUnscaled(writer, unscaled)
  }
}

function tokenPutter(schema: ConnectSchema, codec: Extract<ValueCodec, { form: 'put' }>, slow: Put): Put {
  const quick = quickPut(schema)
  if (quick === null) return slow
  if (schema.type === 'float' || schema.type === 'double') {
    const size = schema.type === 'float' ? 4 : 8
    return (writer, source, _, from, length) => {
      putBranch(writer, schema, false)
      putDouble(writer, Number(source.toString('latin1', from, from + length)), size)
    }
  }
  return (writer, source, view, from, length) => {
    const end = codec.put(token, 0, source, from, length)
    if (end < 0) return slow(writer, source, view, from, length)
    putBranch(writer, schema, false)
    quick(writer, end)
  }
}

/** JSON tokens that a codec wrote, on their way to Avro. */
const token = Buffer.alloc(2 * PUT_BYTES_MAX)
const tokenView = new DataView(token.buffer, token.byteOffset, token.length)

/** Makes Avro of the JSON token without a string in between; null: only putJson() can. */
function quickPut({ type }: ConnectSchema): ((writer: ByteWriter, end: number) => void) | null {
  switch (type) {
    case 'int16':
    case 'int32':
    case 'int64':
      return (writer, end) => putDigits(writer, token, 0, end)
    case 'boolean':
      return (writer) => putByte(writer, token[0] === 116 ? 1 : 0)
    case 'float':
    case 'double':
    case 'string':
      // Dates and times: no escapes inside the quotes.
      return (writer, end) => putUtf8(writer, tokenView, 1, end - 2)
    default:
      return null
  }
}

const LOOPED_BYTES_MAX = 512

function putUtf8(writer: ByteWriter, view: DataView, from: number, length: number): void {
  putLong(writer, length)
  writer.reserve(writer.length, length + OVERSHOOT_BYTES)
  if (length <= LOOPED_BYTES_MAX) copyAscii(writer.view, writer.length, view, from, length)
  else writer.bytes.set(new Uint8Array(view.buffer, view.byteOffset + from, length), writer.length)
  writer.length += length
}

function notSent({ id, columns }: TableSchema, index: number): TidemarkError {
  return new TidemarkError('format.value_not_sent', {
    message: `A change of table ${id} came without column ${columns[index]!.name}, for whose type Avro has no stand-in.`,
    fix: `Let the source send whole old rows (PostgreSQL: ALTER TABLE ${id} REPLICA IDENTITY FULL).`,
  })
}
