/**
 * The buffers that events are written through. Reading a JavaScript string character by character is slow, so the
 * values of a group of rows are first written into `source` by one native call, and from there copied as bytes,
 * four at a time, into `bytes`. Writers keep the buffers and places in local variables, reserve room before they
 * write, and read them again after a call that may have grown a buffer. The bytes of one batch are overwritten by the
 * next: whoever keeps them longer must copy them.
 */
const BUFFER_BYTES_MIN = 256 * 1024
/** A larger buffer is given back after its batch (I8): one huge row must not pin its size for ever. */
const BUFFER_BYTES_KEPT_MAX = 16 * 1024 * 1024
/** Longer text is measured before it is written, instead of reserving the worst case. */
const UNMEASURED_CHARS_MAX = 64 * 1024
/** Copies move four bytes at a time and may touch up to three beyond the end. */
export const OVERSHOOT_BYTES = 4
const UTF8_BYTES_PER_CHAR_MAX = 3

export class ByteWriter {
  bytes: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES_MIN)
  view = viewOf(this.bytes)
  length = 0
  source = Buffer.allocUnsafeSlow(BUFFER_BYTES_MIN)
  sourceView = viewOf(this.source)
  /** The next byte of `source` that no field has taken. */
  sourceAt = 0

  begin(): void {
    if (this.bytes.length > BUFFER_BYTES_KEPT_MAX) this.#replaceBytes(BUFFER_BYTES_MIN, 0)
    if (this.source.length > BUFFER_BYTES_KEPT_MAX) this.#replaceSource(BUFFER_BYTES_MIN)
    this.length = 0
  }

  /** Puts the values of the next rows, one after the other, where the row writers take them from. */
  load(text: string): void {
    const size = sizeMax(text) + OVERSHOOT_BYTES
    if (size > this.source.length) this.#replaceSource(Math.max(size, this.source.length * 2))
    this.source.write(text, 0, 'utf8')
    this.sourceAt = 0
  }

  /** Makes room for `more` bytes after the first `length`. */
  reserve(length: number, more: number): void {
    if (length + more > this.bytes.length) this.#replaceBytes(Math.max(length + more, this.bytes.length * 2), length)
  }

  /** Appends any text at `length` and returns where it ends; afterwards at least `slack` bytes are free. */
  put(length: number, text: string, slack: number): number {
    this.reserve(length, sizeMax(text) + slack)
    return length + this.bytes.write(text, length, 'utf8')
  }

  taken(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  /** Gives the written bytes away for good and starts again in the memory of `spare`, bytes that were given away before. */
  handOver(spare: Buffer | null): Buffer {
    const given = this.taken()
    const kept = spare !== null && spare.buffer.byteLength <= BUFFER_BYTES_KEPT_MAX
    this.bytes = kept ? Buffer.from(spare.buffer) : Buffer.allocUnsafeSlow(BUFFER_BYTES_MIN)
    this.view = viewOf(this.bytes)
    this.length = 0
    return given
  }

  #replaceBytes(size: number, kept: number): void {
    const grown = Buffer.allocUnsafeSlow(size)
    this.bytes.copy(grown, 0, 0, kept)
    this.bytes = grown
    this.view = viewOf(grown)
  }

  #replaceSource(size: number): void {
    this.source = Buffer.allocUnsafeSlow(size)
    this.sourceView = viewOf(this.source)
  }
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length)
}

function sizeMax(text: string): number {
  return text.length <= UNMEASURED_CHARS_MAX ? text.length * UTF8_BYTES_PER_CHAR_MAX : Buffer.byteLength(text)
}

/** An escape such as \u001f takes six bytes; everything else at most three for a UTF-16 unit. */
export const ESCAPED_BYTES_PER_CHAR_MAX = 6
/** Characters for which the worst case is reserved at once. */
const COPY_CHARS_MAX = 16 * 1024

/**
 * Copies the next `length` UTF-16 units of `source` to `at` as the inside of a JSON string, returns where they end,
 * and leaves at least `slack` bytes free behind them. Moves `sourceAt`.
 */
export function copyText(writer: ByteWriter, at: number, length: number, slack: number): number {
  let p = at
  let left = length
  while (left > COPY_CHARS_MAX) {
    p = copyPiece(writer, p, COPY_CHARS_MAX, slack)
    left -= taken
  }
  return copyPiece(writer, p, left, slack)
}

/** Units that the last copyPiece() took: one more than asked for when the end fell into a surrogate pair. */
let taken = 0

function copyPiece(writer: ByteWriter, at: number, length: number, slack: number): number {
  writer.reserve(at, length * ESCAPED_BYTES_PER_CHAR_MAX + OVERSHOOT_BYTES + slack)
  const { bytes, view, source, sourceView } = writer
  let p = at
  let q = writer.sourceAt
  let left = length
  while (left > 0) {
    while (left >= 4) {
      const four = sourceView.getInt32(q, true)
      if (needsCare(four)) break
      view.setInt32(p, four, true)
      p += 4
      q += 4
      left -= 4
    }
    for (let units = Math.min(left, 4); units > 0 && left > 0; ) {
      const c = source[q]!
      if (c < 0x80) {
        q++
        units--
        left--
        if (PLAIN[c] === 1) bytes[p++] = c
        else p = putEscape(bytes, p, c)
        continue
      }
      // A character of four bytes is two UTF-16 units.
      const size = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4
      for (let i = 0; i < size; i++) bytes[p + i] = source[q + i]!
      p += size
      q += size
      units -= size === 4 ? 2 : 1
      left -= size === 4 ? 2 : 1
    }
  }
  taken = length - left
  writer.sourceAt = q
  return p
}

/**
 * Copies `length` bytes of UTF-8 from `from` to `at` as the inside of a JSON string and returns where they end. Room for
 * ESCAPED_BYTES_PER_CHAR_MAX times as many and OVERSHOOT_BYTES was reserved.
 */
export function copyUtf8(
  bytes: Buffer,
  view: DataView,
  at: number,
  source: DataView,
  from: number,
  length: number,
): number {
  const end = from + length
  let p = at
  let q = from
  while (q < end) {
    if (q + 4 <= end) {
      const four = source.getInt32(q, true)
      if (!mustEscape(four)) {
        view.setInt32(p, four, true)
        p += 4
        q += 4
        continue
      }
    }
    for (const to = Math.min(q + 4, end); q < to; q++) {
      const c = source.getUint8(q)
      if (c >= 0x80 || PLAIN[c] === 1) bytes[p++] = c
      else p = putEscape(bytes, p, c)
    }
  }
  return p
}

/** The same for a value of any length: makes the room, and leaves at least `slack` bytes free behind it. */
export function putUtf8(
  writer: ByteWriter,
  at: number,
  source: DataView,
  from: number,
  length: number,
  slack: number,
): number {
  let p = at
  for (let done = 0; done < length; done += COPY_CHARS_MAX) {
    const part = Math.min(COPY_CHARS_MAX, length - done)
    writer.reserve(p, part * ESCAPED_BYTES_PER_CHAR_MAX + OVERSHOOT_BYTES + slack)
    p = copyUtf8(writer.bytes, writer.view, p, source, from + done, part)
  }
  return p
}

/** True if one of four bytes is a quote, a backslash or a control character; sometimes true for others. */
function mustEscape(four: number): boolean {
  const quote = four ^ 0x22222222
  const slash = four ^ 0x5c5c5c5c
  const found = ((quote - 0x01010101) & ~quote) | ((slash - 0x01010101) & ~slash) | ((four - 0x20202020) & ~four)
  return (found & 0x80808080) !== 0
}

/** The same, or not ASCII. */
function needsCare(four: number): boolean {
  return (four & 0x80808080) !== 0 || mustEscape(four)
}

/** 1: the character stands for itself in a JSON string. */
const PLAIN = Uint8Array.from({ length: 128 }, (_, c) => (c >= 32 && c !== 34 && c !== 92 ? 1 : 0))
const ESCAPES = Array.from({ length: 128 }, (_, c) => Buffer.from(JSON.stringify(String.fromCharCode(c)).slice(1, -1)))

function putEscape(bytes: Buffer, at: number, c: number): number {
  const escaped = ESCAPES[c]!
  for (let i = 0; i < escaped.length; i++) bytes[at + i] = escaped[i]!
  return at + escaped.length
}

/** Copies `length` bytes of `source` that are known to be ASCII; room for them and OVERSHOOT_BYTES was reserved. */
export function copyAscii(view: DataView, at: number, source: DataView, from: number, length: number): number {
  for (let i = 0; i < length; i += 4) view.setInt32(at + i, source.getInt32(from + i, true), true)
  return at + length
}
