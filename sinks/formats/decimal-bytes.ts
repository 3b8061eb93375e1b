/**
 * Decimal text to Kafka Connect's Decimal: the unscaled value as big-endian two's complement bytes, in base64. Values
 * of up to 15 digits go through doubles, which hold them exactly; longer ones through BigInt.
 */

import { unreadable } from './unreadable.js'
import type { PutText } from './value-codec.js'

const BASE64 = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
/** Every integer of so many digits is exact in a double. */
const EXACT_DIGITS_MAX = 15
const POW24 = 2 ** 24
const POW32 = 2 ** 32
const POW10 = Array.from({ length: EXACT_DIGITS_MAX + 1 }, (_, i) => 10 ** i)

/**
 * Writes quoted base64 of the decimal at this scale; with `variable`, Debezium's VariableScaleDecimal with trailing
 * zeros stripped. -1: not a plain decimal of up to 15 digits.
 */
export function decimalPut(scale: number, variable: boolean): PutText {
  return (bytes, at, source, from, length) => {
    const end = from + length
    const negative = source[from] === 45
    let magnitude = 0
    let digits = 0
    let point = -1
    let c = -1
    for (let i = negative ? from + 1 : from; i < end; i++) {
      c = source[i]! - 48
      if (c >= 0 && c <= 9) {
        magnitude = magnitude * 10 + c
        if (magnitude !== 0) digits++
      } else if (c === -2 && point < 0) point = i
      else return -1
    }
    if (c < 0 || digits > EXACT_DIGITS_MAX) return -1
    const fraction = point < 0 ? 0 : end - point - 1
    if (variable) return putVariable(bytes, at, magnitude, fraction, negative)
    const missing = scale - fraction
    if (missing === 0) return putInteger(bytes, at, magnitude, negative)
    if (missing < 0 || digits + missing > EXACT_DIGITS_MAX) return -1
    return putInteger(bytes, at, magnitude * POW10[missing]!, negative)
  }
}

const SCALE = Buffer.from('{"scale":')
const VALUE = Buffer.from(',"value":')
const TWO_DIGITS_MAX = 99

function putVariable(bytes: Buffer, at: number, value: number, fraction: number, negative: boolean): number {
  let magnitude = value
  let scale = fraction
  while (scale > 0 && magnitude % 10 === 0) {
    magnitude /= 10
    scale--
  }
  if (scale > TWO_DIGITS_MAX) return -1
  const { length } = SCALE
  for (let i = 0; i < length; i++) bytes[at + i] = SCALE[i]!
  let end = at + length
  if (scale > 9) bytes[end++] = 48 + ((scale / 10) | 0)
  bytes[end++] = 48 + (scale % 10)
  for (let i = 0; i < length; i++) bytes[end + i] = VALUE[i]!
  end = putInteger(bytes, end + length, magnitude, negative)
  bytes[end] = 125
  return end + 1
}

/** Quoted base64 of an integer of up to 15 digits, in the fewest bytes that hold its sign. */
function putInteger(bytes: Buffer, at: number, value: number, negative: boolean): number {
  let hi = Math.floor(value / POW24)
  let lo = value - hi * POW24
  if (negative && value !== 0) {
    // Two's complement over 56 bits: enough for 15 digits and a sign.
    lo = -lo & 0xffffff
    hi = POW32 - hi - (lo === 0 ? 0 : 1)
  }
  const top = hi | 0
  let p = at
  bytes[p++] = 34
  if (top === (lo << 8) >> 31) {
    const small = (lo << 8) >> 8
    if (small >= -128 && small < 128) p = putLastByte(bytes, p, small)
    else if (small >= -32_768 && small < 32_768) p = putLastTwo(bytes, p, small)
    else p = putGroup(bytes, p, lo)
  } else if (top >= -128 && top < 128) {
    p = putLastByte(bytes, putGroup(bytes, p, (top << 16) | (lo >>> 8)), lo)
  } else if (top >= -32_768 && top < 32_768) {
    p = putLastTwo(bytes, putGroup(bytes, p, (top << 8) | (lo >>> 16)), lo)
  } else if (top >= -8_388_608 && top < 8_388_608) {
    p = putGroup(bytes, putGroup(bytes, p, top), lo)
  } else {
    p = putGroup(bytes, putGroup(bytes, p, top >>> 8), (top << 16) | (lo >>> 8))
    p = putLastByte(bytes, p, lo)
  }
  bytes[p] = 34
  return p + 1
}

/** Three bytes; bits above them are ignored. */
function putGroup(bytes: Buffer, at: number, value: number): number {
  bytes[at] = BASE64[(value >>> 18) & 63]!
  bytes[at + 1] = BASE64[(value >>> 12) & 63]!
  bytes[at + 2] = BASE64[(value >>> 6) & 63]!
  bytes[at + 3] = BASE64[value & 63]!
  return at + 4
}

function putLastTwo(bytes: Buffer, at: number, value: number): number {
  bytes[at] = BASE64[(value >>> 10) & 63]!
  bytes[at + 1] = BASE64[(value >>> 4) & 63]!
  bytes[at + 2] = BASE64[(value << 2) & 63]!
  bytes[at + 3] = 61
  return at + 4
}

function putLastByte(bytes: Buffer, at: number, value: number): number {
  bytes[at] = BASE64[(value >>> 2) & 63]!
  bytes[at + 1] = BASE64[(value << 4) & 63]!
  bytes[at + 2] = 61
  bytes[at + 3] = 61
  return at + 4
}

export interface Unscaled {
  readonly value: bigint
  readonly scale: number
}

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/

/** Exact value of decimal text; null for NaN and infinities. */
export function unscaledOf(text: string): Unscaled | null {
  if (/^(?:NaN|[+-]?Inf(?:inity)?)$/i.test(text)) return null
  const match = DECIMAL.exec(text)
  if (match === null || (!match[2] && !match[3])) throw unreadable('decimal', text)
  const fraction = match[3] ?? ''
  const magnitude = BigInt(`${match[2]}${fraction}`)
  return { value: match[1] === '-' ? -magnitude : magnitude, scale: fraction.length - Number(match[4] ?? 0) }
}

/** The same value at another scale; refused when that would lose digits (I7). */
export function rescaled({ value, scale }: Unscaled, to: number, text: string): bigint {
  if (to >= scale) return value * 10n ** BigInt(to - scale)
  const divisor = 10n ** BigInt(scale - to)
  if (value % divisor !== 0n) throw unreadable(`decimal with scale ${to}`, text)
  return value / divisor
}

/** Quoted base64 of any decimal at this scale; `null` for NaN and infinities, as Debezium writes them. */
export function decimalJson(text: string, scale: number): string {
  const unscaled = unscaledOf(text)
  return unscaled === null ? 'null' : bigintJson(rescaled(unscaled, scale, text))
}

/** Debezium's VariableScaleDecimal: trailing zeros are stripped, the scale never falls below zero. */
export function variableDecimalJson(text: string): string {
  const unscaled = unscaledOf(text)
  if (unscaled === null) return 'null'
  let { value, scale } = unscaled
  if (scale < 0) {
    value *= 10n ** BigInt(-scale)
    scale = 0
  }
  if (value === 0n) scale = 0
  // Zeros are counted in the text, not divided away one by one: a numeric may have 16,000 digits after the point.
  const zeros = /0*$/.exec(`${value}`)![0].length
  const strip = value === 0n ? 0 : Math.min(zeros, scale)
  return `{"scale":${scale - strip},"value":${bigintJson(value / 10n ** BigInt(strip))}}`
}

/** Quoted base64 of any integer's minimal two's complement. */
export function bigintJson(value: bigint): string {
  const magnitude = value < 0n ? -value - 1n : value
  const hex = magnitude.toString(16)
  // One bit more than the magnitude: the sign.
  const bits = (hex.length - 1) * 4 + (32 - Math.clz32(Number.parseInt(hex[0]!, 16))) + 1
  const bytes = Math.max(1, Math.ceil(bits / 8))
  const text = BigInt.asUintN(bytes * 8, value)
    .toString(16)
    .padStart(bytes * 2, '0')
  return `"${Buffer.from(text, 'hex').toString('base64')}"`
}
