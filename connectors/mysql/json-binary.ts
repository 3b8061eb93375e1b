/**
 * MySQL's binary JSON as the text that the server prints for it: keys in stored order, `, ` and `: ` between, doubles with a
 * point, decimals and dates as they are. Malformed bytes are refused.
 */
import { TidemarkError } from '../../core/errors.js'
import { decimalReader } from './decimal.js'
import { doubleText } from './number-text.js'
import { dateText, datetimePacked, timePacked } from './temporal.js'

const TYPE = {
  smallObject: 0x00,
  largeObject: 0x01,
  smallArray: 0x02,
  largeArray: 0x03,
  literal: 0x04,
  int16: 0x05,
  uint16: 0x06,
  int32: 0x07,
  uint32: 0x08,
  int64: 0x09,
  uint64: 0x0a,
  double: 0x0b,
  string: 0x0c,
  opaque: 0x0f,
} as const
const LITERALS = ['null', 'true', 'false']
const FIELD_TYPE = { decimal: 246, date: 10, time: 11, datetime: 12, timestamp: 7 } as const
/** As the server's own limit. */
const DEPTH_MAX = 101

/** The value in `bytes` from `start` to `end`. No bytes at all are how a rejected value was logged: JSON null. */
export function jsonText(bytes: Buffer, start: number, end: number): string {
  if (start === end) return 'null'
  return value(bytes, bytes[start]!, start + 1, end, 0)
}

function value(b: Buffer, type: number, at: number, end: number, depth: number): string {
  if (at > end || depth > DEPTH_MAX) throw damaged()
  switch (type) {
    case TYPE.smallObject:
    case TYPE.largeObject:
      return container(b, at, end, depth, type === TYPE.largeObject, true)
    case TYPE.smallArray:
    case TYPE.largeArray:
      return container(b, at, end, depth, type === TYPE.largeArray, false)
    case TYPE.literal:
      return LITERALS[b[at]!] ?? fail()
    case TYPE.int16:
      return String(b.readInt16LE(at))
    case TYPE.uint16:
      return String(b.readUInt16LE(at))
    case TYPE.int32:
      return String(b.readInt32LE(at))
    case TYPE.uint32:
      return String(b.readUInt32LE(at))
    case TYPE.int64:
      return String(b.readBigInt64LE(at))
    case TYPE.uint64:
      return String(b.readBigUInt64LE(at))
    case TYPE.double:
      return jsonDouble(b.readDoubleLE(at))
    case TYPE.string: {
      const { length, next } = variableLength(b, at)
      return quoted(b.toString('utf8', next, next + length))
    }
    case TYPE.opaque:
      return opaque(b, at)
    default:
      throw damaged()
  }
}

function container(b: Buffer, start: number, end: number, depth: number, large: boolean, keyed: boolean): string {
  const size = large ? 4 : 2
  const read = (at: number) => (large ? b.readUInt32LE(at) : b.readUInt16LE(at))
  const count = read(start)
  if (start + read(start + size) > end) throw damaged()
  const keys = start + 2 * size
  const values = keyed ? keys + count * (size + 2) : keys
  const parts: string[] = []
  for (let i = 0; i < count; i++) {
    const entry = values + i * (1 + size)
    const type = b[entry]!
    const text = isInline(type, large)
      ? value(b, type, entry + 1, end, depth + 1)
      : value(b, type, start + read(entry + 1), end, depth + 1)
    if (!keyed) parts.push(text)
    else {
      const key = keys + i * (size + 2)
      const from = start + read(key)
      parts.push(`${quoted(b.toString('utf8', from, from + b.readUInt16LE(key + size)))}: ${text}`)
    }
  }
  return keyed ? `{${parts.join(', ')}}` : `[${parts.join(', ')}]`
}

function isInline(type: number, large: boolean): boolean {
  if (type === TYPE.literal || type === TYPE.int16 || type === TYPE.uint16) return true
  return large && (type === TYPE.int32 || type === TYPE.uint32)
}

function variableLength(b: Buffer, at: number): { readonly length: number; readonly next: number } {
  let length = 0
  for (let i = 0; i < 5; i++) {
    const byte = b[at + i]!
    length += (byte & 0x7f) * 2 ** (7 * i)
    if ((byte & 0x80) === 0) return { length, next: at + i + 1 }
  }
  throw damaged()
}

/** Values of SQL types that JSON has none for. */
function opaque(b: Buffer, at: number): string {
  const type = b[at]!
  const { length, next } = variableLength(b, at + 1)
  switch (type) {
    case FIELD_TYPE.decimal:
      return decimalReader(b[next]!, b[next + 1]!)(b, next + 2)
    case FIELD_TYPE.time:
      return `"${timePacked(b.readBigInt64LE(next))}"`
    case FIELD_TYPE.date:
      return `"${dateOnly(b.readBigInt64LE(next))}"`
    case FIELD_TYPE.datetime:
    case FIELD_TYPE.timestamp:
      return `"${datetimePacked(b.readBigInt64LE(next))}"`
    default:
      return `"base64:type${type}:${b.toString('base64', next, next + length)}"`
  }
}

function dateOnly(packed: bigint): string {
  const days = packed >> 41n
  const months = Number(days >> 5n)
  return dateText(Math.floor(months / 13), months % 13, Number(days & 31n))
}

/** A double always shows that it is one. */
function jsonDouble(x: number): string {
  const text = doubleText(x)
  return /[.e]/.test(text) ? text : `${text}.0`
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}

function quoted(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what JSON must escape.
  return `"${text.replace(/["\\\u0000-\u001f]/g, (c) => ESCAPES[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}"`
}

function damaged(): TidemarkError {
  return new TidemarkError('format.unreadable_value', {
    message: 'the binlog holds a JSON value that cannot be read',
    fix: 'Please report this with the log.',
  })
}

function fail(): never {
  throw damaged()
}
