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
  const groups = [...groupSizes(precision - scale, true), ...groupSizes(scale, false)]
  const sizes = Uint8Array.from(groups, (group) => group.bytes)
  const digits = Uint8Array.from(groups, (group) => group.digits)
  const whole = groupSizes(precision - scale, true).length
  return (bytes, start) => {
    const negative = (bytes[start]! & 0x80) === 0
    let text = ''
    let at = start
    for (let i = 0; i < sizes.length; i++) {
      const size = sizes[i]!
      let value = readGroup(bytes, at, size)
      // The first bit of the whole is flipped, and every bit of a negative number.
      const half = at === start ? 2 ** (8 * size - 1) : 0
      if (half > 0) value = value >= half ? value - half : value + half
      if (negative) value = 2 ** (8 * size) - 1 - value
      at += size
      if (i === whole) text = text === '' ? '0.' : `${text}.`
      if (i >= whole || text !== '') text += padded(value, digits[i]!)
      else if (value !== 0) text = String(value)
    }
    if (text === '') text = '0'
    return negative ? `-${text}` : text
  }
}

function readGroup(b: Buffer, at: number, size: number): number {
  switch (size) {
    case 1:
      return b[at]!
    case 2:
      return (b[at]! << 8) | b[at + 1]!
    case 3:
      return (b[at]! << 16) | (b[at + 1]! << 8) | b[at + 2]!
    default:
      return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0
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
