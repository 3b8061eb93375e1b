/** Where the messages of a batch are gathered: two byte buffers and where each message ends in them. */
import { ByteWriter } from './byte-writer.js'

/** The message has no key. */
export const KEY_NULL = 1
/** The message has no value: a tombstone. */
export const VALUE_NULL = 2

export type HeaderValue = string | Buffer | null
export type Headers = readonly (readonly [string, HeaderValue])[]

/** Messages of one batch, as ranges of shared buffers; overwritten by the next encode() of the same format. Arrays may be longer than `count`. */
export interface Messages {
  readonly count: number
  /** Message i's key is the bytes from keyEnds[i - 1], or 0, up to keyEnds[i]. */
  readonly keys: Buffer
  readonly keyEnds: Uint32Array
  readonly values: Buffer
  readonly valueEnds: Uint32Array
  /** KEY_NULL and VALUE_NULL. */
  readonly flags: Uint8Array
  /** Sets of headers; set 0 is the one that nearly all messages have. */
  readonly headers: readonly Headers[]
  /** Message i has the headers headers[headerOf[i]]. */
  readonly headerOf: Uint32Array
}

const MESSAGES_MIN = 1_024

export class MessageBuffers implements Messages {
  readonly key = new ByteWriter()
  readonly value = new ByteWriter()
  count = 0
  keyEnds = new Uint32Array(MESSAGES_MIN)
  valueEnds = new Uint32Array(MESSAGES_MIN)
  flags = new Uint8Array(MESSAGES_MIN)
  headerOf = new Uint32Array(MESSAGES_MIN)
  headers: Headers[] = []
  /** Something other than zero was written to flags or headerOf. */
  #marked = false

  get keys(): Buffer {
    return this.key.taken()
  }

  get values(): Buffer {
    return this.value.taken()
  }

  begin(headers: Headers): void {
    this.key.begin()
    this.value.begin()
    if (this.#marked) {
      this.flags.fill(0, 0, this.count)
      this.headerOf.fill(0, 0, this.count)
      this.#marked = false
    }
    this.count = 0
    this.headers = [headers]
  }

  /** Makes room for so many messages more. */
  reserve(more: number): void {
    const needed = this.count + more
    if (needed <= this.flags.length) return
    const size = Math.max(needed, this.flags.length * 2)
    this.keyEnds = grown(this.keyEnds, new Uint32Array(size))
    this.valueEnds = grown(this.valueEnds, new Uint32Array(size))
    this.headerOf = grown(this.headerOf, new Uint32Array(size))
    this.flags = grown(this.flags, new Uint8Array(size))
  }

  /** The message whose key and value were written since the last one. Room for it was reserved. */
  push(flags: number): void {
    const i = this.count++
    this.keyEnds[i] = this.key.length
    this.valueEnds[i] = this.value.length
    if (flags === 0) return
    this.flags[i] = flags
    this.#marked = true
  }

  /** A message with the last one's key and headers and no value. */
  tombstone(): void {
    const last = this.count - 1
    const from = this.keyStart(last)
    const to = this.keyEnds[last]!
    this.key.reserve(to, to - from)
    this.key.bytes.copyWithin(to, from, to)
    this.key.length = to + (to - from)
    this.push((this.flags[last]! & KEY_NULL) | VALUE_NULL)
    if (this.headerOf[last] !== 0) this.setHeaders(last + 1, this.headerOf[last]!)
  }

  /** Gives a message headers of its own, before those it has. */
  addHeaders(message: number, headers: Headers): void {
    const had = this.headerOf[message]!
    this.setHeaders(message, this.headers.length)
    this.headers.push([...headers, ...this.headers[had]!])
  }

  setHeaders(message: number, set: number): void {
    this.headerOf[message] = set
    this.#marked = true
  }

  keyStart(message: number): number {
    return message === 0 ? 0 : this.keyEnds[message - 1]!
  }
}

function grown<A extends Uint32Array | Uint8Array>(old: A, fresh: A): A {
  fresh.set(old)
  return fresh
}
