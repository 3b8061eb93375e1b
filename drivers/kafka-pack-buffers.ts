/**
 * Buffers of record batches that were sent, to be written again. A batch may grow to a megabyte, and what the garbage
 * collector frees of such buffers it frees late.
 */
const SIZE_MIN = 16 * 1024

export class PackBuffers {
  readonly #bySize = new Map<number, Buffer[]>()
  readonly #bytesMax: number
  /** Others may share theirs. */
  readonly #own = new WeakSet<ArrayBufferLike>()
  #bytes = 0

  /** `bytesMax`: how much is kept. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** At least `bytes` long; its content is whatever was there. */
  take(bytes: number): Buffer {
    const size = sizeFor(bytes)
    const found = this.#bySize.get(size)?.pop()
    if (found !== undefined) {
      this.#bytes -= size
      return found
    }
    const made = Buffer.allocUnsafeSlow(size)
    this.#own.add(made.buffer)
    return made
  }

  /** `bytes`: a part of what take() gave, or of something else, which is left alone. Nobody may read it any more. */
  give(bytes: Buffer): void {
    const size = bytes.buffer.byteLength
    if (!this.#own.has(bytes.buffer) || this.#bytes + size > this.#bytesMax) return
    const list = this.#bySize.get(size)
    const whole = Buffer.from(bytes.buffer)
    if (list === undefined) this.#bySize.set(size, [whole])
    else list.push(whole)
    this.#bytes += size
  }
}

function sizeFor(bytes: number): number {
  let size = SIZE_MIN
  while (size < bytes) size *= 2
  return size
}
