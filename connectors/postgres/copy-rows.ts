/**
 * Messages of CopyData, one for each row, as rows: found as bytes in one pass, or made into values by whoever needs
 * those. The frames stay between the lines, because taking them out would move every byte once more.
 */
import { assert } from '../../core/errors.js'
import type { Row } from '../../core/model.js'
import { NULL_LENGTH, PACKED_SLACK_BYTES, type PackedRows, type PackedValues } from '../../core/packed-rows.js'
import { COPY_SLACK_BYTES, FRAME_BYTES } from '../../drivers/postgres-copy.js'
import { parseLines } from './copy-text.js'

const TAB = 0x09
const NEWLINE = 0x0a
const BACKSLASH = 0x5c
const CAPITAL_N = 0x4e
/** What a letter behind a backslash stands for; other characters stand for themselves. */
const ESCAPED = new Map([...'bfnrtv'].map((letter, i) => [letter.charCodeAt(0), '\b\f\n\r\t\v'.charCodeAt(i)]))

assert(COPY_SLACK_BYTES >= PACKED_SLACK_BYTES, 'pieces of COPY have the room that packed rows promise')

/** Shared by all pieces: thousands of small ones would each be memory of its own. */
let places = new Int32Array(8 * 1024)

/** Whole messages, with COPY_SLACK_BYTES behind them. */
export interface CopyPiece {
  readonly bytes: Buffer
  readonly count: number
  /** Where the last message begins. */
  readonly last: number
}

export class CopyRows implements PackedRows {
  readonly #piece: CopyPiece
  readonly #columns: number

  constructor(piece: CopyPiece, columns: number) {
    this.#piece = piece
    // A line of no columns is one empty field.
    this.#columns = Math.max(columns, 1)
  }

  get count(): number {
    return this.#piece.count
  }

  rows(): readonly Row[] {
    return parseLines(linesOf(this.#piece.bytes))
  }

  last(): Row {
    return lastRow(this.#piece)
  }

  values(): PackedValues {
    const size = 2 * this.count * this.#columns
    if (places.length < size) places = new Int32Array(size * 2)
    const scan = new Scan(this.#piece.bytes)
    scan.run(places)
    assert(scan.found === size, 'a row of COPY has another number of columns')
    return { bytes: scan.bytes, view: scan.view, places }
  }
}

/** One pass over the values of a piece. */
class Scan {
  bytes: Buffer
  view: DataView
  found = 0
  readonly #piece: Buffer

  constructor(piece: Buffer) {
    this.#piece = piece
    this.bytes = piece
    this.view = viewOf(piece)
  }

  run(places: Int32Array): void {
    const end = this.#piece.length
    let { bytes, view } = this
    let at = 0
    let start = FRAME_BYTES
    let i = start
    while (i < end) {
      const hits = specials(view.getInt32(i, true))
      if (hits === 0) {
        i += 4
        continue
      }
      // The lowest hit is always a true one.
      i += (31 - Math.clz32(hits & -hits)) >> 3
      const c = bytes[i]!
      let length = i - start
      if (c === BACKSLASH) {
        if (bytes[i + 1] === CAPITAL_N && length === 0) {
          // The whole field: text has no such pair, because it doubles its backslashes.
          length = NULL_LENGTH
          i += 2
        } else {
          if (bytes === this.#piece) ({ bytes, view } = this.#copied())
          const read = terminator(bytes, i)
          length = unescaped(bytes, i, read) - start
          i = read
        }
      } else if (c !== TAB && c !== NEWLINE) {
        i++
        continue
      }
      places[at] = start
      places[at + 1] = length
      at += 2
      start = i + (bytes[i] === NEWLINE ? 1 + FRAME_BYTES : 1)
      i = start
    }
    this.found = at
  }

  /** Values lose their escapes in a copy: the piece is read again by others. */
  #copied(): this {
    const { length } = this.#piece
    this.bytes = Buffer.allocUnsafeSlow(length + PACKED_SLACK_BYTES).subarray(0, length)
    this.#piece.copy(this.bytes)
    this.view = viewOf(this.bytes)
    return this
  }
}

/** A bit in each of four bytes that is a backslash or a control character below 16, and in some above such a byte. */
function specials(four: number): number {
  const slash = four ^ 0x5c5c5c5c
  return (((slash - 0x01010101) & ~slash) | ((four - 0x10101010) & ~four)) & 0x80808080
}

/** Where the field that `at` lies in ends: neither character is ever inside a value, where they are \t and \n. */
function terminator(bytes: Buffer, at: number): number {
  let i = at
  while (bytes[i] !== TAB && bytes[i] !== NEWLINE) i++
  return i
}

/** Takes the escapes out of the bytes from `from` to `end`, which move together. Returns their new end. */
function unescaped(bytes: Buffer, from: number, end: number): number {
  let write = from
  for (let i = from; i < end; i++) {
    const c = bytes[i]!
    if (c !== BACKSLASH) bytes[write++] = c
    else {
      const next = bytes[++i]!
      bytes[write++] = ESCAPED.get(next) ?? next
    }
  }
  return write
}

/** Both as one piece, if they lie behind each other in the same memory and are not too large together. */
export function joined(piece: CopyPiece, next: CopyPiece, bytesMax: number): CopyPiece | null {
  const { buffer, byteOffset, length } = piece.bytes
  const total = length + next.bytes.length
  if (total > bytesMax || next.bytes.buffer !== buffer || next.bytes.byteOffset !== byteOffset + length) return null
  return { bytes: Buffer.from(buffer, byteOffset, total), count: piece.count + next.count, last: length + next.last }
}

/** The lines without their frames. */
function linesOf(piece: Buffer): Buffer {
  const lines = Buffer.allocUnsafe(piece.length)
  let write = 0
  for (let at = 0; at < piece.length; at = frameEnd(piece, at)) {
    write += piece.copy(lines, write, at + FRAME_BYTES, frameEnd(piece, at))
  }
  return lines.subarray(0, write)
}

/** The piece without its last message; null if that was the only one. */
export function withoutLast({ bytes, count, last }: CopyPiece): CopyPiece | null {
  if (count === 1) return null
  let before = 0
  for (let at = 0; at < last; at = frameEnd(bytes, at)) before = at
  return { bytes: bytes.subarray(0, last), count: count - 1, last: before }
}

export function lastRow({ bytes, last }: CopyPiece): Row {
  return parseLines(bytes.subarray(last + FRAME_BYTES))[0]!
}

function frameEnd(piece: Buffer, at: number): number {
  return at + piece.readUInt32BE(at + 1) + 1
}

/** Also over the slack, which belongs to the same memory. */
function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length + PACKED_SLACK_BYTES)
}
