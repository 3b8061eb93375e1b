/** Types that only MariaDB has, as it prints them. */

const hex = (bytes: Uint8Array, from: number, to: number) =>
  Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('hex')

/** A UUID is stored with its parts in the order last to first where its version is a time-based one of RFC 4122's first kinds. */
export function uuidText(stored: Uint8Array): string {
  const bytes = isSwapped(stored) ? unswapped(stored) : stored
  return [
    [0, 4],
    [4, 6],
    [6, 8],
    [8, 10],
    [10, 16],
  ]
    .map(([from, to]) => hex(bytes, from!, to!))
    .join('-')
}

/** As memory holds it: versions 6 and up, and other variants, keep the order of their text. */
function isSwapped(b: Uint8Array): boolean {
  // In swapped form the variant is byte 6 and the version byte 8, which is never nothing; the server refuses what would be both.
  return (b[6]! & 0x80) !== 0 && b[8]! > 0 && b[8]! < 0x60
}

function unswapped(b: Uint8Array): Uint8Array {
  return Uint8Array.of(
    ...b.subarray(12, 16),
    ...b.subarray(10, 12),
    ...b.subarray(8, 10),
    ...b.subarray(6, 8),
    ...b.subarray(0, 6),
  )
}

/** The longest run of zero groups becomes `::`; addresses that hold an IPv4 one end in its form. */
export function inet6Text(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!)
  let best = { from: -1, length: 0 }
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > best.length) best = { from: i, length }
  }
  const v4 = [...bytes.subarray(12)].join('.')
  if (best.from === 0 && best.length === 6) return `::${v4}`
  if (best.from === 0 && best.length === 5 && groups[5] === 0xffff) return `::ffff:${v4}`
  const text = (list: readonly number[]) => list.map((g) => g.toString(16)).join(':')
  if (best.length < 2) return text(groups)
  return `${text(groups.slice(0, best.from))}::${text(groups.slice(best.from + best.length))}`
}
