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
  return value === 0 ? zero(value) : spell(value, value.toExponential())
}

/** The same for a number that is a 32-bit float: fewer digits tell it from its neighbours. */
export function floatJson(given: number): string {
  const value = Math.fround(given)
  if (!Number.isFinite(value)) return `"${value}"`
  if (value === 0) return zero(value)
  for (let digits = 0; digits < FLOAT_DIGITS_MAX; digits++) {
    const text = value.toExponential(digits)
    if (Math.fround(Number(text)) === value) return spell(value, text)
  }
  return spell(value, value.toExponential(FLOAT_DIGITS_MAX))
}

/** Digits after the first that every float needs at most. */
const FLOAT_DIGITS_MAX = 8

function zero(value: number): string {
  return Object.is(value, -0) ? '-0.0' : '0.0'
}

/** `text` is in exponential form with the shortest digits. */
function spell(value: number, text: string): string {
  const [mantissa = '', e = ''] = text.split('e')
  const exponent = Number(e)
  const sign = value < 0 ? '-' : ''
  let digits = mantissa.replace(/[-.]/g, '')
  if (exponent >= PLAIN_EXPONENT_MIN && exponent <= PLAIN_EXPONENT_MAX) {
    if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
    const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0')
    return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`
  }
  // Of two digits Java takes the nearest, where one would do: 4.9E-324.
  if (digits.length === 1) digits = value.toExponential(1).replace(/[-.]|e.*/g, '')
  return `${sign}${digits[0]}.${digits.slice(1)}E${exponent}`
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
