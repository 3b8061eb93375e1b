/** How JavaScript orders keys of the types whose order on the server it provably repeats (D5). */
import type { KeyColumn } from './catalog.js'

export type Compare = (a: string, b: string) => number

/** Null: only the server knows. */
export function comparator({ base, byteOrder }: Pick<KeyColumn, 'base' | 'byteOrder'>): Compare | null {
  switch (base) {
    case 'int2':
    case 'int4':
    case 'int8':
    case 'oid':
      return compareIntegers
    case 'numeric':
      return compareDecimals
    case 'uuid':
    case 'bytea':
    case 'bool':
      return compareAscii
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return compareDates
    case 'text':
    case 'varchar':
    case 'name':
      return byteOrder ? compareUtf8 : null
    default:
      return null
  }
}

/** Lower-case hex and single letters: code units order as bytes do. */
function compareAscii(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1
}

export function compareIntegers(a: string, b: string): number {
  if (a === b) return 0
  const negative = a.charCodeAt(0) === 45
  if (negative !== (b.charCodeAt(0) === 45)) return negative ? -1 : 1
  const sign = a.length !== b.length ? a.length - b.length : a < b ? -1 : 1
  return negative ? -sign : sign
}

/** NaN is greatest, above infinity; 1.0 equals 1.00. */
export function compareDecimals(a: string, b: string): number {
  if (a === b) return 0
  const ra = decimalRank(a)
  const rb = decimalRank(b)
  if (ra !== rb) return ra - rb
  if (ra !== 1) return 0
  const negative = a.charCodeAt(0) === 45
  const otherNegative = b.charCodeAt(0) === 45
  const [ai, af] = decimalParts(a)
  const [bi, bf] = decimalParts(b)
  const zero = ai === '' && af === '' && bi === '' && bf === ''
  if (zero) return 0
  if (negative !== otherNegative) return negative ? -1 : 1
  const sign =
    ai.length !== bi.length ? ai.length - bi.length : ai !== bi ? (ai < bi ? -1 : 1) : af === bf ? 0 : af < bf ? -1 : 1
  return negative ? -sign : sign
}

function decimalRank(text: string): number {
  return text === '-Infinity' ? 0 : text === 'Infinity' ? 2 : text === 'NaN' ? 3 : 1
}

/** Digits before and after the point, without sign and without zeros that mean nothing. */
function decimalParts(text: string): [string, string] {
  const digits = text.charCodeAt(0) === 45 ? text.slice(1) : text
  const point = digits.indexOf('.')
  const whole = point < 0 ? digits : digits.slice(0, point)
  const fraction = point < 0 ? '' : digits.slice(point + 1)
  return [whole.replace(/^0+/, ''), fraction.replace(/0+$/, '')]
}

/** ISO dates and timestamps in UTC, with BC and infinities. */
export function compareDates(a: string, b: string): number {
  if (a === b) return 0
  const ra = dateRank(a)
  const rb = dateRank(b)
  if (ra !== rb) return ra - rb
  const ya = a.indexOf('-', 1)
  const yb = b.indexOf('-', 1)
  const years = ya !== yb ? ya - yb : compareAscii(a.slice(0, ya), b.slice(0, yb))
  if (years !== 0) return ra === 1 ? -years : years
  return compareAscii(a.slice(ya), b.slice(yb))
}

function dateRank(text: string): number {
  return text === '-infinity' ? 0 : text.endsWith(' BC') ? 1 : text === 'infinity' ? 3 : 2
}

/** Code points, which order as UTF-8 bytes do; UTF-16 code units do not above U+D7FF. */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const ca = a.charCodeAt(i)
    const cb = b.charCodeAt(i)
    if (ca !== cb) return utf8Weight(ca) - utf8Weight(cb)
  }
  return a.length - b.length
}

function utf8Weight(unit: number): number {
  return unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit
}
