/**
 * The log: all partitions as one stream, in the order of each partition. What is always true: a batch's position says exactly
 * which records were handed over, control batches and aborted records passed; a bounded run holds what lies behind its end back.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Abortable, LogBatch } from '../../core/source.js'
import type { KafkaCluster, KafkaRecord, PartitionBatch, PartitionsReader } from '../../drivers/kafka.js'
import { bytesOf, type RecordDecoding, type RecordPlace } from './decoding.js'
import { formatKafkaPosition, type KafkaPosition } from './position.js'

/** A batch closes at this size: it is decoded whole, and a checkpoint falls between two (I8). */
const BATCH_BYTES_MAX = 256 * 1024

/** What every format's truncate has in it. Rows that have it too are only batches of their own. */
const TRUNCATES = ['"t"', 'TRUNCATE', 'truncate']

function mayTruncate({ value }: KafkaRecord): boolean {
  return value !== null && TRUNCATES.some((text) => value.includes(text))
}

export interface TailParts {
  readonly cluster: KafkaCluster
  readonly decoding: RecordDecoding
  readonly position: KafkaPosition
  readonly discoveryMs: number
  /** Places of topics and partitions that are not in the position; throws where a topic is another one than before. */
  readonly discover: (options: Abortable) => Promise<readonly NewPartition[]>
}

export interface NewPartition {
  readonly topic: string
  readonly topicId: string | null
  readonly partition: number
  readonly position: bigint
}

/** Ends of partitions that must be reached, and the ordinal that says so. */
interface Goal {
  readonly ends: ReadonlyMap<string, bigint>
}

const keyOf = ({ topic, partition }: { readonly topic: string; readonly partition: number }) => `${topic}-${partition}`

export class KafkaTail {
  readonly #parts: TailParts
  readonly #reader: PartitionsReader
  #goal: Goal | null = null
  /** Behind the goal, and new partitions: not read before it is reached. */
  #held: PartitionBatch[] = []
  #later: NewPartition[] = []

  constructor(parts: TailParts) {
    this.#parts = parts
    this.#reader = parts.cluster.reader()
  }

  /** The ordinal at which every partition is read up to its end. */
  aim(ends: ReadonlyMap<string, bigint>): bigint {
    const { ordinal } = this.#parts.position
    let left = 0n
    for (const [key, end] of ends) {
      const next = this.#nextOf(key)
      if (next !== null && end > next) left += end - next
    }
    this.#goal = left > 0n ? { ends } : null
    if (this.#goal) for (const at of this.#all()) if (this.#atGoal(at)) this.#reader.pause(at)
    return ordinal + left
  }

  *#all(): Generator<{ topic: string; partition: number; topicId: string | null; position: bigint }> {
    for (const [topic, { id, next }] of this.#parts.position.topics) {
      for (const [partition, position] of next.entries()) yield { topic, partition, topicId: id, position }
    }
  }

  #nextOf(key: string): bigint | null {
    for (const at of this.#all()) if (keyOf(at) === key) return at.position
    return null
  }

  #endOf(at: { readonly topic: string; readonly partition: number }): bigint | null {
    return this.#goal?.ends.get(keyOf(at)) ?? null
  }

  #atGoal(at: { readonly topic: string; readonly partition: number; readonly position: bigint }): boolean {
    const end = this.#endOf(at)
    return end !== null && at.position >= end
  }

  async *run({ signal }: Abortable): AsyncGenerator<LogBatch> {
    for (const at of this.#all()) this.#reader.add(at)
    if (this.#goal) for (const at of this.#all()) if (this.#atGoal(at)) this.#reader.pause(at)
    // Says where the log stands, also where nothing is left to read.
    yield this.#batch([])
    const ended = new AbortController()
    const both = AbortSignal.any([signal, ended.signal])
    const looking = this.#look(both).catch((error: unknown) => ended.abort(error))
    try {
      for await (const batches of this.#reader.read({ signal: both })) yield* this.#take(batches)
    } finally {
      ended.abort(new Error('the tail is over'))
      await looking
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(this.#parts.discoveryMs, null, { signal })
      this.add(await this.#parts.discover({ signal }))
    }
  }

  add(found: readonly NewPartition[]): void {
    if (this.#goal !== null) {
      const known = new Set(this.#later.map(keyOf))
      this.#later.push(...found.filter((at) => !known.has(keyOf(at))))
      return
    }
    for (const at of found) {
      const { topics } = this.#parts.position
      const place = topics.get(at.topic) ?? { id: at.topicId, next: [] }
      topics.set(at.topic, place)
      if (place.next.length !== at.partition) continue
      place.next.push(at.position)
      this.#reader.add(at)
    }
  }

  *#take(batches: readonly PartitionBatch[]): Generator<LogBatch> {
    let waiting = batches
    while (waiting.length > 0) {
      for (const batch of waiting) yield* this.#partition(batch)
      waiting = []
      if (this.#goal !== null && [...this.#all()].every((at) => this.#endOf(at) === null || this.#atGoal(at))) {
        this.#goal = null
        waiting = this.#held
        this.#held = []
        for (const at of this.#all()) this.#reader.resume(at)
        const later = this.#later
        this.#later = []
        this.add(later)
      }
    }
  }

  *#partition(batch: PartitionBatch): Generator<LogBatch> {
    const end = this.#endOf(batch)
    const { topic, partition } = batch
    const stop = end !== null && end < batch.next ? end : batch.next
    let records = batch.records
    if (stop < batch.next) {
      this.#held.push({ ...batch, records: records.filter(({ offset }) => offset >= stop) })
      records = records.filter(({ offset }) => offset < stop)
    }
    if (end !== null && stop >= end) this.#reader.pause(batch)
    const { next } = this.#parts.position.topics.get(topic)!
    let places: RecordPlace[] = []
    let bytes = 0
    for (const [i, record] of records.entries()) {
      const after = i + 1 < records.length ? record.offset + 1n : stop
      this.#parts.position.ordinal += after - next[partition]!
      next[partition] = after
      places.push({ topic, partition, partitions: next.length, record, ordinal: this.#parts.position.ordinal })
      bytes += bytesOf(record)
      const following = records[i + 1]
      // A truncate is alone in its batch.
      const apart = mayTruncate(record) || (following !== undefined && mayTruncate(following))
      if (bytes < BATCH_BYTES_MAX && following !== undefined && !apart) continue
      yield this.#batch(places, bytes)
      places = []
      bytes = 0
    }
    if (records.length > 0 || stop <= next[partition]!) return
    this.#parts.position.ordinal += stop - next[partition]!
    next[partition] = stop
    yield this.#batch([])
  }

  #batch(places: readonly RecordPlace[], bytes = 0): LogBatch {
    const { position, decoding } = this.#parts
    return {
      items: places.length === 0 ? [] : decoding.items(places),
      position: formatKafkaPosition(position),
      ordinal: position.ordinal,
      midTransaction: false,
      bytes,
    }
  }
}
