/**
 * Record batches (format version 2), written as they go over the wire. A PackWriter is one partition's open batch: each
 * record is written once, at its final place; the header comes when the batch is sent and its sequence is known. What is
 * always true: offset deltas count from 0 and timestamp deltas from the first record's time.
 */
import { assert } from '../core/errors.js'
import { PackBuffers } from './kafka-pack-buffers.js'
import { onDemand } from './on-demand.js'

const crc32 = onDemand<typeof import('@node-rs/crc32')>('@node-rs/crc32')

export const BATCH_HEADER_BYTES = 61
/** From the attributes to the end of the header: what the checksum covers before the records. */
const CHECKED_FROM = 21
/** Bytes of the header that its own length field does not count. */
const UNCOUNTED_BYTES = 12
const MAGIC = 2
export const TRANSACTIONAL = 0x10
export const CONTROL = 0x20
/** Length, attributes, deltas and the lengths of key and value of one record, at most. */
const RECORD_OVERHEAD_BYTES_MAX = 5 + 1 + 5 + 10 + 5 + 5
const NO_HEADERS = Buffer.of(0)
/** A pack that fills less than one part of so many is small. */
const SMALL_PART = 4

export interface Pack {
  readonly topic: string
  readonly partition: number
  readonly count: number
  readonly records: Buffer
  /** Milliseconds since 1970. */
  readonly firstTimestamp: number
  readonly maxTimestamp: number
}

export class PackWriter {
  readonly topic: string
  readonly partition: number
  readonly #capacity: number
  readonly #buffers: PackBuffers
  #buffer: Buffer
  #at = 0
  #count = 0
  #first = 0
  #max = 0

  /** `capacityBytes` is a guess; the buffer grows where a record needs it. `buffers`: where those of sent packs come back to. */
  constructor(topic: string, partition: number, capacityBytes: number, buffers = new PackBuffers(0)) {
    this.topic = topic
    this.partition = partition
    this.#capacity = capacityBytes
    this.#buffers = buffers
    this.#buffer = buffers.take(capacityBytes)
  }

  get count(): number {
    return this.#count
  }

  /** Of records so far: uncompressed, without the header. */
  get bytes(): number {
    return this.#at
  }

  /**
   * Appends a record. Key and value are ranges of buffers; a null one has -1 as its start. `headers` comes from packHeaders(),
   * or is empty. Allocates nothing unless the buffer grows.
   */
  append(
    timestampMs: number,
    key: Buffer,
    keyFrom: number,
    keyTo: number,
    value: Buffer,
    valueFrom: number,
    valueTo: number,
    headers: Buffer = NO_HEADERS,
  ): void {
    const count = this.#count
    if (count === 0) {
      this.#first = timestampMs
      this.#max = timestampMs
    } else if (timestampMs > this.#max) this.#max = timestampMs
    const timeDelta = timestampMs - this.#first
    const keyLength = keyFrom < 0 ? -1 : keyTo - keyFrom
    const valueLength = valueFrom < 0 ? -1 : valueTo - valueFrom
    const headerBytes = headers.length === 0 ? NO_HEADERS : headers
    const length =
      1 +
      (timeDelta === 0 ? 1 : varlongBytes(timeDelta)) +
      varintBytes(count) +
      varintBytes(keyLength) +
      Math.max(keyLength, 0) +
      varintBytes(valueLength) +
      Math.max(valueLength, 0) +
      headerBytes.length
    if (this.#at + length + RECORD_OVERHEAD_BYTES_MAX > this.#buffer.length) this.#grow(length)
    const to = this.#buffer
    let at = writeVarint(to, this.#at, length)
    to[at++] = 0
    if (timeDelta === 0) to[at++] = 0
    else at = writeVarlong(to, at, timeDelta)
    at = writeVarint(to, at, count)
    at = writeRange(to, at, key, keyFrom, keyLength)
    at = writeRange(to, at, value, valueFrom, valueLength)
    if (headerBytes.length === 1) to[at++] = headerBytes[0]!
    else at += headerBytes.copy(to, at)
    this.#at = at
    this.#count = count + 1
  }

  /** Hands the bytes over and starts anew. */
  take(): Pack {
    const { topic, partition } = this
    // A small pack is copied: a new buffer for each would cost more than its records.
    const small = this.#at * SMALL_PART < this.#buffer.length
    const written = this.#buffer.subarray(0, this.#at)
    const pack = {
      topic,
      partition,
      count: this.#count,
      records: small ? Buffer.from(written) : written,
      firstTimestamp: this.#first,
      maxTimestamp: this.#max,
    }
    if (!small) this.#buffer = this.#buffers.take(this.#capacity)
    this.#at = 0
    this.#count = 0
    return pack
  }

  #grow(length: number): void {
    const needed = this.#at + length + RECORD_OVERHEAD_BYTES_MAX
    const larger = this.#buffers.take(Math.max(this.#buffer.length * 2, needed))
    this.#buffer.copy(larger, 0, 0, this.#at)
    this.#buffers.give(this.#buffer)
    this.#buffer = larger
  }
}

/** A record's headers as bytes, to be used for many records. */
export function packHeaders(headers: readonly (readonly [string, Buffer | string | null])[]): Buffer {
  const parts = headers.map(([name, value]) => {
    const key = Buffer.from(name)
    const bytes = value === null ? null : typeof value === 'string' ? Buffer.from(value) : value
    return { key, bytes }
  })
  const size = parts.reduce((sum, { key, bytes }) => sum + 10 + key.length + (bytes?.length ?? 0), 5)
  const to = Buffer.allocUnsafeSlow(size)
  let at = writeVarint(to, 0, parts.length)
  for (const { key, bytes } of parts) {
    at = writeRange(to, at, key, 0, key.length)
    at = writeRange(to, at, bytes ?? NO_HEADERS, 0, bytes?.length ?? -1)
  }
  return to.subarray(0, at)
}

/** Cuts a pack in two at the record boundary nearest to its middle; the second part is numbered anew. */
export function splitPack(pack: Pack): readonly [Pack, Pack] {
  assert(pack.count > 1, 'a pack of one record was to be split')
  const { topic, partition, records, firstTimestamp } = pack
  const writers = [
    new PackWriter(topic, partition, records.length),
    new PackWriter(topic, partition, records.length),
  ] as const
  const middle = records.length / 2
  let index = 0
  for (const record of recordsOf(pack)) {
    // Each part has a record at least.
    const second = index > 0 && (record.from >= middle || index === pack.count - 1)
    const { key, value, headers } = record
    writers[second ? 1 : 0].append(
      firstTimestamp + record.timeDelta,
      records,
      key[0],
      key[1],
      records,
      value[0],
      value[1],
      records.subarray(headers[0], headers[1]),
    )
    index++
  }
  return [writers[0].take(), writers[1].take()]
}

interface RecordRange {
  readonly from: number
  readonly timeDelta: number
  /** Start -1 is null. */
  readonly key: readonly [number, number]
  readonly value: readonly [number, number]
  readonly headers: readonly [number, number]
}

function* recordsOf({ records }: Pack): Generator<RecordRange> {
  let at = 0
  const varint = () => {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = records[at++]!
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      factor *= 128
    }
  }
  const range = (): [number, number] => {
    const length = varint()
    if (length < 0) return [-1, -1]
    const from = at
    at += length
    return [from, at]
  }
  while (at < records.length) {
    const from = at
    const length = varint()
    const end = at + length
    at++
    const timeDelta = varint()
    varint()
    const key = range()
    const value = range()
    yield { from, timeDelta, key, value, headers: [at, end] }
    at = end
  }
}

export interface BatchHeader {
  readonly count: number
  readonly firstTimestamp: number
  readonly maxTimestamp: number
  /** Codec, TRANSACTIONAL. */
  readonly attributes: number
  readonly producerId: bigint
  readonly epoch: number
  readonly sequence: number
}

/** The 61 bytes in front of `body`, which is the records as they are or compressed. */
export function batchHeader(batch: BatchHeader, body: Buffer): Buffer {
  const header = Buffer.allocUnsafeSlow(BATCH_HEADER_BYTES)
  header.writeBigInt64BE(0n, 0)
  header.writeInt32BE(BATCH_HEADER_BYTES - UNCOUNTED_BYTES + body.length, 8)
  header.writeInt32BE(-1, 12)
  header[16] = MAGIC
  header.writeInt16BE(batch.attributes, 21)
  header.writeInt32BE(batch.count - 1, 23)
  header.writeBigInt64BE(BigInt(batch.firstTimestamp), 27)
  header.writeBigInt64BE(BigInt(batch.maxTimestamp), 35)
  header.writeBigInt64BE(batch.producerId, 43)
  header.writeInt16BE(batch.epoch, 51)
  header.writeInt32BE(batch.sequence, 53)
  header.writeInt32BE(batch.count, 57)
  header.writeUInt32BE(crc32().crc32c(body, crc32().crc32c(header.subarray(CHECKED_FROM))), 17)
  return header
}

/** The checksum that a batch from the wire must have. */
export function checksumOf(batch: Buffer): number {
  return crc32().crc32c(batch.subarray(CHECKED_FROM))
}

const SEQUENCE_MAX = 2 ** 31 - 1

/** The sequence `count` records on: after 2^31 - 1 comes 0, also within a batch, as in Java's client. */
export function sequenceAfter(sequence: number, count: number): number {
  return sequence > SEQUENCE_MAX - count ? count - (SEQUENCE_MAX - sequence) - 1 : sequence + count
}

// ---- varints, zigzag

function varintBytes(value: number): number {
  const raw = ((value << 1) ^ (value >> 31)) >>> 0
  return raw < 0x80 ? 1 : raw < 0x4000 ? 2 : raw < 0x20_0000 ? 3 : raw < 0x1000_0000 ? 4 : 5
}

function writeVarint(to: Buffer, from: number, value: number): number {
  let raw = ((value << 1) ^ (value >> 31)) >>> 0
  let at = from
  while (raw > 0x7f) {
    to[at++] = (raw & 0x7f) | 0x80
    raw >>>= 7
  }
  to[at++] = raw
  return at
}

/** Milliseconds between two times that a Date can hold: below 2^53 once doubled. */
function varlongBytes(value: number): number {
  if (value === (value | 0)) return varintBytes(value)
  let raw = value < 0 ? -2 * value - 1 : 2 * value
  let bytes = 1
  while (raw > 0x7f) {
    raw = Math.floor(raw / 128)
    bytes++
  }
  return bytes
}

function writeVarlong(to: Buffer, from: number, value: number): number {
  if (value === (value | 0)) return writeVarint(to, from, value)
  let raw = value < 0 ? -2 * value - 1 : 2 * value
  let at = from
  while (raw > 0x7f) {
    to[at++] = (raw % 128) | 0x80
    raw = Math.floor(raw / 128)
  }
  to[at++] = raw
  return at
}

/** Below this many bytes a loop is cheaper than a call of copy(). */
const LOOP_BYTES_MAX = 24

function writeRange(to: Buffer, from: number, source: Buffer, start: number, length: number): number {
  let at = writeVarint(to, from, length)
  if (length <= 0) return at
  if (length <= LOOP_BYTES_MAX) {
    for (let i = start, end = start + length; i < end; i++) to[at++] = source[i]!
    return at
  }
  source.copy(to, at, start, start + length)
  return at + length
}
