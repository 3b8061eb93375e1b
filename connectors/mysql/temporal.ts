/** Dates and times of the log as the server prints them. */
const TWO = Array.from({ length: 100 }, (_, n) => String(n).padStart(2, '0'))

/** Days that were written before: rows of one time share them. */
const days = new Map<number, string>()
const DAYS_MAX = 20_000

export function dateText(year: number, month: number, day: number): string {
  const at = (year << 9) | (month << 5) | day
  const known = days.get(at)
  if (known !== undefined) return known
  if (days.size >= DAYS_MAX) days.clear()
  const text = `${String(year).padStart(4, '0')}-${TWO[month]}-${TWO[day]}`
  days.set(at, text)
  return text
}

export function clockText(hour: number, minute: number, second: number): string {
  return `${hour < 100 ? TWO[hour] : hour}:${TWO[minute]}:${TWO[second]}`
}

/** `.123` of microseconds, '' for no digits. */
export function fractionText(microseconds: number, digits: number): string {
  if (digits === 0) return ''
  const text = String(microseconds)
  const six = text.length === 6 ? text : '000000'.slice(text.length) + text
  return digits === 6 ? `.${six}` : `.${six.slice(0, digits)}`
}

export const fractionBytes = (digits: number) => (digits + 1) >> 1

/** Microseconds of a big-endian fraction of so many digits. */
function fraction(bytes: Buffer, at: number, digits: number): number {
  switch (fractionBytes(digits)) {
    case 0:
      return 0
    case 1:
      return bytes[at]! * 10_000
    case 2:
      return ((bytes[at]! << 8) | bytes[at + 1]!) * 100
    default:
      return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!
  }
}

export function date3(b: Buffer, at: number): string {
  const v = b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16)
  return dateText(v >> 9, (v >> 5) & 15, v & 31)
}

/** DATETIME since 5.6: 5 bytes big-endian, then the fraction. */
export function datetime5(b: Buffer, at: number, digits: number): string {
  const high = ((b[at]! & 0x7f) << 16) | (b[at + 1]! << 8) | b[at + 2]!
  // 17 bits of months, 5 of days, 5 of hours, 6 of minutes, 6 of seconds.
  const months = high >> 6
  const low = ((b[at + 2]! & 0x3f) << 16) | (b[at + 3]! << 8) | b[at + 4]!
  const day = dateText(Math.floor(months / 13), months % 13, low >> 17)
  return `${day} ${clockText((low >> 12) & 31, (low >> 6) & 63, low & 63)}${fractionText(fraction(b, at + 5, digits), digits)}`
}

const ZERO_DAY = '0000-00-00 00:00:00'

/** TIMESTAMP since 5.6: seconds big-endian, then the fraction, in UTC. MariaDB since 11.5 has times up to 2106. */
export function timestamp4(b: Buffer, at: number, digits: number): string {
  return timestampText(b.readUInt32BE(at), fraction(b, at + 4, digits), digits)
}

export function timestampText(seconds: number, microseconds: number, digits: number): string {
  if (seconds === 0 && microseconds === 0) return ZERO_DAY + fractionText(0, digits)
  const iso = new Date(seconds * 1000).toISOString()
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}${fractionText(microseconds, digits)}+00`
}

/** TIME since 5.6: 3 bytes and the fraction as one big-endian number, the first bit set for positive ones. */
export function time3(b: Buffer, at: number, digits: number): string {
  const bytes = 3 + fractionBytes(digits)
  let v = 0
  for (let i = 0; i < bytes; i++) v = v * 256 + b[at + i]!
  const half = 2 ** (8 * bytes - 1)
  const negative = v < half
  v = Math.abs(v - half)
  const unit = 256 ** (bytes - 3)
  const whole = Math.floor(v / unit)
  const part = v - whole * unit
  const micros = bytes === 4 ? part * 10_000 : bytes === 5 ? part * 100 : part
  const text = clockText(whole >> 12, (whole >> 6) & 63, whole & 63) + fractionText(micros, digits)
  return negative ? `-${text}` : text
}

const FRACTION_BITS = 24n

/** As inside JSON: always six digits. */
export function timePacked(packed: bigint): string {
  const negative = packed < 0n
  const size = negative ? -packed : packed
  const whole = Number(size >> FRACTION_BITS)
  const text = clockText((whole >> 12) & 0x3ff, (whole >> 6) & 63, whole & 63)
  return `${negative ? '-' : ''}${text}${fractionText(Number(size & 0xffffffn), 6)}`
}

export function datetimePacked(packed: bigint): string {
  const whole = packed >> FRACTION_BITS
  const days = Number(whole >> 17n)
  const months = days >> 5
  const time = Number(whole & 0x1ffffn)
  const day = dateText(Math.floor(months / 13), months % 13, days & 31)
  return `${day} ${clockText(time >> 12, (time >> 6) & 63, time & 63)}${fractionText(Number(packed & 0xffffffn), 6)}`
}

// ---- before 5.6, and MariaDB's tables of that format

export function oldDatetime(value: bigint): string {
  const digits = String(value).padStart(14, '0')
  const at = (from: number, to: number) => digits.slice(from, to)
  return `${at(0, 4)}-${at(4, 6)}-${at(6, 8)} ${at(8, 10)}:${at(10, 12)}:${at(12, 14)}`
}

export function oldTime(v: number): string {
  const size = Math.abs(v)
  const text = clockText(Math.floor(size / 10_000), Math.floor(size / 100) % 100, size % 100)
  return v < 0 ? `-${text}` : text
}
