/**
 * Values of row events in dialect `mysql`. A decoder is made once for a column of a table map; it reads at `cursor.at` and
 * moves it on. Table maps name storage types, of which one serves several column types; what they do not say (labels,
 * character set, sign) comes with the column.
 */
import { inflateRawSync, inflateSync } from 'node:zlib'
import { TidemarkError } from '../../core/errors.js'
import type { Value } from '../../core/model.js'
import { textReader } from './charsets.js'
import { holdsBytes, type MysqlColumnType } from './column-types.js'
import { decimalBytes, decimalReader } from './decimal.js'
import { jsonText } from './json-binary.js'
import { inet6Text, uuidText } from './mariadb-types.js'
import { doubleText, floatText } from './number-text.js'
import { date3, datetime5, fractionBytes, oldDatetime, oldTime, time3, timestamp4, timestampText } from './temporal.js'

export interface Cursor {
  bytes: Buffer
  at: number
}

export type Decoder = (cursor: Cursor) => Value

/** Storage types of the log. */
export const STORED = {
  decimal: 0,
  tiny: 1,
  short: 2,
  long: 3,
  float: 4,
  double: 5,
  null: 6,
  timestamp: 7,
  longlong: 8,
  int24: 9,
  date: 10,
  time: 11,
  datetime: 12,
  year: 13,
  newdate: 14,
  varchar: 15,
  bit: 16,
  timestamp2: 17,
  datetime2: 18,
  time2: 19,
  typedArray: 20,
  blobCompressed: 140,
  varcharCompressed: 141,
  vector: 242,
  json: 245,
  newdecimal: 246,
  enum: 247,
  set: 248,
  tinyBlob: 249,
  mediumBlob: 250,
  longBlob: 251,
  blob: 252,
  varString: 253,
  string: 254,
  geometry: 255,
} as const

/** `meta`: the table map's number for the column, in the byte order of ColumnMap. */
export function decoderOf(stored: number, meta: number, column: MysqlColumnType): Decoder {
  const { unsigned } = column
  switch (stored) {
    case STORED.tiny:
      return unsigned ? (c) => String(c.bytes[c.at++]!) : (c) => String((c.bytes[c.at++]! << 24) >> 24)
    case STORED.short:
      return fixed(2, unsigned ? (b, at) => String(b.readUInt16LE(at)) : (b, at) => String(b.readInt16LE(at)))
    case STORED.int24:
      return fixed(3, unsigned ? (b, at) => String(b.readUIntLE(at, 3)) : (b, at) => String(b.readIntLE(at, 3)))
    case STORED.long:
      return fixed(4, unsigned ? (b, at) => String(b.readUInt32LE(at)) : (b, at) => String(b.readInt32LE(at)))
    case STORED.longlong:
      return fixed(8, unsigned ? unsigned64 : signed64)
    case STORED.float:
      return fixed(4, (b, at) => floatText(b.readFloatLE(at)))
    case STORED.double:
      return fixed(8, (b, at) => doubleText(b.readDoubleLE(at)))
    case STORED.newdecimal: {
      const [precision, scale] = [meta >> 8, meta & 0xff]
      return fixed(decimalBytes(precision, scale), decimalReader(precision, scale))
    }
    case STORED.year:
      return (c) => {
        const year = c.bytes[c.at++]!
        return year === 0 ? '0000' : String(1900 + year)
      }
    case STORED.bit:
      return bits(meta)
    default:
      return temporal(stored, meta) ?? sized(stored, meta, column)
  }
}

function fixed(size: number, read: (bytes: Buffer, at: number) => string): Decoder {
  return (c) => {
    const at = c.at
    c.at = at + size
    return read(c.bytes, at)
  }
}

/** The double of a high half below this is exact. */
const HIGH_EXACT = 0x200000
const HIGH_UNIT = 0x1_0000_0000

function signed64(b: Buffer, at: number): string {
  const high = b.readInt32LE(at + 4)
  if (high >= -HIGH_EXACT && high < HIGH_EXACT) return String(high * HIGH_UNIT + b.readUInt32LE(at))
  return String(b.readBigInt64LE(at))
}

function unsigned64(b: Buffer, at: number): string {
  const high = b.readUInt32LE(at + 4)
  if (high < HIGH_EXACT) return String(high * HIGH_UNIT + b.readUInt32LE(at))
  return String(b.readBigUInt64LE(at))
}

function temporal(stored: number, meta: number): Decoder | null {
  switch (stored) {
    case STORED.date:
    case STORED.newdate:
      return fixed(3, date3)
    case STORED.datetime2:
      return fixed(5 + fractionBytes(meta), (b, at) => datetime5(b, at, meta))
    case STORED.timestamp2:
      return fixed(4 + fractionBytes(meta), (b, at) => timestamp4(b, at, meta))
    case STORED.time2:
      return fixed(3 + fractionBytes(meta), (b, at) => time3(b, at, meta))
    case STORED.datetime:
      return fixed(8, (b, at) => oldDatetime(b.readBigUInt64LE(at)))
    case STORED.timestamp:
      return fixed(4, (b, at) => timestampText(b.readUInt32LE(at), 0, 0))
    case STORED.time:
      return fixed(3, (b, at) => oldTime(b.readIntLE(at, 3)))
    default:
      return null
  }
}

/** `meta`: whole bytes above, bits of the first below. */
function bits(meta: number): Decoder {
  const length = (meta >> 8) * 8 + (meta & 0xff)
  const size = (length + 7) >> 3
  return fixed(size, (b, at) => bitText(b, at, at + size, length))
}

export function bitText(bytes: Buffer, start: number, end: number, length: number): string {
  let text = ''
  for (let at = start; at < end; at++) text += bytes[at]!.toString(2).padStart(8, '0')
  return text.length >= length ? text.slice(text.length - length) : text.padStart(length, '0')
}

// ---- values with a length

function sized(stored: number, meta: number, column: MysqlColumnType): Decoder {
  switch (stored) {
    case STORED.string:
      return string(meta, column)
    case STORED.varchar:
    case STORED.varString:
      return lengthBytes(meta > 255 ? 2 : 1, content(column))
    case STORED.varcharCompressed:
      return lengthBytes(meta > 255 ? 2 : 1, inflated(content(column)))
    case STORED.blobCompressed:
      return lengthBytes(meta, inflated(content(column)))
    case STORED.json:
      return lengthBytes(meta, jsonText)
    case STORED.blob:
    case STORED.geometry:
    case STORED.vector:
      return lengthBytes(meta, content(column))
    default:
      throw new TidemarkError('mysql.binlog_event', {
        message: `the binlog holds a column of the unknown storage type ${stored}`,
        fix: 'Please report this with the version of the server and the CREATE TABLE.',
      })
  }
}

type Read = (bytes: Buffer, start: number, end: number) => Value

function lengthBytes(size: number, read: Read): Decoder {
  if (size === 1) {
    return (c) => {
      const start = c.at + 1
      const end = start + c.bytes[c.at]!
      c.at = end
      return read(c.bytes, start, end)
    }
  }
  return (c) => {
    const start = c.at + size
    const end = start + c.bytes.readUIntLE(c.at, size)
    c.at = end
    return read(c.bytes, start, end)
  }
}

/** Of columns whose stored bytes are their value. */
function content(column: MysqlColumnType): Read {
  return holdsBytes(column) ? copied : textReader(column.charset ?? 'utf8mb4')
}

/** Packets are overwritten, so what outlives them is copied. */
function copied(bytes: Buffer, start: number, end: number): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, start, end)
}

/** CHAR, BINARY, ENUM and SET share a storage type; the real one and the length are folded into two bytes. */
function string(meta: number, column: MysqlColumnType): Decoder {
  const high = meta >> 8
  const low = meta & 0xff
  const real = (high & 0x30) === 0x30 ? high : high | 0x30
  const length = (high & 0x30) === 0x30 ? low : low | (((high & 0x30) ^ 0x30) << 4)
  if (real === STORED.enum) return enumeration(low, column)
  if (real === STORED.set) return set(low, column)
  const size = length > 255 ? 2 : 1
  switch (column.type.base) {
    case 'binary':
      return lengthBytes(size, padding(column.type.length ?? length))
    case 'uuid':
      return lengthBytes(size, padded(16, uuidText))
    case 'inet6':
      return lengthBytes(size, padded(16, inet6Text))
    case 'inet4':
      return lengthBytes(
        size,
        padded(4, (b) => [...b].join('.')),
      )
    default:
      return lengthBytes(size, content(column))
  }
}

/** The log leaves trailing zero bytes out. */
function padding(length: number): Read {
  return (bytes, start, end) => {
    const whole = new Uint8Array(length)
    whole.set(bytes.subarray(start, end))
    return whole
  }
}

function padded(length: number, text: (bytes: Uint8Array) => string): Read {
  const pad = padding(length)
  return (bytes, start, end) => text(pad(bytes, start, end) as Uint8Array)
}

function enumeration(size: number, column: MysqlColumnType): Decoder {
  return (c) => {
    const index = c.bytes.readUIntLE(c.at, size)
    c.at += size
    return enumLabel(column, index)
  }
}

export function enumLabel({ type }: MysqlColumnType, index: number): string {
  if (index === 0) return ''
  const label = type.labels?.[index - 1]
  if (label === undefined) throw unknownLabel(type.native, String(index))
  return label
}

function set(size: number, column: MysqlColumnType): Decoder {
  return (c) => {
    let mask = 0n
    for (let i = size - 1; i >= 0; i--) mask = (mask << 8n) | BigInt(c.bytes[c.at + i]!)
    c.at += size
    return setLabels(column, mask)
  }
}

export function setLabels({ type }: MysqlColumnType, mask: bigint): string {
  const labels = type.labels ?? []
  const out: string[] = []
  for (let i = 0, rest = mask; rest !== 0n; i++, rest >>= 1n) {
    if ((rest & 1n) === 0n) continue
    if (labels[i] === undefined) throw unknownLabel(type.native, String(mask))
    out.push(labels[i]!)
  }
  return out.join(',')
}

function unknownLabel(native: string, index: string): TidemarkError {
  return new TidemarkError('format.unreadable_value', {
    message: `the binlog holds number ${index} of ${native}, which has no such label`,
    fix: 'The column was changed past the log. Set binlog_row_metadata = FULL, run `tidemark drop FILE` and start anew.',
  })
}

/** MariaDB's COMPRESSED: a byte that says how and in how many bytes the length follows; 0: it is not compressed. */
function inflated(read: Read): Read {
  return (bytes, start, end) => {
    if (start === end) return read(bytes, start, end)
    const header = bytes[start]!
    if (header === 0) return read(bytes, start + 1, end)
    const data = bytes.subarray(start + 1 + (header & LENGTH_SIZE), end)
    const whole = (header & NO_ZLIB_HEADER) === 0 ? inflateSync(data) : inflateRawSync(data)
    return read(whole, 0, whole.length)
  }
}

const LENGTH_SIZE = 0x07
const NO_ZLIB_HEADER = 0x08
