/**
 * Plain rows: `{"__op":"c","__table":"public.orders",...columns}`. For people and scripts: numbers that JSON can hold
 * exactly are numbers, everything else is text.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Column, ColumnType, TableSchema, Value } from '../../core/model.js'
import type { ByteWriter } from './byte-writer.js'
import { isoText } from './calendar.js'
import { putIsoDate, putLocalTimestamp, zonedTimestampPut } from './calendar-bytes.js'
import { mysqlRowCodec } from './debezium-mysql.js'
import { BOOL, FLOAT, numberJson } from './debezium-postgres.js'
import type { LineEncoder } from './format.js'
import { quoteText } from './json-text.js'
import { type ArrayText, moneyDecimal, parseArray, parseHstore } from './postgres-text.js'
import { compileRow, type Field, SKIP } from './row-compiler.js'
import { fast, type ValueCodec } from './value-codec.js'

const RESERVED = new Set(['__op', '__table', '__unchanged'])

/** How each column's values are written. */
export function rowCodecs({ dialect, columns }: TableSchema): ValueCodec[] {
  const codecOf = { postgres: postgresCodec, mysql: mysqlRowCodec, plain: plainCodec }[dialect]
  return columns.map(({ type }) => codecOf(type))
}

/** `newline`: rows are lines. */
export function rowEncoder(schema: TableSchema, newline = true): LineEncoder {
  const taken = schema.columns.find(({ name }) => RESERVED.has(name))
  if (taken !== undefined) throw reserved(schema, taken)
  const codecs = rowCodecs(schema)
  const fields = schema.columns.map(({ name }, index): Field => ({ name, index, codec: codecs[index]!, unsent: SKIP }))
  const tail = newline ? 2 : 1
  const close = (writer: ByteWriter, at: number): void => {
    writer.bytes[at] = 125
    if (newline) writer.bytes[at + 1] = 10
    writer.length = at + tail
  }
  const rows = compileRow(fields, { leadingComma: true, slack: tail })
  const heads = new Map(
    (['r', 'c', 'u', 'd', 't'] as const).map((op) => [op, `{"__op":"${op}","__table":${JSON.stringify(schema.id)}`]),
  )
  return {
    begin() {},
    gather: (text, { op, before, after }) => rows.gather(text, op === 'd' ? before! : after!),
    line(writer, { op, before, after }) {
      const start = writer.put(writer.length, heads.get(op)!, 0)
      let end = rows.write(writer, start, op === 'd' ? before! : after!)
      const skipped = rows.takeSkipped()
      // A delete carries what the source sent of the old row, which says nothing about change.
      if (skipped !== '' && op !== 'd') end = writer.put(end, `,"__unchanged":[${skipped}]`, tail)
      close(writer, end)
    },
    packed(writer, values, base) {
      const end = rows.packed(writer, writer.put(writer.length, heads.get('r')!, 0), values, base)
      close(writer, end)
    },
    truncate(writer) {
      close(writer, writer.put(writer.length, heads.get('t')!, tail))
    },
  }
}

function reserved(schema: TableSchema, { name }: Column): TidemarkError {
  return new TidemarkError('format.reserved_column', {
    message: `Table ${schema.id} has a column ${name}, a name that row-json uses itself.`,
    fix: `Rename it with a transform (rename: {${name}: ...}) or use value.format: debezium-json.`,
  })
}

const call = (json: (value: string) => string): ValueCodec => ({ form: 'call', json: (value) => json(value as string) })

function postgresCodec(type: ColumnType): ValueCodec {
  switch (type.kind) {
    case 'bool':
      return BOOL
    case 'int16':
    case 'int32':
    case 'int64':
      return { form: 'raw' }
    case 'float32':
    case 'float64':
      return FLOAT
    case 'money':
      return call((value) => `"${moneyDecimal(value)}"`)
    case 'date':
      return fast(putIsoDate, (value) => `"${isoText(value)}"`)
    case 'timestamp':
      return fast(putLocalTimestamp, (value) => `"${isoText(value)}"`)
    case 'timestamptz':
      return fast(zonedTimestampPut(null), (value) => `"${isoText(value)}"`)
    case 'hstore':
      return call(
        (value) => `{${parseHstore(value).map(([k, v]) => `${quoteText(k)}:${v === null ? 'null' : quoteText(v)}`)}}`,
      )
    case 'array':
      return arrayCodec(type)
    default:
      return type.base === 'oid' ? { form: 'raw' } : { form: 'text' }
  }
}

function arrayCodec(type: ColumnType): ValueCodec {
  if (type.element === null) return { form: 'text' }
  const codec = postgresCodec(type.element)
  const delimiter = type.element.base === 'box' ? ';' : ','
  const json = (value: string): string =>
    codec.form === 'raw' ? value : codec.form === 'text' ? quoteText(value) : codec.json(value)
  const list = (array: ArrayText): string =>
    `[${array.map((v) => (v === null ? 'null' : typeof v === 'string' ? json(v) : list(v))).join(',')}]`
  return call((value) => list(parseArray(value, delimiter)))
}

function plainCodec(type: ColumnType): ValueCodec {
  return { form: 'call', json: (value) => plainJson(value, type) }
}

function plainJson(value: Value, type: ColumnType): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'number') return numberJson(value)
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  if (value instanceof Uint8Array) return `"\\\\x${Buffer.from(value).toString('hex')}"`
  if (typeof value !== 'string') return `[${value.map((v) => plainJson(v, type.element ?? type)).join(',')}]`
  const moment = type.kind === 'date' || type.kind === 'timestamp' || type.kind === 'timestamptz'
  return moment ? `"${isoText(value)}"` : quoteText(value)
}
