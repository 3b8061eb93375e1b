/**
 * The usual forms of dates and times, converted from bytes to bytes. Every function answers -1 for a form that it does
 * not know; calendar.ts knows them all.
 */
import { daysOf } from './calendar.js'

const DAY_S = 86_400
const POW9 = 1e9
const NO_DIGITS = -1e15
const MICRO_DIGITS = 6
const DAYS_YEAR_1 = -719_162

/** Two digits; if they are none, something so far below zero that no sum with it is positive. */
function two(source: Buffer, at: number): number {
  const tens = source[at]! - 48
  const ones = source[at + 1]! - 48
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : NO_DIGITS
}

/** Days of the date `YYYY-MM-DD`; minus infinity if it is none. */
function daysAt(source: Buffer, at: number): number {
  const year = two(source, at) * 100 + two(source, at + 2)
  const month = two(source, at + 5)
  const day = two(source, at + 8)
  return year < 0 || month < 1 || day < 1 ? Number.NEGATIVE_INFINITY : daysOf(year, month, day)
}

/** Seconds of the time `HH:MM:SS`. */
function clockAt(source: Buffer, at: number): number {
  return two(source, at) * 3600 + two(source, at + 3) * 60 + two(source, at + 6)
}

/** Writes an integer from 0 to 2^53. */
export function putUnsigned(bytes: Buffer, at: number, value: number): number {
  if (value >= POW9) {
    const high = Math.floor(value / POW9)
    return putPadded(bytes, putUnsigned(bytes, at, high), value - high * POW9, 9)
  }
  return putPadded(bytes, at, value, digitCount(value))
}

function digitCount(value: number): number {
  if (value < 100_000) return value < 10 ? 1 : value < 100 ? 2 : value < 1000 ? 3 : value < 10_000 ? 4 : 5
  return value < 1_000_000 ? 6 : value < 10_000_000 ? 7 : value < 100_000_000 ? 8 : 9
}

function putPadded(bytes: Buffer, at: number, value: number, digits: number): number {
  let rest = value | 0
  for (let p = at + digits - 1; p >= at; p--) {
    const next = (rest / 10) | 0
    bytes[p] = 48 + rest - next * 10
    rest = next
  }
  return at + digits
}

/** Copies digits and pads them with zeros to `width`. */
function putFraction(bytes: Buffer, at: number, source: Buffer, from: number, given: number, width: number): number {
  for (let i = 0; i < given; i++) bytes[at + i] = source[from + i]!
  for (let i = given; i < width; i++) bytes[at + i] = 48
  return at + width
}

/** Number of digits after the seconds that end at `at`; -1 if something else or too much follows there. */
function fractionLength(source: Buffer, at: number, end: number, max: number): number {
  if (end === at) return 0
  const given = end - at - 1
  if (source[at] !== 46 || given < 1 || given > max) return -1
  for (let i = at + 1; i < end; i++) if (source[i]! < 48 || source[i]! > 57) return -1
  return given
}

function isDateAt(source: Buffer, at: number): boolean {
  return source[at + 4] === 45 && source[at + 7] === 45
}

function isClockAt(source: Buffer, at: number): boolean {
  return source[at + 2] === 58 && source[at + 5] === 58
}

/** Days since 1970. */
export function putDate(bytes: Buffer, at: number, source: Buffer, from: number, length: number): number {
  if (length !== 10 || !isDateAt(source, from)) return -1
  const days = daysAt(source, from)
  if (days < DAYS_YEAR_1) return -1
  if (days >= 0) return putUnsigned(bytes, at, days)
  bytes[at] = 45
  return putUnsigned(bytes, at + 1, -days)
}

/** A plain date as quoted text. */
export function putIsoDate(bytes: Buffer, at: number, source: Buffer, from: number, length: number): number {
  if (length !== 10 || !isDateAt(source, from) || daysAt(source, from) < DAYS_YEAR_1) return -1
  bytes[at] = 34
  for (let i = 0; i < 10; i++) bytes[at + 1 + i] = source[from + i]!
  bytes[at + 11] = 34
  return at + 12
}

type Put = (bytes: Buffer, at: number, source: Buffer, from: number, length: number) => number

/** Time since 1970 in units of 10^-digits seconds; after 1970 only, where digits can be copied. */
export function timestampPut(digits: 3 | 6): Put {
  return (bytes, at, source, from, length) => {
    if (length < 19 || !isDateAt(source, from) || source[from + 10] !== 32 || !isClockAt(source, from + 11)) return -1
    const fraction = fractionLength(source, from + 19, from + length, digits)
    const seconds = daysAt(source, from) * DAY_S + clockAt(source, from + 11)
    if (fraction < 0 || seconds <= 0) return -1
    return putFraction(bytes, putUnsigned(bytes, at, seconds), source, from + 20, fraction, digits)
  }
}

/** Time since midnight in units of 10^-digits seconds. */
export function timePut(digits: 3 | 6): Put {
  return (bytes, at, source, from, length) => {
    if (length < 8 || !isClockAt(source, from)) return -1
    const fraction = fractionLength(source, from + 8, from + length, digits)
    const seconds = clockAt(source, from)
    if (fraction < 0 || seconds <= 0) return -1
    return putFraction(bytes, putUnsigned(bytes, at, seconds), source, from + 9, fraction, digits)
  }
}

/** `2024-02-29 10:34:56.123456+00` as quoted ISO 8601 with `digits` fractional digits, or as many as there are. */
export function zonedTimestampPut(digits: number | null): Put {
  return (bytes, at, source, from, length) => {
    const end = from + length - 3
    if (length < 22 || source[end] !== 43 || source[end + 1] !== 48 || source[end + 2] !== 48) return -1
    const p = putIsoTimestamp(bytes, at, source, from, end, digits)
    if (p < 0) return -1
    bytes[p] = 90
    bytes[p + 1] = 34
    return p + 2
  }
}

/** `2024-02-29 10:34:56.123456` as quoted ISO 8601 with the digits there are. */
export function putLocalTimestamp(bytes: Buffer, at: number, source: Buffer, from: number, length: number): number {
  const p = putIsoTimestamp(bytes, at, source, from, from + length, null)
  if (p < 0) return -1
  bytes[p] = 34
  return p + 1
}

function putIsoTimestamp(bytes: Buffer, at: number, source: Buffer, from: number, end: number, digits: number | null) {
  if (end < from + 19 || !isDateAt(source, from) || source[from + 10] !== 32 || !isClockAt(source, from + 11)) return -1
  const given = fractionLength(source, from + 19, end, digits ?? MICRO_DIGITS)
  if (given < 0) return -1
  bytes[at] = 34
  for (let i = 0; i < 19; i++) bytes[at + 1 + i] = source[from + i]!
  bytes[at + 11] = 84
  const width = digits ?? given
  if (width === 0) return at + 20
  bytes[at + 20] = 46
  return putFraction(bytes, at + 21, source, from + 20, given, width)
}
