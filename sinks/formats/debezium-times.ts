/** Dates, times, timestamps and intervals in the modes of `time.precision.mode` and `interval.handling.mode`. */
import { TidemarkError } from '../../core/errors.js'
import type { ColumnType } from '../../core/model.js'
import { dateJson, isoDateText, timeJson, timestampJson, zonedTime, zonedTimestamp } from './calendar.js'
import { putDate, timePut, timestampPut, zonedTimestampPut } from './calendar-bytes.js'
import type { DebeziumModes } from './debezium-modes.js'
import { type Interval, parseInterval } from './postgres-text.js'
import { fast, text, type ValueCodec } from './value-codec.js'

/** What a unit of `time.precision.mode` is, in digits after the second, or text. */
export type TimeUnit = 3 | 6 | 9 | 'iso'

/** The unit of a column of kind time or timestamp. */
export function timeUnit({ kind, precision }: ColumnType, mode: DebeziumModes['time']): TimeUnit {
  if (mode === 'isostring') return 'iso'
  if (mode === 'connect') return 3
  if (mode === 'microseconds') return 6
  if (mode === 'nanoseconds') return 9
  if (mode === 'adaptive_time_microseconds' && kind === 'time') return 6
  return (precision ?? 6) <= 3 ? 3 : 6
}

export function timeCodec(type: ColumnType, mode: DebeziumModes['time']): ValueCodec | null {
  const unit = timeUnit(type, mode)
  switch (type.kind) {
    case 'date':
      return unit === 'iso' ? text((value) => `"${isoDateText(value)}Z"`) : fast(putDate, dateJson)
    case 'time':
      return timeOfDayCodec(type, unit)
    case 'timestamp':
      return timestampCodec(type, unit)
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

/** Digits after the second that a value may have: the column's own where a coarser unit would refuse them. */
function sentDigits({ precision }: ColumnType): 3 | 6 {
  return (precision ?? 6) <= 3 ? 3 : 6
}

function timeOfDayCodec(type: ColumnType, unit: TimeUnit): ValueCodec {
  const sent = sentDigits(type)
  const exact = (value: string): string => timeJson(value, sent)
  if (unit === 'iso') return text((value) => `"${zonedTime(`${value}Z`)}"`)
  if (unit === sent) return fast(timePut(sent), exact)
  return text((value) => String(scaled(BigInt(exact(value)), sent, unit)))
}

function timestampCodec(type: ColumnType, unit: TimeUnit): ValueCodec {
  const sent = sentDigits(type)
  const exact = (value: string): string => timestampJson(value, sent)
  if (unit === 'iso') return text((value) => `"${isoTimestamp(value)}"`)
  // Years of four digits fit.
  if (unit === sent) return fast(timestampPut(sent), (value) => int64(BigInt(exact(value)), value))
  return text((value) => {
    const units = scaled(BigInt(exact(value)), sent, unit)
    // Debezium has no value for nanoseconds beyond 64 bits: before 1677, after 2262.
    return unit === 9 && !fitsInt64(units) ? 'null' : int64(units, value)
  })
}

function fitsInt64(units: bigint): boolean {
  return units <= INT64_MAX && units >= INT64_MIN
}

/** I7: the field is an int64, and PostgreSQL's last 30 years have no number of microseconds in it. Debezium's turns negative there. */
function int64(units: bigint, value: string): string {
  if (fitsInt64(units)) return String(units)
  throw new TidemarkError('format.value_out_of_range', {
    message: `The timestamp ${value} has no number of microseconds in 64 bits, which end in January of the year 294247.`,
    fix: 'Set time.precision.mode: connect (milliseconds) or isostring (text) where the sink has it, use row-json, or change the value at the source.',
  })
}

/** Units of 10^-from seconds in units of 10^-to seconds; lost digits are rounded down, as an instant's are. */
function scaled(value: bigint, from: number, to: number): bigint {
  if (to >= from) return value * 10n ** BigInt(to - from)
  const divisor = 10n ** BigInt(from - to)
  const quotient = value / divisor
  return value % divisor < 0n ? quotient - 1n : quotient
}

/** In UTC, with as many fractional digits as there are without trailing zeros. */
function isoTimestamp(value: string): string {
  if (value === 'infinity' || value === '-infinity') return value
  const full = zonedTimestamp(value, 6)
  return full.replace(/\.?0+Z$/, (zeros) => (zeros.startsWith('.') || full.includes('.') ? 'Z' : zeros))
}

const DAY_US = 86_400_000_000n
/** A month counts 30.4375 days. */
const MONTH_US = 2_629_800_000_000n
const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)

export function intervalCodec(mode: DebeziumModes['interval']): ValueCodec {
  return text(mode === 'numeric' ? intervalMicroseconds : (value) => `"${intervalText(value)}"`)
}

/** Microseconds; beyond 64 bits the nearest value that fits, as in Java. */
function intervalMicroseconds(value: string): string {
  if (value === 'infinity') return String(INT64_MAX)
  if (value === '-infinity') return String(INT64_MIN)
  const { months, days, microseconds } = parseInterval(value)
  const total = months * MONTH_US + days * DAY_US + microseconds
  return String(total > INT64_MAX ? INT64_MAX : total < INT64_MIN ? INT64_MIN : total)
}

const MINUTE_US = 60_000_000n
const HOUR_US = 60n * MINUTE_US

/** Every part in ISO 8601, each with its own sign: `P1Y2M3DT4H5M6.789S`. */
function intervalText(value: string): string {
  if (value === 'infinity' || value === '-infinity') return value
  const { months, days, microseconds }: Interval = parseInterval(value)
  const rest = microseconds % MINUTE_US
  const magnitude = rest < 0n ? -rest : rest
  const fraction = String(magnitude % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '')
  const seconds = `${rest < 0n ? '-' : ''}${magnitude / 1_000_000n}${fraction === '' ? '' : `.${fraction}`}`
  const minutes = (microseconds % HOUR_US) / MINUTE_US
  return `P${months / 12n}Y${months % 12n}M${days}DT${microseconds / HOUR_US}H${minutes}M${seconds}S`
}
