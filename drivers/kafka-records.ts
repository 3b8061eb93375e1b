/** Record batches read: which of them a read_committed reader sees, and their records. */
import { TidemarkError } from '../core/errors.js'
import { CODEC_MASK, CODECS, decompress } from './kafka-compression.js'
import { BATCH_HEADER_BYTES, CONTROL, checksumOf, TRANSACTIONAL } from './kafka-pack.js'
import { WireReader } from './kafka-wire.js'

export interface KafkaRecord {
  readonly offset: bigint
  /** Milliseconds since 1970. */
  readonly timestamp: bigint
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [string, Buffer | null])[]
}

export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: bigint
}

interface Batch {
  readonly base: bigint
  readonly last: bigint
  readonly attributes: number
  readonly firstTimestamp: bigint
  readonly maxTimestamp: bigint
  readonly producerId: bigint
  readonly count: number
  readonly body: Buffer
}

const SIZE_BYTES = 12
const MAGIC = 2
const LOG_APPEND_TIME = 0x08
const ABORT_MARKER = 0
/** What one compressed batch may become: Kafka's own limit is on the compressed size only. */
const BATCH_BYTES_MAX = 512 * 1024 * 1024

export interface Read {
  readonly records: KafkaRecord[]
  /** Behind the last whole batch, whatever was in it. */
  readonly next: bigint
}

/** The committed records of a fetched piece of a log, from `from` on, in order. `from` again when it holds no whole batch. */
export async function readBatches(
  piece: Buffer,
  from: bigint,
  aborted: readonly AbortedTransaction[],
  where: string,
): Promise<Read> {
  const waiting = [...aborted].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const open = new Set<bigint>()
  const records: KafkaRecord[] = []
  let next = from
  for (const batch of batchesOf(piece, where)) {
    while (waiting[0] && waiting[0].firstOffset <= batch.last) open.add(waiting.shift()!.producerId)
    next = batch.last + 1n
    if (batch.attributes & CONTROL) {
      // The marker of an abort ends what the broker listed as aborted.
      if (isAbort(batch)) open.delete(batch.producerId)
      continue
    }
    if (batch.attributes & TRANSACTIONAL && open.has(batch.producerId)) continue
    for (const record of await recordsOf(batch)) if (record.offset >= from) records.push(record)
  }
  return { records, next }
}

/** Whole batches. The last one of a fetched piece may be cut off. */
function* batchesOf(piece: Buffer, where: string): Generator<Batch> {
  let at = 0
  while (piece.length - at > SIZE_BYTES) {
    const length = piece.readInt32BE(at + 8)
    const end = at + SIZE_BYTES + length
    if (end > piece.length) return
    const bytes = piece.subarray(at, end)
    at = end
    const base = bytes.readBigInt64BE(0)
    if (bytes[16] !== MAGIC) {
      throw new TidemarkError('kafka.unreadable', {
        message: `${where}: the batch at offset ${base} has message format ${bytes[16]}, from before Kafka 0.11`,
        fix: 'Rewrite the topic with a current format.',
      })
    }
    if (bytes.length < BATCH_HEADER_BYTES || checksumOf(bytes) !== bytes.readUInt32BE(17)) {
      throw new TidemarkError('kafka.unreadable', {
        message: `${where}: the batch at offset ${base} does not have its checksum`,
      })
    }
    yield {
      base,
      last: base + BigInt(bytes.readInt32BE(23)),
      attributes: bytes.readInt16BE(21),
      firstTimestamp: bytes.readBigInt64BE(27),
      maxTimestamp: bytes.readBigInt64BE(35),
      producerId: bytes.readBigInt64BE(43),
      count: bytes.readInt32BE(57),
      body: bytes.subarray(BATCH_HEADER_BYTES),
    }
  }
}

/** A control record's key is its version and kind. */
function isAbort(batch: Batch): boolean {
  const reader = new WireReader(batch.body)
  reader.varint()
  reader.int8()
  reader.varlong()
  reader.varint()
  reader.varint()
  reader.int16()
  return reader.int16() === ABORT_MARKER
}

async function recordsOf(batch: Batch): Promise<KafkaRecord[]> {
  const codec = CODECS[batch.attributes & CODEC_MASK]
  if (codec === undefined) {
    throw new TidemarkError('kafka.unreadable', {
      message: `the batch at offset ${batch.base} has an unknown compression`,
    })
  }
  const reader = new WireReader(await decompress(codec, batch.body, BATCH_BYTES_MAX))
  const appended = (batch.attributes & LOG_APPEND_TIME) !== 0
  const records: KafkaRecord[] = []
  for (let i = 0; i < batch.count; i++) {
    reader.varint()
    reader.int8()
    const timestamp = batch.firstTimestamp + reader.varlong()
    records.push({
      offset: batch.base + BigInt(reader.varint()),
      timestamp: appended ? batch.maxTimestamp : timestamp,
      key: bytes(reader),
      value: bytes(reader),
      headers: headersOf(reader),
    })
  }
  return records
}

function headersOf(reader: WireReader): KafkaRecord['headers'] {
  const count = reader.varint()
  const headers: (readonly [string, Buffer | null])[] = []
  for (let i = 0; i < count; i++) headers.push([(bytes(reader) ?? Buffer.alloc(0)).toString('utf8'), bytes(reader)])
  return headers
}

function bytes(reader: WireReader): Buffer | null {
  const length = reader.varint()
  return length < 0 ? null : reader.raw(length)
}
