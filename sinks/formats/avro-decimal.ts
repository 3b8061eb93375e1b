/** Decimals as Avro's bytes: the unscaled value, big-endian two's complement, in the fewest bytes that hold its sign. */
import { putLong } from './avro-bytes.js'
import type { ByteWriter } from './byte-writer.js'

/** Every integer of so many digits is exact in a double. */
const EXACT_DIGITS_MAX = 15

/** The unscaled value of plain decimal text of up to 15 digits; NaN for any other. */
export function unscaledDigits(source: Buffer, from: number, length: number, scale: number): number {
  const end = from + length
  const negative = source[from] === 45
  let magnitude = 0
  let digits = 0
  let point = -1
  let c = -1
  for (let i = negative ? from + 1 : from; i < end; i++) {
    c = source[i]! - 48
    if (c >= 0 && c <= 9) {
      magnitude = magnitude * 10 + c
      if (magnitude !== 0) digits++
    } else if (c === -2 && point < 0) point = i
    else return Number.NaN
  }
  const missing = scale - (point < 0 ? 0 : end - point - 1)
  if (c < 0 || missing < 0 || digits + missing > EXACT_DIGITS_MAX) return Number.NaN
  const unscaled = magnitude * 10 ** missing
  return negative ? -unscaled : unscaled
}

/** Writes an integer of up to 15 digits with its length. */
export function putUnscaled(writer: ByteWriter, value: number): void {
  const negative = value < 0
  // The bits that differ from the sign: one's complement of a negative number.
  let rest = negative ? -value - 1 : value
  let size = 1
  for (let limit = 128; rest >= limit; limit *= 256) size++
  putLong(writer, size)
  writer.reserve(writer.length, size)
  const { bytes } = writer
  for (let i = writer.length + size - 1; i >= writer.length; i--) {
    const byte = rest % 256
    bytes[i] = negative ? 255 - byte : byte
    rest = (rest - byte) / 256
  }
  writer.length += size
}
