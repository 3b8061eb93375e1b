/**
 * PostgreSQL text values to what Debezium 3.6 writes for them under its default options. Text form of each type: the
 * server's output with TimeZone=UTC, ISO dates, hex bytea, extra_float_digits=3, lc_monetary=C.
 */
import type { ColumnType, Value } from '../../core/model.js'
import { dateJson, timeJson, timestampJson, zonedTime, zonedTimestamp } from './calendar.js'
import { putDate, timePut, timestampPut, zonedTimestampPut } from './calendar-bytes.js'
import { decimalJson, decimalPut, variableDecimalJson } from './decimal-bytes.js'
import { quoteText } from './json-text.js'
import {
  type ArrayText,
  moneyDecimal,
  parseArray,
  parseBytea,
  parseHstore,
  parseInterval,
  parsePoint,
} from './postgres-text.js'
import { PUT_BYTES_MAX, type PutText, type ValueCodec } from './row-compiler.js'
import { unreadable } from './unreadable.js'

export const UNAVAILABLE = '__debezium_unavailable_value'
const UNAVAILABLE_JSON = JSON.stringify(UNAVAILABLE)

/** Types of kind `other` that Debezium writes as their text; the rest it leaves out unless told otherwise. */
const TEXT_BASES = new Set([
  'inet',
  'cidr',
  'macaddr',
  'macaddr8',
  'int4range',
  'int8range',
  'numrange',
  'tsrange',
  'tstzrange',
  'daterange',
  'tsvector',
  'citext',
  'ltree',
  'isbn',
  'name',
  'char',
  'text',
  'varchar',
  'bpchar',
])
/** Arrays of these Debezium leaves out. */
const UNSUPPORTED_ELEMENTS = new Set(['money', 'name', 'interval', 'bit', 'varbit', 'xml', 'point', 'tsvector'])

const text = (json: (value: string) => string): ValueCodec => ({
  form: 'call',
  json: (value) => json(value as string),
})
export const fast = (put: PutText, json: (value: string) => string): ValueCodec => ({
  form: 'put',
  put,
  json: (value) => json(value as string),
})
const TRUE = Buffer.from('true')
const FALSE = Buffer.from('false')
const AS_IS: ValueCodec = { form: 'raw' }
const AS_TEXT: ValueCodec = { form: 'text' }

/** How a column's values are written; null: Debezium leaves the column out. */
export function postgresCodec(type: ColumnType): ValueCodec | null {
  switch (type.kind) {
    case 'bool':
      return BOOL
    case 'int16':
    case 'int32':
    case 'int64':
      return AS_IS
    case 'float32':
    case 'float64':
      return FLOAT
    case 'decimal':
      return decimalCodec(type)
    case 'money':
      return text((value) => decimalJson(moneyDecimal(value), 2))
    case 'string':
    case 'uuid':
    case 'json':
    case 'xml':
    case 'enum':
      return AS_TEXT
    case 'bytes':
      return text(byteaJson)
    case 'bits':
      return text(type.length === 1 ? (value) => (value === '1' ? 'true' : 'false') : bitsJson)
    case 'array':
      return arrayCodec(type)
    case 'point':
      return text(pointJson)
    case 'hstore':
      return text(hstoreJson)
    case 'interval':
      return text(intervalJson)
    case 'other':
      return otherCodec(type)
    default:
      return timeCodec(type)
  }
}

function timeCodec(type: ColumnType): ValueCodec | null {
  const digits = (type.precision ?? 6) <= 3 ? 3 : 6
  switch (type.kind) {
    case 'date':
      return fast(putDate, dateJson)
    case 'time':
      return fast(timePut(digits), (value) => timeJson(value, digits))
    case 'timestamp':
      return fast(timestampPut(digits), (value) => timestampJson(value, digits))
    case 'timetz':
      return text((value) => `"${zonedTime(value)}"`)
    case 'timestamptz': {
      const width = type.precision ?? 6
      return fast(zonedTimestampPut(width), (value) => `"${zonedTimestamp(value, width)}"`)
    }
    default:
      return null
  }
}

function otherCodec(type: ColumnType): ValueCodec | null {
  if (TEXT_BASES.has(type.base)) return AS_TEXT
  if (type.base === 'oid') return AS_IS
  // pgvector prints a JSON array of numbers.
  return type.base === 'vector' || type.base === 'halfvec' ? AS_IS : null
}

/** PostgreSQL's shortest float text is a JSON number; NaN and infinities become strings, as Connect's converter writes them. */
function floatJson(value: string): string {
  return value.charCodeAt(value.length - 1) > 57 ? `"${value}"` : value
}

export const FLOAT = fast((bytes, at, source, from, length) => {
  if (length > PUT_BYTES_MAX || source[from + length - 1]! > 57) return -1
  for (let i = 0; i < length; i++) bytes[at + i] = source[from + i]!
  return at + length
}, floatJson)

export const BOOL = fast(
  (bytes, at, source, from, length) => {
    const yes = length === 1 && source[from] === 116
    if (!yes && (length !== 1 || source[from] !== 102)) return -1
    const word = yes ? TRUE : FALSE
    for (let i = 0; i < word.length; i++) bytes[at + i] = word[i]!
    return at + word.length
  },
  (value) => {
    if (value === 'true' || value === 'false') return value
    throw unreadable('boolean', value)
  },
)

function decimalCodec({ precision, scale }: ColumnType): ValueCodec {
  if (precision === null) return fast(decimalPut(0, true), variableDecimalJson)
  const digits = scale ?? 0
  return fast(decimalPut(digits, false), (value) => decimalJson(value, digits))
}

function byteaJson(value: string): string {
  return `"${parseBytea(value).toString('base64')}"`
}

/** Little endian, and no longer than the highest set bit needs. */
function bitsJson(value: string): string {
  const first = value.indexOf('1')
  const used = first < 0 ? 0 : value.length - first
  const bytes = Buffer.alloc(Math.ceil(used / 8))
  for (let i = 0; i < used; i++) if (value.charCodeAt(value.length - 1 - i) === 49) bytes[i >> 3]! |= 1 << (i & 7)
  return `"${bytes.toString('base64')}"`
}

const WKB_POINT_BYTES = 21

function pointJson(value: string): string {
  const { x, y } = parsePoint(value)
  const wkb = Buffer.alloc(WKB_POINT_BYTES)
  wkb[0] = 1
  wkb.writeUInt32LE(1, 1)
  wkb.writeDoubleLE(x, 5)
  wkb.writeDoubleLE(y, 13)
  return `{"x":${numberJson(x)},"y":${numberJson(y)},"wkb":"${wkb.toString('base64')}","srid":null}`
}

export function numberJson(value: number): string {
  if (!Number.isFinite(value)) return `"${value}"`
  return Object.is(value, -0) ? '-0' : String(value)
}

function hstoreJson(value: string): string {
  return quoteText(`{${parseHstore(value).map(([key, v]) => `${JSON.stringify(key)}:${JSON.stringify(v)}`)}}`)
}

const DAY_US = 86_400_000_000n
/** A month counts 30.4375 days. */
const MONTH_US = 2_629_800_000_000n
const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)

/** Microseconds; beyond 64 bits the nearest value that fits, as in Java. */
function intervalJson(value: string): string {
  if (value === 'infinity') return String(INT64_MAX)
  if (value === '-infinity') return String(INT64_MIN)
  const { months, days, microseconds } = parseInterval(value)
  const total = months * MONTH_US + days * DAY_US + microseconds
  return String(total > INT64_MAX ? INT64_MAX : total < INT64_MIN ? INT64_MIN : total)
}

function arrayCodec(type: ColumnType): ValueCodec | null {
  const element = type.element
  if (element === null || element.domain !== null || UNSUPPORTED_ELEMENTS.has(element.base)) return null
  const codec = postgresCodec(element)
  if (codec === null) return null
  const json = elementJson(codec)
  return text((value) => arrayJson(parseArray(value), json))
}

function elementJson(codec: ValueCodec): (value: string) => string {
  if (codec.form === 'raw') return (value) => value
  return codec.form === 'text' ? quoteText : codec.json
}

function arrayJson(array: ArrayText, json: (value: string) => string): string {
  return `[${array.map((v) => (v === null ? 'null' : typeof v === 'string' ? json(v) : arrayJson(v, json))).join(',')}]`
}

/** Debezium's stand-in for a value that was not sent because it did not change (TOAST). */
export function unavailableJson(type: ColumnType): string {
  const placeholder = Buffer.from(UNAVAILABLE)
  if (type.kind === 'bytes') return `"${placeholder.toString('base64')}"`
  if (type.kind === 'hstore') return JSON.stringify(`{${UNAVAILABLE_JSON}:${UNAVAILABLE_JSON}}`)
  if (type.kind !== 'array') return UNAVAILABLE_JSON
  const numbers = ['int16', 'int32', 'int64', 'date'].includes(type.element?.kind ?? '')
  return numbers ? JSON.stringify([...placeholder]) : `[${UNAVAILABLE_JSON}]`
}

/** JSON of one value outside a row: defaults of columns that a key-only before image lacks. */
export function valueJson(codec: ValueCodec, value: Value): string {
  if (value === null || value === undefined) return 'null'
  if (codec.form === 'call' || codec.form === 'put') return codec.json(value)
  return codec.form === 'raw' ? String(value) : quoteText(String(value))
}
