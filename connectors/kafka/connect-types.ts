/**
 * Kafka Connect's schemas as embedded in debezium-json: what each field's column is, and how its JSON becomes the plain
 * value, under every mode of Debezium's for decimals, times and binary.
 */
import type { ColumnType, Value } from '../../core/model.js'
import { arrayType, columnType, textOf } from './column-types.js'
import { type Json, JsonArray, JsonNumber, JsonObject } from './json.js'
import { dateText, durationText, isoText, isoTimeText, timestampText, timeText } from './time-text.js'

/** A column, and its values. */
export interface Field {
  readonly name: string
  readonly type: ColumnType
  readonly nullable: boolean
  /** The column's default, which Debezium writes for old values that the source did not send. */
  readonly fallback?: Json
  /** Throws FieldError. Null stays null. */
  read(value: Exclude<Json, null>): Value
}

export class FieldError extends Error {
  override readonly name = 'FieldError'
}

const MS = 1_000n
const US = 1_000_000n
const NS = 1_000_000_000n
const UTC = '+00'

type Read = (value: Exclude<Json, null>) => Value
type Typed = readonly [type: ColumnType, read: Read]

/** The fields of a struct's schema. */
export function fieldsOf(struct: JsonObject): Field[] {
  const list = struct.get('fields')
  if (!(list instanceof JsonArray)) throw new FieldError('the embedded schema of a row has no fields')
  return list.items.map((item) => {
    const name = item instanceof JsonObject ? item.get('field') : undefined
    if (!(item instanceof JsonObject) || typeof name !== 'string') {
      throw new FieldError('a field of the embedded schema has no name')
    }
    const [type, read] = typed(item)
    const fallback = item.get('default')
    return {
      name,
      type,
      read,
      nullable: item.get('optional') === true,
      ...(fallback === undefined ? {} : { fallback }),
    }
  })
}

function typed(schema: JsonObject): Typed {
  const name = schema.get('name')
  const semantic = typeof name === 'string' ? SEMANTIC[name]?.(schema) : undefined
  return semantic ?? plain(schema)
}

function plain(schema: JsonObject): Typed {
  const type = schema.get('type')
  switch (type) {
    case 'boolean':
      return [columnType('bool'), boolean]
    case 'int8':
    case 'int16':
      return [columnType('int16'), (value) => Number(integer(value))]
    case 'int32':
      return [columnType('int32'), (value) => Number(integer(value))]
    case 'int64':
      return [columnType('int64'), integer]
    case 'float':
    case 'float32':
      return [columnType('float32'), float]
    case 'double':
    case 'float64':
      return [columnType('float64'), float]
    case 'string':
      return [columnType('string'), textOf]
    case 'bytes':
      return [columnType('bytes'), base64]
    case 'array': {
      const items = schema.get('items')
      if (!(items instanceof JsonObject)) throw new FieldError('an array of the embedded schema has no items')
      const [element, read] = typed(items)
      return [arrayType(element), (value) => list(value, read)]
    }
    case 'struct':
    case 'map':
      return [columnType('json'), textOf]
    default:
      throw new FieldError(`the embedded schema has the unknown type ${JSON.stringify(type ?? null)}`)
  }
}

const counted =
  (text: (value: bigint) => string): Read =>
  (value) =>
    text(integer(value))
const iso: Read = (value) => isoText(string(value))

const DATE: Typed = [columnType('date'), counted(dateText)]
const timeOf = (unit: bigint, precision: number): Typed => [
  columnType('time', { precision }),
  counted((value) => timeText(value, unit)),
]
const timestampOf = (unit: bigint, precision: number): Typed => [
  columnType('timestamp', { precision }),
  counted((value) => timestampText(value, unit)),
]

/** By the name of the schema. */
const SEMANTIC: Readonly<Record<string, ((schema: JsonObject) => Typed) | undefined>> = {
  'org.apache.kafka.connect.data.Decimal': decimalOf,
  'io.debezium.data.VariableScaleDecimal': () => [columnType('decimal'), variableDecimal],
  'io.debezium.time.Date': () => DATE,
  'org.apache.kafka.connect.data.Date': () => DATE,
  'io.debezium.time.Time': () => timeOf(MS, 3),
  'org.apache.kafka.connect.data.Time': () => timeOf(MS, 3),
  'io.debezium.time.MicroTime': () => timeOf(US, 6),
  'io.debezium.time.NanoTime': () => timeOf(NS, 9),
  'io.debezium.time.Timestamp': () => timestampOf(MS, 3),
  'org.apache.kafka.connect.data.Timestamp': () => timestampOf(MS, 3),
  'io.debezium.time.MicroTimestamp': () => timestampOf(US, 6),
  'io.debezium.time.NanoTimestamp': () => timestampOf(NS, 9),
  'io.debezium.time.ZonedTimestamp': () => [columnType('timestamptz'), iso],
  'io.debezium.time.ZonedTime': () => [columnType('timetz'), (value) => isoTimeText(string(value), true)],
  'io.debezium.time.IsoDate': () => [columnType('date'), (value) => isoText(string(value).replace(/Z$/, ''))],
  'io.debezium.time.IsoTime': () => [columnType('time'), (value) => isoTimeText(string(value), false)],
  'io.debezium.time.IsoTimestamp': () => [columnType('timestamp'), (value) => isoText(string(value)).replace(UTC, '')],
  'io.debezium.time.MicroDuration': () => [columnType('interval'), counted((us) => durationText(us, US))],
  'io.debezium.time.NanoDuration': () => [columnType('interval'), counted((ns) => durationText(ns, NS))],
  'io.debezium.time.Interval': () => [columnType('interval'), string],
  'io.debezium.data.Uuid': () => [columnType('uuid'), string],
  'io.debezium.data.Json': () => [columnType('json'), string],
  'io.debezium.data.Xml': () => [columnType('xml'), string],
  'io.debezium.data.Bits': bitsOf,
  'io.debezium.data.geometry.Point': () => [columnType('point'), point],
}

function parameter(schema: JsonObject, name: string): number | null {
  const parameters = schema.get('parameters')
  const text = parameters instanceof JsonObject ? parameters.get(name) : undefined
  return typeof text === 'string' && /^-?\d+$/.test(text) ? Number(text) : null
}

function decimalOf(schema: JsonObject): Typed {
  const scale = parameter(schema, 'scale') ?? 0
  const precision = parameter(schema, 'connect.decimal.precision')
  return [
    columnType('decimal', precision === null ? {} : { precision, scale }),
    // decimal.format=NUMERIC of the converter.
    (value) => (value instanceof JsonNumber ? value.text : decimalText(bytesOf(value), scale)),
  ]
}

function variableDecimal(value: Exclude<Json, null>): Value {
  if (!(value instanceof JsonObject)) return textOf(value)
  const scale = value.get('scale')
  const unscaled = value.get('value')
  if (!(scale instanceof JsonNumber) || unscaled == null) throw new FieldError('a decimal lacks its scale or value')
  return decimalText(bytesOf(unscaled), Number(scale.text))
}

/** Two's complement, most significant byte first. */
export function decimalText(bytes: Uint8Array, scale: number): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
  const unscaled = hex === '' ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`))
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale))
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

/** Least significant byte first, zeros at the end left out. */
function bitsOf(schema: JsonObject): Typed {
  const length = parameter(schema, 'length') ?? 0
  return [
    columnType('bits', { length }),
    (value) => {
      const bits = [...bytesOf(value)].reverse().map((byte) => byte.toString(2).padStart(8, '0'))
      const text = bits.join('').replace(/^0+/, '')
      return text.padStart(Math.max(1, length), '0')
    },
  ]
}

function point(value: Exclude<Json, null>): Value {
  const [x, y] = value instanceof JsonObject ? [value.get('x'), value.get('y')] : []
  if (x == null || y == null) throw new FieldError('a point lacks x or y')
  return `(${textOf(x)},${textOf(y)})`
}

function list(value: Exclude<Json, null>, read: Read): Value {
  if (!(value instanceof JsonArray)) throw mismatch('an array', value)
  return value.items.map((item) => (item === null ? null : read(item)))
}

function boolean(value: Exclude<Json, null>): boolean {
  if (typeof value !== 'boolean') throw mismatch('true or false', value)
  return value
}

export function integer(value: Exclude<Json, null>): bigint {
  if (!(value instanceof JsonNumber) || !/^-?\d+$/.test(value.text)) throw mismatch('a whole number', value)
  return BigInt(value.text)
}

function string(value: Exclude<Json, null>): string {
  if (typeof value !== 'string') throw mismatch('a text', value)
  return value
}

const NOT_FINITE: ReadonlySet<string> = new Set(['NaN', 'Infinity', '-Infinity'])

function float(value: Exclude<Json, null>): number {
  if (value instanceof JsonNumber) return Number(value.text)
  if (typeof value === 'string' && NOT_FINITE.has(value)) return Number(value)
  throw mismatch('a number', value)
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

const base64: Read = (value) => bytesOf(value)

function bytesOf(value: Json): Uint8Array {
  if (typeof value !== 'string' || !BASE64.test(value)) throw mismatch('base64', value)
  return new Uint8Array(Buffer.from(value, 'base64'))
}

const SHOWN_CHARS_MAX = 40

export function mismatch(wanted: string, value: Json): FieldError {
  const text = value === null ? 'null' : JSON.stringify(textOf(value).slice(0, SHOWN_CHARS_MAX))
  return new FieldError(`${wanted} was expected, not ${text}`)
}
