/**
 * PostgreSQL text values to what Debezium 3.6 writes for them under its default options. Text form of each type: the
 * server's output with TimeZone=UTC, ISO dates, hex bytea, extra_float_digits=3, lc_monetary=C.
 */
import type { ColumnType, Value } from '../../core/model.js'
import { type DebeziumModes, LINE_MODES } from './debezium-modes.js'
import { decimalCodec, moneyCodec } from './debezium-numbers.js'
import { intervalCodec, timeCodec } from './debezium-times.js'
import { doubleJson, JAVA_DOUBLE, JAVA_FLOAT } from './java-float.js'
import { quoteText } from './json-text.js'
import { type ArrayText, moneyDecimal, parseArray, parseBytea, parseHstore, parsePoint } from './postgres-text.js'
import { unreadable } from './unreadable.js'
import { AS_IS, AS_TEXT, fast, PUT_BYTES_MAX, text, type ValueCodec } from './value-codec.js'

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

const TRUE = Buffer.from('true')
const FALSE = Buffer.from('false')

/** How a column's values are written; null: Debezium leaves the column out. */
export function postgresCodec(type: ColumnType, modes: DebeziumModes = LINE_MODES): ValueCodec | null {
  switch (type.kind) {
    case 'bool':
      return BOOL
    case 'int16':
    case 'int32':
    case 'int64':
      return AS_IS
    case 'float32':
      return modes.floats === 'java' ? JAVA_FLOAT : FLOAT
    case 'float64':
      return modes.floats === 'java' ? JAVA_DOUBLE : FLOAT
    case 'decimal':
      return decimalCodec(type, modes.decimal)
    case 'money':
      return moneyCodec(moneyDecimal, modes)
    case 'string':
    case 'uuid':
    case 'json':
    case 'xml':
    case 'enum':
      return AS_TEXT
    case 'bytes':
      return text((value) => binaryJson(parseBytea(value), modes.binary))
    case 'bits':
      return text(type.length === 1 ? (value) => (value === '1' ? 'true' : 'false') : bitsJson)
    case 'array':
      return arrayCodec(type, modes)
    case 'point':
      return text(modes.floats === 'java' ? javaPointJson : pointJson)
    case 'hstore':
      return text(modes.hstore === 'json' ? hstoreJson : hstoreMapJson)
    case 'interval':
      return intervalCodec(modes.interval)
    case 'other':
      return otherCodec(type, modes)
    default:
      return timeCodec(type, modes.time)
  }
}

function otherCodec(type: ColumnType, modes: DebeziumModes): ValueCodec | null {
  if (TEXT_BASES.has(type.base)) return AS_TEXT
  if (type.base === 'oid') return AS_IS
  // pgvector prints a JSON array of numbers.
  if (type.base === 'vector' || type.base === 'halfvec') return modes.floats === 'java' ? text(vectorJson) : AS_IS
  return modes.unknown ? unknownCodec(type, modes) : null
}

/** Types whose text Debezium's driver makes anew from doubles. */
const GEOMETRIC_BASES = new Set(['box', 'line', 'lseg', 'path', 'polygon', 'circle'])
const NUMBER = /-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/gi

function unknownCodec({ base }: ColumnType, modes: DebeziumModes): ValueCodec {
  const spelled = GEOMETRIC_BASES.has(base)
    ? (value: string) => value.replace(NUMBER, (number) => doubleJson(Number(number)))
    : (value: string) => value
  return text((value) => binaryJson(Buffer.from(spelled(value)), modes.binary))
}

function vectorJson(value: string): string {
  return value.replace(NUMBER, (number) => doubleJson(Number(number)))
}

export function binaryJson(value: Buffer, mode: DebeziumModes['binary']): string {
  if (mode === 'hex') return `"${value.toString('hex')}"`
  const base64 = value.toString('base64')
  // Java's URL-safe encoder keeps the padding, Node's leaves it away.
  return `"${mode === 'base64-url-safe' ? base64.replaceAll('+', '-').replaceAll('/', '_') : base64}"`
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
    if (value === 't' || value === 'true') return 'true'
    if (value === 'f' || value === 'false') return 'false'
    throw unreadable('boolean', value)
  },
)

/** Little endian, and no longer than the highest set bit needs. */
export function bitsJson(value: string): string {
  const first = value.indexOf('1')
  const used = first < 0 ? 0 : value.length - first
  const bytes = Buffer.alloc(Math.ceil(used / 8))
  for (let i = 0; i < used; i++) if (value.charCodeAt(value.length - 1 - i) === 49) bytes[i >> 3]! |= 1 << (i & 7)
  return `"${bytes.toString('base64')}"`
}

const WKB_POINT_BYTES = 21

function pointJson(value: string): string {
  return pointOf(value, numberJson)
}

function javaPointJson(value: string): string {
  return pointOf(value, doubleJson)
}

function pointOf(value: string, number: (value: number) => string): string {
  const { x, y } = parsePoint(value)
  const wkb = Buffer.alloc(WKB_POINT_BYTES)
  wkb[0] = 1
  wkb.writeUInt32LE(1, 1)
  wkb.writeDoubleLE(x, 5)
  wkb.writeDoubleLE(y, 13)
  return `{"x":${number(x)},"y":${number(y)},"wkb":"${wkb.toString('base64')}","srid":null}`
}

export function numberJson(value: number): string {
  if (!Number.isFinite(value)) return `"${value}"`
  return Object.is(value, -0) ? '-0' : String(value)
}

function hstoreJson(value: string): string {
  return quoteText(`{${parseHstore(value).map(([key, v]) => `${JSON.stringify(key)}:${JSON.stringify(v)}`)}}`)
}

function hstoreMapJson(value: string): string {
  return `{${parseHstore(value).map(([key, v]) => `${quoteText(key)}:${v === null ? 'null' : quoteText(v)}`)}}`
}

function arrayCodec(type: ColumnType, modes: DebeziumModes): ValueCodec | null {
  const element = elementOf(type)
  const codec = element === null ? null : postgresCodec(element, { ...modes, unknown: false })
  if (codec === null) return modes.unknown ? unknownCodec(type, modes) : null
  const json = elementJson(codec)
  return text((value) => arrayJson(parseArray(value), json))
}

/** The element of an array that Debezium writes as one; null: it leaves the column out. */
export function elementOf({ element }: ColumnType): ColumnType | null {
  return element === null || element.domain !== null || UNSUPPORTED_ELEMENTS.has(element.base) ? null : element
}

function elementJson(codec: ValueCodec): (value: string) => string {
  if (codec.form === 'raw') return (value) => value
  return codec.form === 'text' ? quoteText : codec.json
}

function arrayJson(array: ArrayText, json: (value: string) => string): string {
  return `[${array.map((v) => (v === null ? 'null' : typeof v === 'string' ? json(v) : arrayJson(v, json))).join(',')}]`
}

/** Debezium's stand-in for a value that was not sent because it did not change (TOAST). */
export function unavailableJson(type: ColumnType, modes: DebeziumModes = LINE_MODES): string {
  const placeholder = Buffer.from(UNAVAILABLE)
  if (type.kind === 'bytes' || isUnknown(type, modes)) return binaryJson(placeholder, modes.binary)
  if (type.kind === 'hstore') {
    const map = `{${UNAVAILABLE_JSON}:${UNAVAILABLE_JSON}}`
    return modes.hstore === 'json' ? JSON.stringify(map) : map
  }
  if (type.kind !== 'array') return UNAVAILABLE_JSON
  const numbers = ['int16', 'int32', 'int64', 'date'].includes(type.element?.kind ?? '')
  return numbers ? JSON.stringify([...placeholder]) : `[${UNAVAILABLE_JSON}]`
}

/** Written as bytes only because unknown types are asked for. */
export function isUnknown(type: ColumnType, modes: DebeziumModes): boolean {
  return modes.unknown && postgresCodec(type, { ...modes, unknown: false }) === null
}

/** JSON of one value outside a row: defaults of columns that a key-only before image lacks. */
export function valueJson(codec: ValueCodec, value: Value): string {
  if (value === null || value === undefined) return 'null'
  if (codec.form === 'call' || codec.form === 'put') return codec.json(value)
  return codec.form === 'raw' ? String(value) : quoteText(String(value))
}
