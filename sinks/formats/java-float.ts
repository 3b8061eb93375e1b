/**
 * Floating-point numbers as Java 19 and later spell them, which is what Debezium's JSON holds: always a point or an
 * exponent, exponents outside 0.001 to 10,000,000 only, and the shortest digits that read back as the same number.
 * PostgreSQL's own text has the same digits, except beyond 15 digits where a number lies at the edge of its interval.
 */
import { fast, type ValueCodec } from './value-codec.js'

const PLAIN_EXPONENT_MIN = -3
const PLAIN_EXPONENT_MAX = 6

/** JSON of a double: NaN and infinities are strings, as Connect's converter writes them. */
export function doubleJson(value: number): string {
  if (!Number.isFinite(value)) return `"${value}"`
  if (value === 0) return zero(value)
  const text = value.toExponential()
  // Of two digits Java takes the nearest, where one would do: 4.9E-324.
  return spell(text.includes('.') ? text : value.toExponential(1))
}

/** The same for a number that is a 32-bit float: fewer digits tell it from its neighbours. */
export function floatJson(given: number): string {
  const value = Math.fround(given)
  if (!Number.isFinite(value)) return `"${value}"`
  if (value === 0) return zero(value)
  for (let digits = 1; digits < FLOAT_DIGITS_MAX; digits++) {
    const found = floatDigits(value, digits)
    if (found !== null) return spell(found)
  }
  return spell(value.toExponential(FLOAT_DIGITS_MAX))
}

/** Digits after the first that every float needs at most. */
const FLOAT_DIGITS_MAX = 8
/** No float has more digits at all. */
const EXACT_DIGITS = 100

/** The nearest decimal with so many digits after the first that reads back as the float; of two, the even one. */
function floatDigits(value: number, digits: number): string | null {
  const nearest = value.toExponential(digits)
  const [mantissa = '', exponent = ''] = nearest.split('e')
  const whole = Number(mantissa.replace('.', ''))
  const up = whole + Math.sign(whole)
  const down = whole - Math.sign(whole)
  const text = (units: number): string => `${units / 10 ** digits}e${exponent}`
  const reads = (candidate: string): boolean => Math.fround(Number(candidate)) === value
  if (!reads(nearest)) {
    // Above a power of two the neighbour is twice as far away as below it.
    return reads(text(up)) ? text(up) : reads(text(down)) ? text(down) : null
  }
  if (whole % 2 === 0) return nearest
  return isTie(value, digits) && reads(text(down)) ? text(down) : nearest
}

/** The digits behind the given ones are exactly a half. */
function isTie(value: number, digits: number): boolean {
  const exact = value.toExponential(EXACT_DIGITS)
  const point = exact.indexOf('.')
  return /^50*$/.test(exact.slice(point + 1 + digits, exact.indexOf('e')))
}

function zero(value: number): string {
  return Object.is(value, -0) ? '-0.0' : '0.0'
}

/** Java's spelling of a number in exponential form. */
function spell(text: string): string {
  const [mantissa = '', e = ''] = text.split('e')
  const exponent = Number(e)
  const sign = mantissa.startsWith('-') ? '-' : ''
  const digits = mantissa.replace(/[-.]/g, '').replace(/(?<=\d)0+$/, '')
  if (exponent >= PLAIN_EXPONENT_MIN && exponent <= PLAIN_EXPONENT_MAX) {
    if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
    const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0')
    return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`
  }
  return `${sign}${digits[0]}.${digits.slice(1) || '0'}E${exponent}`
}

const POINT = 46
const ZERO = 48
/** Whole digits up to which Java writes no exponent. */
const WHOLE_DIGITS_MAX = PLAIN_EXPONENT_MAX + 1

/**
 * Copies text that is Java's already: no exponent, from 0.001 to below 10,000,000, where no shorter digits can lie at
 * the edge of a number's interval, because such an edge has more than 17 digits itself.
 */
function putFloat(bytes: Buffer, at: number, source: Buffer, from: number, length: number): number {
  const start = source[from] === 45 ? from + 1 : from
  const end = from + length
  let point = end
  for (let i = start; i < end; i++) {
    const c = source[i]!
    if (c >= ZERO && c <= 57) continue
    if (c !== POINT || point !== end) return -1
    point = i
  }
  const whole = point - start
  if (whole < 1 || whole > WHOLE_DIGITS_MAX || length > FLOAT_TEXT_BYTES_MAX) return -1
  if (source[start] === ZERO && end - point > 3) {
    if (source[point + 1] === ZERO && source[point + 2] === ZERO && source[point + 3] === ZERO) return -1
  }
  for (let i = 0; i < length; i++) bytes[at + i] = source[from + i]!
  if (point !== end) return at + length
  bytes[at + length] = POINT
  bytes[at + length + 1] = ZERO
  return at + length + 2
}

const FLOAT_TEXT_BYTES_MAX = 32

export const JAVA_DOUBLE: ValueCodec = fast(putFloat, (value) => doubleJson(Number(value)))
export const JAVA_FLOAT: ValueCodec = fast(putFloat, (value) => floatJson(Number(value)))
