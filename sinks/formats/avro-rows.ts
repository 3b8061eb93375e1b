/** Rows as Avro records: a writer for each column, made once for each version of a table. */
import { TidemarkError } from '../../core/errors.js'
import type { Row, TableSchema, Value } from '../../core/model.js'
import { NULL_LENGTH, type PackedValues } from '../../core/packed-rows.js'
import { putBranch, putByte, putDigits, putDouble, putJson, putLong } from './avro-bytes.js'
import type { ByteWriter } from './byte-writer.js'
import type { ConnectField, ConnectSchema } from './connect-schema.js'
import { PUT_BYTES_MAX, type ValueCodec } from './value-codec.js'

export interface AvroRow {
  write(writer: ByteWriter, row: Row): void
  packed(writer: ByteWriter, values: PackedValues, base: number): void
}

/** Writes a value that is there, from its text's bytes. */
type Put = (writer: ByteWriter, source: Buffer, from: number, length: number) => void

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
      for (const column of columns) writeValue(table, writer, column, row[column.index])
    },
    packed(writer, { bytes, places }, base) {
      for (const { index, schema, put } of columns) {
        const from = places[base + 2 * index]!
        const length = places[base + 2 * index + 1]!
        if (length === NULL_LENGTH) putBranch(writer, schema, true)
        else put(writer, bytes, from, length)
      }
    },
  }
}

/** Text is brought into bytes here first, so that both kinds of rows take the same way. */
let scratch = Buffer.allocUnsafeSlow(4_096)

function writeValue(table: TableSchema, writer: ByteWriter, column: ColumnWriter, value: Value): void {
  const { schema, codec, put } = column
  if (value === null) return putBranch(writer, schema, true)
  if (value === undefined) {
    if (column.unsent === null) throw notSent(table, column.index)
    return putJson(writer, schema, column.unsent)
  }
  if (typeof value !== 'string') {
    const json = codec.form === 'call' || codec.form === 'put' ? codec.json(value) : String(value)
    return putJson(writer, schema, json)
  }
  const size = value.length * 3
  if (size > scratch.length) scratch = Buffer.allocUnsafeSlow(size * 2)
  put(writer, scratch, 0, scratch.write(value, 0, 'utf8'))
}

function putterOf(schema: ConnectSchema, codec: ValueCodec): Put {
  if (codec.form === 'text') return (writer, source, from, length) => putUtf8(writer, schema, source, from, length)
  if (codec.form === 'raw') {
    if (/^int/.test(schema.type)) {
      return (writer, source, from, length) => {
        putBranch(writer, schema, false)
        putDigits(writer, source, from, length)
      }
    }
    return (writer, source, from, length) => putJson(writer, schema, source.toString('utf8', from, from + length))
  }
  const slow: Put = (writer, source, from, length) =>
    putJson(writer, schema, codec.json(source.toString('utf8', from, from + length)))
  if (codec.form === 'call') return slow
  const quick = quickPut(schema)
  if (quick === null) return slow
  return (writer, source, from, length) => {
    const end = codec.put(token, 0, source, from, length)
    if (end < 0) return slow(writer, source, from, length)
    putBranch(writer, schema, false)
    quick(writer, token, end)
  }
}

/** JSON tokens that a codec wrote, on their way to Avro. */
const token = Buffer.alloc(2 * PUT_BYTES_MAX)

/** Makes Avro of a JSON token without a string in between; null: only putJson() can. */
function quickPut({ type }: ConnectSchema): ((writer: ByteWriter, json: Buffer, end: number) => void) | null {
  switch (type) {
    case 'int16':
    case 'int32':
    case 'int64':
      return (writer, json, end) => putDigits(writer, json, 0, end)
    case 'boolean':
      return (writer, json) => putByte(writer, json[0] === 116 ? 1 : 0)
    case 'float':
    case 'double':
      return (writer, json, end) => putDouble(writer, Number(json.toString('latin1', 0, end)), type === 'float' ? 4 : 8)
    case 'string':
      // Dates and times: no escapes inside the quotes.
      return (writer, json, end) => putBytes(writer, json, 1, end - 2)
    case 'bytes':
      return putBase64
    default:
      return null
  }
}

function putUtf8(writer: ByteWriter, schema: ConnectSchema, source: Buffer, from: number, length: number): void {
  putBranch(writer, schema, false)
  putBytes(writer, source, from, length)
}

function putBytes(writer: ByteWriter, source: Buffer, from: number, length: number): void {
  putLong(writer, length)
  writer.reserve(writer.length, length)
  source.copy(writer.bytes, writer.length, from, from + length)
  writer.length += length
}

function putBase64(writer: ByteWriter, json: Buffer, end: number): void {
  let digits = end - 2
  while (digits > 0 && json[digits] === 61) digits--
  putLong(writer, (digits * 3) >> 2)
  writer.reserve(writer.length, digits)
  writer.length += writer.bytes.write(json.toString('latin1', 1, end - 1), writer.length, 'base64')
}

function notSent({ id, columns }: TableSchema, index: number): TidemarkError {
  return new TidemarkError('format.value_not_sent', {
    message: `A change of table ${id} came without column ${columns[index]!.name}, for whose type Avro has no stand-in.`,
    fix: `Let the source send whole old rows (PostgreSQL: ALTER TABLE ${id} REPLICA IDENTITY FULL).`,
  })
}
