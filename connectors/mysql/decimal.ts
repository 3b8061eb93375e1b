/**
 * DECIMAL as the log and JSON hold it: groups of nine digits in four bytes, big-endian, the first bit of the whole flipped and
 * every bit of a negative number too.
 */
const GROUP_DIGITS = 9
const GROUP_BYTES = 4
/** Bytes of a group that is not full, by its digits. */
const PARTIAL_BYTES = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]
const ZEROS = '000000000'

export function decimalBytes(precision: number, scale: number): number {
  return groupsBytes(precision - scale) + groupsBytes(scale)
}

function groupsBytes(digits: number): number {
  return Math.floor(digits / GROUP_DIGITS) * GROUP_BYTES + PARTIAL_BYTES[digits % GROUP_DIGITS]!
}

/** Reads the number at `at`; compiled for one precision and scale. */
export function decimalReader(precision: number, scale: number): (bytes: Buffer, at: number) => string {
  const whole = groupSizes(precision - scale, true)
  const fraction = groupSizes(scale, false)
  return (bytes, at) => {
    const negative = (bytes[at]! & 0x80) === 0
    const mask = negative ? 0xff : 0
    let text = ''
    let first = true
    const group = (size: number) => {
      let value = 0
      for (let i = 0; i < size; i++) {
        let byte = bytes[at++]! ^ mask
        if (first) {
          byte ^= 0x80
          first = false
        }
        value = value * 256 + byte
      }
      return value
    }
    for (const { bytes: size } of whole) {
      const value = group(size)
      if (text !== '') text += padded(value, GROUP_DIGITS)
      else if (value !== 0) text = String(value)
    }
    if (text === '') text = '0'
    if (scale === 0) return negative ? `-${text}` : text
    text += '.'
    for (const { bytes: size, digits } of fraction) text += padded(group(size), digits)
    return negative ? `-${text}` : text
  }
}

interface Group {
  readonly bytes: number
  readonly digits: number
}

/** The group that is not full comes first before the point and last behind it. */
function groupSizes(digits: number, partialFirst: boolean): Group[] {
  const full = Array.from({ length: Math.floor(digits / GROUP_DIGITS) }, () => ({
    bytes: GROUP_BYTES,
    digits: GROUP_DIGITS,
  }))
  const rest = digits % GROUP_DIGITS
  if (rest === 0) return full
  const partial = { bytes: PARTIAL_BYTES[rest]!, digits: rest }
  return partialFirst ? [partial, ...full] : [...full, partial]
}

function padded(value: number, digits: number): string {
  const text = String(value)
  return text.length >= digits ? text : ZEROS.slice(0, digits - text.length) + text
}
