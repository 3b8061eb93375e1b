/**
 * Dates and times of every form that PostgreSQL prints: years beyond four digits, BC, any offset, infinities. No Date
 * objects, no local time zone. The usual forms are written faster by calendar-bytes.ts.
 */
import { unreadable } from './unreadable.js'

const DAY_S = 86_400
/** Days since 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC. */
export function daysOf(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = (((month + (month > 2 ? -3 : 9)) * 153 + 2) / 5) | 0
  return era * 146_097 + yearOfEra * 365 + ((yearOfEra / 4) | 0) - ((yearOfEra / 100) | 0) + dayOfYear + day - 719_469
}

/** JSON text of days since 1970. */
export function dateJson(text: string): string {
  return String(wideDays(text))
}

const CLOCK = /^(\d\d):(\d\d):(\d\d)(?:\.(\d+))?$/

/** JSON text of the time since midnight, in units of 10^-digits seconds. */
export function timeJson(text: string, digits: 3 | 6): string {
  const match = CLOCK.exec(text)
  const fraction = match?.[4] ?? ''
  if (match === null || fraction.length > digits) throw unreadable(`time with ${digits} fractional digits`, text)
  const seconds = Number(match[1]) * 3600 + Number(match[2]) * 60 + Number(match[3])
  return String(seconds * 10 ** digits + Number(fraction.padEnd(digits, '0')))
}

interface Moment {
  /** Years BC count down from 0. */
  readonly year: number
  readonly month: number
  readonly day: number
  /** Seconds of the day as written, before the offset. */
  readonly seconds: number
  readonly fraction: string
  readonly offsetSeconds: number
}

const MOMENT = /^(\d{4,})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d(?::?\d\d){0,2})?( BC)?$/

function momentOf(text: string): Moment {
  const match = MOMENT.exec(text)
  if (match === null) throw unreadable('date or timestamp', text)
  const year = Number(match[1])
  return {
    year: match[9] === undefined ? year : 1 - year,
    month: Number(match[2]),
    day: Number(match[3]),
    seconds: Number(match[4] ?? 0) * 3600 + Number(match[5] ?? 0) * 60 + Number(match[6] ?? 0),
    fraction: match[7] ?? '',
    offsetSeconds: offsetSeconds(match[8]),
  }
}

function offsetSeconds(text: string | undefined): number {
  if (text === undefined || text === 'Z') return 0
  const [hours = 0, minutes = 0, seconds = 0] = text.slice(1).match(/\d\d/g)!.map(Number)
  return (hours * 3600 + minutes * 60 + seconds) * (text[0] === '-' ? -1 : 1)
}

/** What Debezium writes for infinite dates: PostgreSQL's own day numbers, moved to 1970 in 32 bits. */
const DATE_INFINITY = -2_147_472_692
const DATE_MINUS_INFINITY = -2_147_472_691

function wideDays(text: string): number {
  if (text === 'infinity') return DATE_INFINITY
  if (text === '-infinity') return DATE_MINUS_INFINITY
  const { year, month, day } = momentOf(text)
  return daysOf(year, month, day)
}

/** JSON text of seconds since 1970, in units of 10^-digits seconds; microseconds may be more than 64 bits hold. */
export function timestampJson(text: string, digits: 3 | 6): string {
  if (text === 'infinity') return digits === 6 ? '9223372036825200000' : '9223372036825200'
  if (text === '-infinity') return digits === 6 ? '-9223372036832400000' : '-9223372036832400'
  const { year, month, day, seconds, fraction } = momentOf(text)
  if (fraction.length > digits) throw unreadable(`timestamp with ${digits} fractional digits`, text)
  const whole = BigInt(daysOf(year, month, day) * DAY_S + seconds)
  return String(whole * 10n ** BigInt(digits) + BigInt(fraction.padEnd(digits, '0')))
}

/** ISO 8601 in UTC with exactly `digits` fractional digits, e.g. `2024-02-29T10:34:56.123456Z`; infinities as they are. */
export function zonedTimestamp(text: string, digits: number): string {
  if (text === 'infinity' || text === '-infinity') return text
  const moment = momentOf(text)
  if (moment.fraction.length > digits) throw unreadable(`timestamp with ${digits} fractional digits`, text)
  const seconds = daysOf(moment.year, moment.month, moment.day) * DAY_S + moment.seconds - moment.offsetSeconds
  const days = Math.floor(seconds / DAY_S)
  const fraction = digits === 0 ? '' : `.${moment.fraction.padEnd(digits, '0')}`
  return `${isoDate(days)}T${clock(seconds - days * DAY_S)}${fraction}Z`
}

/** ISO date of a day number, with a sign for years outside 0 to 9999. */
export function isoDate(days: number): string {
  const z = days + 719_468
  const era = Math.floor(z / 146_097)
  const dayOfEra = z - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shifted = Math.floor((5 * dayOfYear + 2) / 153)
  const month = shifted + (shifted < 10 ? 3 : -9)
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const digits = String(Math.abs(year)).padStart(4, '0')
  const sign = year < 0 ? '-' : year > 9999 ? '+' : ''
  return `${sign}${digits}-${pad(month)}-${pad(dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1)}`
}

function pad(value: number): string {
  return value < 10 ? `0${value}` : String(value)
}

function clock(seconds: number): string {
  return `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`
}

const ZONED_TIME = /^(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d){0,2})$/

/** A time with an offset, moved to UTC and with no more fractional digits than it needs, e.g. `07:04:56.5Z`. */
export function zonedTime(text: string): string {
  const match = ZONED_TIME.exec(text)
  if (match === null) throw unreadable('time with time zone', text)
  const fraction = (match[4] ?? '').replace(/0+$/, '')
  const written = Number(match[1]) * 3600 + Number(match[2]) * 60 + Number(match[3])
  const offset = offsetSeconds(match[5])
  // 24:00:00 is a value of its own in UTC; with another offset it has none.
  const utc = written === DAY_S && offset === 0 ? DAY_S : (((written - offset) % DAY_S) + DAY_S) % DAY_S
  return `${clock(utc)}${fraction === '' ? '' : `.${fraction}`}Z`
}

/** Dates and timestamps as ISO 8601 text with the digits the source sent: BC becomes a signed year, UTC becomes Z. */
export function isoText(text: string): string {
  if (text === 'infinity' || text === '-infinity') return text
  // An offset stands behind a time: the day of a year beyond four digits is none.
  const zoned = /:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d){0,2})(?: BC)?$/.test(text)
  if (zoned) return zonedTimestamp(text, (/\.(\d+)/.exec(text)?.[1] ?? '').length)
  const moment = momentOf(text)
  const date = isoDate(daysOf(moment.year, moment.month, moment.day))
  if (!/[ T]/.test(text.replace(/ BC$/, ''))) return date
  return `${date}T${clock(moment.seconds)}${moment.fraction === '' ? '' : `.${moment.fraction}`}`
}

/** A date as ISO 8601, with a sign for years outside 0 to 9999; infinities as they are. */
export function isoDateText(text: string): string {
  if (text === 'infinity' || text === '-infinity') return text
  const { year, month, day } = momentOf(text)
  return isoDate(daysOf(year, month, day))
}

/** Milliseconds since 1970 of microseconds. */
export function floorMs(us: bigint): bigint {
  return us >= 0n ? us / 1000n : (us - 999n) / 1000n
}
