/**
 * MySQL and MariaDB values (dialect `mysql`) to what Debezium 3.6 writes for them under its options, and to plain rows.
 * Unlike there, BIGINT UNSIGNED keeps its sign, YEAR 0 stays 0 and JSON has the server's text in snapshot and stream alike.
 */
import type { ColumnType, Value } from '../../core/model.js'
import { isoText, zonedTime } from './calendar.js'
import { type DebeziumModes, LINE_MODES } from './debezium-modes.js'
import { binaryJson, numberJson, postgresCodec } from './debezium-postgres.js'
import { type TimeUnit, timeUnit } from './debezium-times.js'
import { doubleJson, JAVA_DOUBLE, JAVA_FLOAT } from './java-float.js'
import { unreadable } from './unreadable.js'
import type { ValueCodec } from './value-codec.js'

type Present = NonNullable<Value>

const AS_IS: ValueCodec = { form: 'raw' }
const AS_TEXT: ValueCodec = { form: 'text' }
const GEOMETRY_BASES = new Set([
  'geometry',
  'point',
  'linestring',
  'polygon',
  'multipoint',
  'multilinestring',
  'multipolygon',
  'geomcollection',
  'geometrycollection',
])
const SRID_BYTES = 4
const WKB_POINT_X = 5
const WKB_POINT_Y = 13

const call = (json: (value: Present) => string): ValueCodec => ({ form: 'call', json })

/** How a column's values are written. */
export function mysqlCodec(type: ColumnType, modes: DebeziumModes = LINE_MODES): ValueCodec | null {
  switch (type.base) {
    case 'bigint':
      return AS_IS
    // The server's shortest digits are a JSON number.
    case 'float':
      return modes.floats === 'java' ? JAVA_FLOAT : AS_IS
    case 'double':
      return modes.floats === 'java' ? JAVA_DOUBLE : AS_IS
    case 'year':
      return call((value) => String(Number(value)))
    case 'time':
      return call((value) => timeJson(value as string, timeUnit(type, clockMode(modes.time))))
    case 'date':
    case 'datetime':
    case 'timestamp':
      return zeroable(type, modes)
    case 'bit':
      return type.length === 1
        ? call((value) => (value === '1' ? 'true' : 'false'))
        : call((value) => bitsJson(value as string))
    case 'enum':
    case 'set':
    case 'inet4':
    case 'inet6':
      return AS_TEXT
    default:
      if (GEOMETRY_BASES.has(type.base))
        return call((value) => geometryJson(value as Uint8Array, type.base === 'point', modes))
      return type.kind === 'bytes' || type.kind === 'other'
        ? call((value) => bytesJson(value, modes))
        : postgresCodec(type, modes)
  }
}

/** Plain rows: what JSON holds exactly as numbers, bytes as hex, everything else as the server's text. */
export function mysqlRowCodec(type: ColumnType): ValueCodec {
  switch (type.kind) {
    case 'int16':
    case 'int32':
    case 'int64':
      return type.base === 'year' ? AS_TEXT : AS_IS
    case 'float32':
    case 'float64':
      return AS_IS
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return call((value) => (isZero(value as string) ? `"${value}"` : `"${isoText(value as string)}"`))
    case 'bytes':
      return call(hex)
    case 'other':
      return call((value) => (value instanceof Uint8Array ? hex(value) : JSON.stringify(value)))
    default:
      return AS_TEXT
  }
}

/** A date with a part that is zero is on no calendar. */
function isZero(text: string): boolean {
  return text.startsWith('0000-') || text.startsWith('00-', 5) || text.startsWith('00', 8)
}

/** Debezium has null for what no calendar holds. */
function zeroable(type: ColumnType, modes: DebeziumModes): ValueCodec | null {
  const codec = postgresCodec(type, modes)
  if (codec === null || (codec.form !== 'put' && codec.form !== 'call')) return codec
  const json = (value: Present) => (isZero(value as string) ? 'null' : codec.json(value))
  if (codec.form === 'call') return call(json)
  const { put } = codec
  return {
    form: 'put',
    json,
    put: (bytes, at, source, from, length) => (isZeroAt(source, from) ? -1 : put(bytes, at, source, from, length)),
  }
}

const ZERO = 0x30

/** Whether month or day at their places are zero; the year alone is looked at by isZero(). */
function isZeroAt(b: Buffer, at: number): boolean {
  if (b[at] === ZERO && b[at + 1] === ZERO && b[at + 2] === ZERO && b[at + 3] === ZERO) return true
  return (b[at + 5] === ZERO && b[at + 6] === ZERO) || (b[at + 8] === ZERO && b[at + 9] === ZERO)
}

const CLOCK = /^(-?)(\d{2,3}):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/

const DAY_US = 86_400_000_000

/** MySQL has no coarser clock than microseconds, whatever the column's own digits. */
function clockMode(mode: DebeziumModes['time']): DebeziumModes['time'] {
  return mode === 'adaptive' ? 'microseconds' : mode
}

/** A TIME goes beyond a day and below zero, which Debezium's clock types of milliseconds and text cannot say. */
function timeJson(text: string, unit: TimeUnit): string {
  const micros = timeMicros(text)
  if (unit === 6) return micros
  if (unit === 9) return micros === '0' ? '0' : `${micros}000`
  if (Number(micros) < 0 || Number(micros) >= DAY_US) return 'null'
  return unit === 3 ? String(Math.floor(Number(micros) / 1000)) : `"${zonedTime(`${text}Z`)}"`
}

function timeMicros(text: string): string {
  const match = CLOCK.exec(text)
  if (match === null) throw unreadable('time', text)
  const [, sign, hours, minutes, seconds, fraction = ''] = match
  const micros =
    (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1_000_000 + Number(fraction.padEnd(6, '0'))
  return micros === 0 ? '0' : `${sign}${micros}`
}

/** Little endian, as many bytes as the column has. */
function bitsJson(text: string): string {
  const bytes = Buffer.alloc((text.length + 7) >> 3)
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(text.length - 1 - i) === 49) bytes[i >> 3]! |= 1 << (i & 7)
  return `"${bytes.toString('base64')}"`
}

function bufferOf(value: Uint8Array): Buffer {
  return Buffer.from(value.buffer, value.byteOffset, value.length)
}

function bytesJson(value: Present, { binary }: DebeziumModes): string {
  return value instanceof Uint8Array ? binaryJson(bufferOf(value), binary) : JSON.stringify(value)
}

function hex(value: Present): string {
  return `"\\\\x${bufferOf(value as Uint8Array).toString('hex')}"`
}

function geometryJson(value: Uint8Array, point: boolean, { floats }: DebeziumModes): string {
  const number = floats === 'java' ? doubleJson : numberJson
  const bytes = bufferOf(value)
  const wkb = bytes.subarray(SRID_BYTES)
  const srid = bytes.readUInt32LE(0) || null
  const tail = `"wkb":"${wkb.toString('base64')}","srid":${srid}}`
  if (!point) return `{${tail}`
  return `{"x":${number(wkb.readDoubleLE(WKB_POINT_X))},"y":${number(wkb.readDoubleLE(WKB_POINT_Y))},${tail}`
}
