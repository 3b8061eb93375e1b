/**
 * Numbers as MySQL and MariaDB print them, so that a value of the log and one of a SELECT have one text: the shortest digits
 * that read back as the same number, without an exponent while the decimal point lies within these places of the digits or
 * digits follow it.
 */
const POINT_MIN = -14
const POINT_MAX = 15

/** DOUBLE. */
export function doubleText(x: number): string {
  const size = Math.abs(x)
  // Within these limits JavaScript prints the same.
  if (size >= 1e-6 && size < 1e15) return String(x)
  if (x === 0) return Object.is(x, -0) ? '-0' : '0'
  return digitsText(x.toExponential())
}

/** FLOAT: the shortest digits that read back as the same 32-bit number. */
export function floatText(x: number): string {
  if (Number.isInteger(x) && Math.abs(x) < 1 << 24) return Object.is(x, -0) ? '-0' : String(x)
  for (let digits = 6; digits < 9; digits++) {
    const text = x.toPrecision(digits)
    if (Math.fround(Number(text)) === x) return doubleText(Number(text))
  }
  return doubleText(Number(x.toPrecision(9)))
}

/** `d.ddde+n` with the point moved, or with MySQL's exponent. */
function digitsText(exponential: string): string {
  const [, sign, head, tail = '', exponent] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(exponential)!
  const digits = head! + tail
  const point = Number(exponent) + 1
  if (point < POINT_MIN || (point > POINT_MAX && digits.length <= point))
    return `${sign}${head}${tail === '' ? '' : `.${tail}`}e${point - 1}`
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`
  if (digits.length <= point) return `${sign}${digits}${'0'.repeat(point - digits.length)}`
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`
}
