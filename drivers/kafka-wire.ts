/**
 * Kafka's primitive types, written and read. `flexible` is how newer versions of a request write strings, arrays and
 * the end of each structure: lengths as unsigned varints plus one, and tagged fields, of which we send none.
 */
import { TidemarkError } from '../core/errors.js'

const START_BYTES = 256

export class WireWriter {
  #buffer = Buffer.allocUnsafe(START_BYTES)
  #at = 0
  readonly #flexible: boolean

  constructor(flexible = false) {
    this.#flexible = flexible
  }

  int8(value: number): this {
    const at = this.#reserve(1)
    this.#buffer.writeInt8(value, at)
    return this
  }

  int16(value: number): this {
    const at = this.#reserve(2)
    this.#buffer.writeInt16BE(value, at)
    return this
  }

  int32(value: number): this {
    const at = this.#reserve(4)
    this.#buffer.writeInt32BE(value, at)
    return this
  }

  int64(value: bigint): this {
    const at = this.#reserve(8)
    this.#buffer.writeBigInt64BE(value, at)
    return this
  }

  boolean(value: boolean): this {
    return this.int8(value ? 1 : 0)
  }

  uuid(bytes: Buffer): this {
    const at = this.#reserve(16)
    bytes.copy(this.#buffer, at)
    return this
  }

  unsignedVarint(value: number): this {
    let rest = value
    while (rest > 0x7f) {
      this.#byte((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.#byte(rest)
    return this
  }

  string(value: string | null): this {
    if (value === null) return this.#flexible ? this.unsignedVarint(0) : this.int16(-1)
    const length = Buffer.byteLength(value)
    if (this.#flexible) this.unsignedVarint(length + 1)
    else this.int16(length)
    const at = this.#reserve(length)
    this.#buffer.write(value, at)
    return this
  }

  array<T>(items: readonly T[] | null, write: (item: T) => void): this {
    if (this.#flexible) this.unsignedVarint(items === null ? 0 : items.length + 1)
    else this.int32(items === null ? -1 : items.length)
    for (const item of items ?? []) write(item)
    return this
  }

  /** The end of a structure. */
  end(): this {
    return this.#flexible ? this.unsignedVarint(0) : this
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#at)
  }

  #byte(value: number): void {
    const at = this.#reserve(1)
    this.#buffer[at] = value
  }

  /** May replace the buffer: to be called before it is looked at. */
  #reserve(bytes: number): number {
    const at = this.#at
    if (at + bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, at + bytes))
      this.#buffer.copy(larger, 0, 0, at)
      this.#buffer = larger
    }
    this.#at = at + bytes
    return at
  }
}

export class WireReader {
  readonly #buffer: Buffer
  readonly #flexible: boolean
  #at = 0

  constructor(buffer: Buffer, flexible = false) {
    this.#buffer = buffer
    this.#flexible = flexible
  }

  get at(): number {
    return this.#at
  }

  get left(): number {
    return this.#buffer.length - this.#at
  }

  int8(): number {
    return this.#buffer.readInt8(this.#take(1))
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.#take(2))
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.#take(4))
  }

  int64(): bigint {
    return this.#buffer.readBigInt64BE(this.#take(8))
  }

  boolean(): boolean {
    return this.int8() !== 0
  }

  uuid(): Buffer {
    return this.raw(16)
  }

  unsignedVarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#buffer.readUInt8(this.#take(1))
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
    throw malformed('a varint of more than five bytes')
  }

  /** Zigzag, of up to 32 bits. */
  varint(): number {
    const raw = this.unsignedVarint()
    return (raw >>> 1) ^ -(raw & 1)
  }

  /** Zigzag, of up to 64 bits. */
  varlong(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#buffer.readUInt8(this.#take(1))
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n))
    }
    throw malformed('a varint of more than ten bytes')
  }

  string(): string | null {
    const length = this.#flexible ? this.unsignedVarint() - 1 : this.int16()
    return length < 0 ? null : this.#buffer.toString('utf8', this.#take(length), this.#at)
  }

  /** A string that the protocol never leaves out. */
  text(): string {
    return this.string() ?? ''
  }

  /** A range of the buffer, no copy. */
  bytes(): Buffer | null {
    const length = this.#flexible ? this.unsignedVarint() - 1 : this.int32()
    return length < 0 ? null : this.raw(length)
  }

  raw(length: number): Buffer {
    return this.#buffer.subarray(this.#take(length), this.#at)
  }

  array<T>(read: () => T): T[] {
    const length = this.#flexible ? this.unsignedVarint() - 1 : this.int32()
    const items: T[] = []
    for (let i = 0; i < length; i++) items.push(read())
    return items
  }

  /** The end of a structure: tagged fields are skipped. */
  end(): void {
    if (!this.#flexible) return
    for (let left = this.unsignedVarint(); left > 0; left--) {
      this.unsignedVarint()
      this.raw(this.unsignedVarint())
    }
  }

  #take(bytes: number): number {
    const at = this.#at
    if (bytes < 0 || at + bytes > this.#buffer.length) throw malformed('fewer bytes than it announces')
    this.#at = at + bytes
    return at
  }
}

function malformed(what: string): TidemarkError {
  return new TidemarkError('kafka.unreadable', { message: `Kafka sent a message with ${what}`, retriable: false })
}
