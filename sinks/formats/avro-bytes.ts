/** Avro's binary encoding of the values of columns, from the JSON that Debezium writes for them. */

import { isNullLast } from './avro-schema.js'
import type { ByteWriter } from './byte-writer.js'
import type { ConnectSchema } from './connect-schema.js'
import { unreadable } from './unreadable.js'

const LONG_BYTES_MAX = 10
const DOUBLE_BYTES = 8
/** Integers of so many digits are exact in a double. */
const EXACT_DIGITS_MAX = 15
const POW7 = 128
const INT32 = 2 ** 31
/** Zigzag makes one byte of anything smaller. */
const ONE_BYTE_MAX = 64

/** A long, zigzag and in groups of seven bits, at the writer's end. */
export function putLong(writer: ByteWriter, value: number | bigint): void {
  writer.reserve(writer.length, LONG_BYTES_MAX)
  const { bytes } = writer
  let p = writer.length
  if (typeof value === 'number' && value >= 0 && value < ONE_BYTE_MAX) {
    bytes[p++] = value << 1
  } else if (typeof value === 'number' && value < INT32 / 2 && value >= -INT32 / 2) {
    let rest = (value << 1) ^ (value >> 31)
    while (rest > 127) {
      bytes[p++] = (rest & 127) | 128
      rest >>>= 7
    }
    bytes[p++] = rest
  } else if (typeof value === 'number') {
    // Exact up to 2^52: doubled, a double still holds it.
    let rest = value < 0 ? -value * 2 - 1 : value * 2
    while (rest >= POW7) {
      bytes[p++] = (rest % POW7) | 128
      rest = Math.floor(rest / POW7)
    }
    bytes[p++] = rest
  } else {
    let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
    while (rest > 127n) {
      bytes[p++] = Number(rest & 127n) | 128
      rest >>= 7n
    }
    bytes[p++] = Number(rest)
  }
  writer.length = p
}

export function putText(writer: ByteWriter, text: string): void {
  const size = Buffer.byteLength(text)
  putLong(writer, size)
  writer.reserve(writer.length, size)
  writer.bytes.write(text, writer.length, 'utf8')
  writer.length += size
}

export function putRaw(writer: ByteWriter, value: Uint8Array): void {
  putLong(writer, value.length)
  writer.reserve(writer.length, value.length)
  writer.bytes.set(value, writer.length)
  writer.length += value.length
}

export function putDouble(writer: ByteWriter, value: number, size: 4 | 8): void {
  writer.reserve(writer.length, DOUBLE_BYTES)
  if (size === 8) writer.bytes.writeDoubleLE(value, writer.length)
  else writer.bytes.writeFloatLE(value, writer.length)
  writer.length += size
}

export function putByte(writer: ByteWriter, value: number): void {
  writer.reserve(writer.length, 1)
  writer.bytes[writer.length++] = value
}

const FIRST_BRANCH = 0
const SECOND_BRANCH = 2

/** Which branch of an optional type follows; nothing for a type that is not optional. */
export function putBranch(writer: ByteWriter, schema: ConnectSchema, isNull: boolean): void {
  if (!schema.optional) {
    if (isNull) throw unreadable(`value of a column that may not be null (${schema.name ?? schema.type})`, 'null')
    return
  }
  putByte(writer, isNull === isNullLast(schema) ? SECOND_BRANCH : FIRST_BRANCH)
}

/** Digits of `source`, which hold an integer. */
export function putDigits(writer: ByteWriter, source: Buffer, from: number, length: number): void {
  const end = from + length
  const negative = source[from] === 45
  if (length > EXACT_DIGITS_MAX) return putLong(writer, BigInt(source.toString('latin1', from, end)))
  let value = 0
  for (let i = negative ? from + 1 : from; i < end; i++) value = value * 10 + source[i]! - 48
  putLong(writer, negative ? -value : value)
}

/** A value given as the JSON that Debezium writes for it, its branch included. */
export function putJson(writer: ByteWriter, schema: ConnectSchema, json: string): void {
  putBranch(writer, schema, json === 'null')
  if (json === 'null') return
  switch (schema.type) {
    case 'int16':
    case 'int32':
    case 'int64':
      return putLong(writer, BigInt(json))
    case 'boolean':
      return putByte(writer, json === 'true' ? 1 : 0)
    case 'float':
    case 'double':
      return putDouble(writer, Number(json.replaceAll('"', '')), schema.type === 'float' ? 4 : 8)
    case 'string':
      return putText(writer, JSON.parse(json) as string)
    case 'bytes':
      return putRaw(writer, Buffer.from(json.slice(1, -1), 'base64'))
    default:
      return putParsed(writer, schema, parseTokens(json))
  }
}

/** JSON whose numbers stay the text they are. */
type Tokens = string | boolean | null | readonly Tokens[] | { readonly [key: string]: Tokens }

function parseTokens(json: string): Tokens {
  return JSON.parse(
    json.replace(/("(?:[^"\\]|\\.)*")|(-?\d[\d.eE+-]*)/g, (_, text, number) => text ?? `"${number}"`),
  ) as Tokens
}

function putParsed(writer: ByteWriter, schema: ConnectSchema, value: Tokens): void {
  if (schema.type === 'struct') {
    for (const { field, schema: inner } of schema.fields!) {
      putInner(writer, inner, (value as { readonly [key: string]: Tokens })[field] ?? null)
    }
    return
  }
  if (schema.type === 'map') {
    const entries = Object.entries(value as { readonly [key: string]: Tokens })
    putBlock(writer, entries, ([key, text]) => {
      putText(writer, key)
      putInner(writer, OPTIONAL_TEXT, text)
    })
    return
  }
  putBlock(writer, value as readonly Tokens[], (item) => putInner(writer, schema.items!, item))
}

const OPTIONAL_TEXT: ConnectSchema = { type: 'string', optional: true }

function putBlock<T>(writer: ByteWriter, items: readonly T[], put: (item: T) => void): void {
  if (items.length > 0) putLong(writer, items.length)
  for (const item of items) put(item)
  putLong(writer, 0)
}

function putInner(writer: ByteWriter, schema: ConnectSchema, value: Tokens): void {
  if (value === null || typeof value === 'boolean') return putJson(writer, schema, String(value))
  if (typeof value !== 'string') {
    putBranch(writer, schema, false)
    return putParsed(writer, schema, value)
  }
  const isText = schema.type === 'string' || schema.type === 'bytes'
  putJson(writer, schema, isText ? JSON.stringify(value) : value)
}
