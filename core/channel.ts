/**
 * A queue between one or more producers and one consumer, bounded in bytes (I8). push() always takes the item and
 * returns a promise only when the queue is now full: a producer that awaits it overshoots by one item at most.
 * An end or a failure is delivered after what was pushed before it.
 */
import { assert } from './errors.js'

export class Channel<T> implements AsyncIterable<T> {
  readonly bytesMax: number
  #items: { item: T; bytes: number }[] = []
  #head = 0
  #bytes = 0
  #over: { error: Error | null } | null = null
  #readers: (() => void)[] = []
  #writers: (() => void)[] = []

  constructor({ bytesMax }: { readonly bytesMax: number }) {
    assert(bytesMax > 0, 'a channel needs a positive byte limit')
    this.bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get length(): number {
    return this.#items.length - this.#head
  }

  get full(): boolean {
    return this.#bytes >= this.bytesMax
  }

  /** After end() or fail() items are dropped silently: their producer is being torn down. */
  push(item: T, bytes: number): Promise<void> | undefined {
    if (this.#over !== null) return undefined
    this.#items.push({ item, bytes })
    this.#bytes += bytes
    this.#wakeReaders()
    return this.full ? this.room() : undefined
  }

  /** Resolves when the queue is below its limit or over. */
  room(): Promise<void> | undefined {
    if (!this.full || this.#over !== null) return undefined
    return new Promise((resolve) => this.#writers.push(resolve))
  }

  end(): void {
    this.#finish(null)
  }

  fail(error: Error): void {
    this.#finish(error)
  }

  /** The next item, or undefined when none is waiting now. */
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined
    const { item, bytes } = this.#items[this.#head]!
    this.#items[this.#head++] = undefined as never
    if (this.#head === this.#items.length || this.#head > 1_024) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    this.#bytes -= bytes
    if (!this.full) this.#wakeWriters()
    return item
  }

  peek(): T | undefined {
    return this.#items[this.#head]?.item
  }

  /** Resolves true when an item waits, false at the end; throws the failure once everything was taken. */
  async readable(): Promise<boolean> {
    while (this.length === 0) {
      if (this.#over !== null) {
        if (this.#over.error !== null) throw this.#over.error
        return false
      }
      await new Promise<void>((resolve) => this.#readers.push(resolve))
    }
    return true
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (await this.readable()) yield this.shift()!
  }

  #finish(error: Error | null): void {
    if (this.#over !== null) return
    this.#over = { error }
    this.#wakeReaders()
    this.#wakeWriters()
  }

  #wakeReaders(): void {
    if (this.#readers.length === 0) return
    const waiting = this.#readers
    this.#readers = []
    for (const wake of waiting) wake()
  }

  #wakeWriters(): void {
    if (this.#writers.length === 0) return
    const waiting = this.#writers
    this.#writers = []
    for (const wake of waiting) wake()
  }
}
