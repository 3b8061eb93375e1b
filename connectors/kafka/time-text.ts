/** Counts since an epoch as the texts that dialect `plain` has for dates and times, and ISO 8601 as the same. */

const SECONDS_OF_DAY = 86_400n
const DAYS_OF_ERA = 146_097n
/** What Debezium writes for PostgreSQL's infinities, in microseconds and in milliseconds. */
const INFINITIES: ReadonlyMap<bigint, string> = new Map([
  [9_223_372_036_825_200_000n, 'infinity'],
  [-9_223_372_036_832_400_000n, '-infinity'],
])
const INFINITIES_MS: ReadonlyMap<bigint, string> = new Map(
  [...INFINITIES].map(([us, text]) => [us / 1_000n, text] as const),
)
const INFINITE_DAYS: ReadonlyMap<bigint, string> = new Map([
  [-2_147_472_692n, 'infinity'],
  [-2_147_472_691n, '-infinity'],
])

/** Days since 1970, proleptic Gregorian; years before the first as PostgreSQL writes them. */
export function dateText(days: bigint): string {
  const infinite = INFINITE_DAYS.get(days)
  if (infinite !== undefined) return infinite
  const [day, era] = dayAndEra(days)
  return day + era
}

/** The day, and ` BC` where it belongs behind the time of day. */
function dayAndEra(days: bigint): [day: string, era: string] {
  // Counted from a first of March, the leap day comes last.
  const shifted = days + 719_468n
  const era = floorDivide(shifted, DAYS_OF_ERA)
  const dayOfEra = shifted - era * DAYS_OF_ERA
  const yearOfEra = (dayOfEra - dayOfEra / 1_460n + dayOfEra / 36_524n - dayOfEra / 146_096n) / 365n
  const dayOfYear = dayOfEra - (365n * yearOfEra + yearOfEra / 4n - yearOfEra / 100n)
  const shiftedMonth = (5n * dayOfYear + 2n) / 153n
  const day = dayOfYear - (153n * shiftedMonth + 2n) / 5n + 1n
  const month = shiftedMonth < 10n ? shiftedMonth + 3n : shiftedMonth - 9n
  const year = yearOfEra + era * 400n + (month <= 2n ? 1n : 0n)
  const shown = year > 0n ? year : 1n - year
  return [`${pad(shown, 4)}-${pad(month, 2)}-${pad(day, 2)}`, year > 0n ? '' : ' BC']
}

/** A time of day in units of which there are `unit` in a second: 24:00:00 is one. */
export function timeText(value: bigint, unit: bigint): string {
  const seconds = value / unit
  const hours = seconds / 3_600n
  return `${pad(hours, 2)}:${pad((seconds / 60n) % 60n, 2)}:${pad(seconds % 60n, 2)}${fraction(value % unit, unit)}`
}

/** Since 1970. `zone` stands behind the time. */
export function timestampText(value: bigint, unit: bigint, zone = ''): string {
  const infinite = (unit === 1_000_000n ? INFINITIES : unit === 1_000n ? INFINITIES_MS : null)?.get(value)
  if (infinite !== undefined) return infinite
  const seconds = floorDivide(value, unit)
  const days = floorDivide(seconds, SECONDS_OF_DAY)
  const [day, era] = dayAndEra(days)
  return `${day} ${timeText(value - days * SECONDS_OF_DAY * unit, unit)}${zone}${era}`
}

/** As hours, minutes and seconds. */
export function durationText(value: bigint, unit: bigint): string {
  return value < 0n ? `-${timeText(-value, unit)}` : timeText(value, unit)
}

const ISO = /^([+-]?\d{4,})-(\d\d)-(\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))?(Z|[+-]\d\d(?::?\d\d)?)?$/

/** `2024-02-29T10:34:56.1Z` as `2024-02-29 10:34:56.1+00`; another text stays as it is. */
export function isoText(text: string): string {
  const match = ISO.exec(text)
  if (match === null) return text
  const [, year = '', month, day, time, zone = ''] = match
  const signed = Number(year)
  const shown = pad(BigInt(signed > 0 ? signed : 1 - signed), 4)
  const era = signed > 0 ? '' : ' BC'
  const clock = time === undefined ? '' : ` ${time}`
  return `${shown}-${month}-${day}${clock}${time === undefined ? '' : zone === 'Z' ? '+00' : zone}${era}`
}

/** `07:04:56.5Z` as `07:04:56.5+00`. */
export function isoTimeText(text: string, zoned: boolean): string {
  return text.replace(/Z$/, zoned ? '+00' : '')
}

function fraction(value: bigint, unit: bigint): string {
  const digits = pad(value, String(unit).length - 1).replace(/0+$/, '')
  return value === 0n ? '' : `.${digits}`
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b
  return a % b < 0n ? quotient - 1n : quotient
}

function pad(value: bigint, width: number): string {
  return String(value).padStart(width, '0')
}
