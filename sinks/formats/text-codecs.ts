/** How formats that came from MySQL write the values of columns: canal-json, maxwell-json and Flink's flavours. */
import type { ColumnType, TableSchema, Value } from '../../core/model.js'
import { BOOL, bitsJson } from './debezium-postgres.js'
import { JAVA_DOUBLE, JAVA_FLOAT } from './java-float.js'
import { quoteText } from './json-text.js'
import { type ArrayText, moneyDecimal, parseArray, parseBytea } from './postgres-text.js'
import { AS_IS, AS_TEXT, text, type ValueCodec } from './value-codec.js'

type Style = (type: ColumnType) => ValueCodec

/** One codec for each column. Natural values (dialect plain) are brought into the form of PostgreSQL's text first. */
export function styledCodecs({ dialect, columns }: TableSchema, style: Style): ValueCodec[] {
  return columns.map(({ type }) => (dialect === 'postgres' ? style(type) : overText(type, style)))
}

function overText(type: ColumnType, style: Style): ValueCodec {
  const codec = style(type)
  // Types without a kind of their own may hold bytes: MySQL's geometries and vectors.
  const bytes = style({ ...type, kind: 'bytes' })
  const json = (by: ValueCodec, value: string): string =>
    by.form === 'raw' ? value : by.form === 'text' ? quoteText(value) : by.json(value)
  return {
    form: 'call',
    json: (value) => json(value instanceof Uint8Array ? bytes : codec, naturalText(value, type)),
  }
}

/** A natural value as PostgreSQL would print it. */
function naturalText(value: NonNullable<Value>, type: ColumnType): string {
  if (typeof value === 'boolean') return value ? 't' : 'f'
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`
  if (Array.isArray(value)) return `{${value.map((v) => element(v, type.element ?? type))}}`
  return type.kind === 'money' ? `$${value}` : String(value)
}

function element(value: Value, type: ColumnType): string {
  if (value === null || value === undefined) return 'NULL'
  if (Array.isArray(value)) return naturalText(value, type)
  return `"${naturalText(value, type).replace(/["\\]/g, '\\$&')}"`
}

const QUOTED_BOOL = text((value) => (value === 't' || value === 'true' ? '"true"' : '"false"'))
const QUOTED_MONEY = text((value) => `"${moneyDecimal(value)}"`)
const MONEY = text(moneyDecimal)
const BASE64 = text((value) => `"${parseBytea(value).toString('base64')}"`)
/** Canal makes text of bytes, a character for each. */
const LATIN1 = text((value) => quoteText(parseBytea(value).toString('latin1')))
/** What PostgreSQL prints behind a time in UTC, and behind that for years before Christ. */
const UTC = /\+00( BC)?$/
const ZONED = text((value) => `"${value.replace(UTC, 'Z$1')}"`)
const UNZONED = text((value) => `"${value.replace(UTC, '$1')}"`)
/** A decimal is a JSON number with the digits it has; NaN and infinities are text. */
const DECIMAL = text((value) => (value.charCodeAt(value.length - 1) > 57 ? `"${value}"` : value))

/** Every value is text. */
export const canalStyle: Style = ({ kind }) => {
  if (kind === 'bool') return QUOTED_BOOL
  if (kind === 'money') return QUOTED_MONEY
  if (kind === 'bytes') return LATIN1
  return kind === 'timestamptz' ? ZONED : AS_TEXT
}

/** MySQL's TIMESTAMP has no zone in its text. */
export const canalMysqlStyle: Style = (type) => (type.kind === 'timestamptz' ? UNZONED : canalStyle(type))

/** Numbers are numbers, bytes base64, times as a server prints them. */
export const maxwellStyle: Style = (type) => {
  switch (type.kind) {
    case 'json':
      return AS_IS
    case 'timestamptz':
      return UNZONED
    default:
      return numeric(type, maxwellStyle)
  }
}

/** Flink's JSON of its SQL types, `timestamp-format.standard` SQL. */
export const flinkStyle: Style = (type) => {
  switch (type.kind) {
    case 'timestamptz':
      return ZONED
    case 'bits':
      return type.length === 1 ? text((value) => String(value === '1')) : text(bitsJson)
    default:
      return numeric(type, flinkStyle)
  }
}

function numeric(type: ColumnType, style: Style): ValueCodec {
  switch (type.kind) {
    case 'bool':
      return BOOL
    case 'int16':
    case 'int32':
    case 'int64':
      return AS_IS
    case 'float32':
      return JAVA_FLOAT
    case 'float64':
      return JAVA_DOUBLE
    case 'decimal':
      return DECIMAL
    case 'money':
      return MONEY
    case 'bytes':
      return BASE64
    case 'array':
      return array(type, style)
    default:
      return type.base === 'oid' ? AS_IS : AS_TEXT
  }
}

function array({ element: type }: ColumnType, style: Style): ValueCodec {
  if (type === null) return AS_TEXT
  const codec = style(type)
  const json = (value: string): string =>
    codec.form === 'raw' ? value : codec.form === 'text' ? quoteText(value) : codec.json(value)
  const list = (values: ArrayText): string =>
    `[${values.map((v) => (v === null ? 'null' : typeof v === 'string' ? json(v) : list(v))).join(',')}]`
  return text((value) => list(parseArray(value, type.base === 'box' ? ';' : ',')))
}
