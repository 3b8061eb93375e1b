/** Puts the messages of change batches into the open record batches of their partitions. */
import type { ChangeBatch } from '../../core/model.js'
import { type Pack, type PackWriter, packHeaders } from '../../drivers/kafka.js'
import { KEY_NULL, type MessageFormat, type Messages, VALUE_NULL } from '../formats/messages.js'
import type { SchemaChangeMessage } from '../formats/schema-change.js'
import type { TransactionMessage } from '../formats/transactions.js'
import { LargeRecords } from './large-records.js'
import { murmur2 } from './partition.js'
import type { KafkaSettings } from './settings.js'
import type { Target, TopicTargets } from './targets.js'

/** Everything of a record beside key, value and headers: lengths, attributes, deltas. */
const RECORD_OVERHEAD_BYTES = 32
/** All open batches together; beyond it they are sent as they are (I8). */
const OPEN_BYTES_MAX = 16 * 1024 * 1024

const NO_HEADERS = Buffer.alloc(0)

type HeaderSet = Messages['headers'][number]

export class BatchWriter {
  readonly #format: MessageFormat
  readonly #targets: TopicTargets
  readonly #large: LargeRecords
  readonly #truncates: 'first' | 'all' | 'none'
  readonly #transactionTopic: string | undefined
  readonly #schemaTopic: string | undefined
  /** Header sets are few and live long: their bytes are made once. */
  readonly #headerBytes = new WeakMap<HeaderSet, Buffer>()
  #ready: Pack[] = []
  #openBytes = 0
  readyBytes = 0

  constructor(format: MessageFormat, targets: TopicTargets, settings: KafkaSettings) {
    this.#format = format
    this.#targets = targets
    this.#large = new LargeRecords(targets, settings)
    this.#transactionTopic = settings.transactionTopic
    this.#schemaTopic = settings.schemaTopic
    this.#truncates = settings.options['truncate.partitions']
  }

  /** Bytes of the batch's keys and values. */
  async write(batch: ChangeBatch): Promise<number> {
    if (batch.kind === 'truncate' && this.#truncates === 'none') return 0
    for (const message of this.#format.transactions?.before(batch) ?? []) this.#transaction(message)
    const messages = this.#format.encode(batch)
    const target = this.#targets.of(batch.schema)
    if (batch.kind === 'truncate') await this.#truncate(messages, target)
    else await this.#rows(messages, target, batch)
    if (this.#openBytes > OPEN_BYTES_MAX) this.#closeAll()
    const { keys, values } = messages
    return keys.length + values.length
  }

  /** The last source transaction is over. */
  endTransaction(): void {
    for (const message of this.#format.transactions?.end() ?? []) this.#transaction(message)
  }

  #transaction({ key, value }: TransactionMessage): void {
    const { packs } = this.#targets.topic(this.#transactionTopic!)!
    const pack = packs[(murmur2(key, 0, key.length) & 0x7fffffff) % packs.length]!
    pack.append(Date.now(), key, 0, key.length, value, 0, value.length, NO_HEADERS)
    this.#openBytes += key.length + value.length
  }

  /** To the first partition, where all of them are in order. */
  schemaChange({ key, value }: SchemaChangeMessage): void {
    const { packs, packBytesMax } = this.#targets.topic(this.#schemaTopic!)!
    const pack = packs[0]!
    const bytes = key.length + value.length + RECORD_OVERHEAD_BYTES
    if (pack.count > 0 && pack.bytes + bytes > packBytesMax) this.#close(pack)
    pack.append(Date.now(), key, 0, key.length, value, 0, value.length, NO_HEADERS)
    this.#openBytes += bytes
  }

  /** Full batches, in the order in which they were filled. */
  takeReady(): Pack[] {
    const packs = this.#ready
    this.#ready = []
    this.readyBytes = 0
    return packs
  }

  takeAll(): Pack[] {
    this.#closeAll()
    return this.takeReady()
  }

  /** What was put beside the messages is durable afterwards. */
  async settle(): Promise<void> {
    await this.#large.settle()
  }

  async #rows(messages: Messages, { topic, partitioner }: Target, batch: ChangeBatch): Promise<void> {
    const { count, keys, keyEnds, values, valueEnds, flags, headerOf } = messages
    const now = Date.now()
    let keyFrom = 0
    let valueFrom = 0
    for (let i = 0; i < count; i++) {
      const keyTo = keyEnds[i]!
      const valueTo = valueEnds[i]!
      const flag = flags[i]!
      const keyAt = (flag & KEY_NULL) === 0 ? keyFrom : -1
      const valueAt = (flag & VALUE_NULL) === 0 ? valueFrom : -1
      const headers = this.#headers(messages, headerOf[i]!)
      const pack = topic.packs[partitioner.of(keys, keyAt, keyTo)]!
      const bytes = keyTo - keyFrom + valueTo - valueFrom + headers.length + RECORD_OVERHEAD_BYTES
      if (pack.count > 0 && pack.bytes + bytes > topic.packBytesMax) this.#close(pack)
      if (bytes <= topic.recordBytesMax) {
        pack.append(now, keys, keyAt, keyTo, values, valueAt, valueTo, headers)
        this.#openBytes += bytes
      } else {
        const record = { keys, keyAt, keyTo, values, valueAt, valueTo, headers: messages.headers[headerOf[i]!]! }
        const { pack: into, bytes: size } = await this.#large.put(record, { topic, pack, batch, now })
        this.#openBytes += size
        this.#close(into)
      }
      keyFrom = keyTo
      valueFrom = valueTo
    }
  }

  /** No key says where it belongs, so it goes first or everywhere. */
  async #truncate(messages: Messages, { topic }: Target): Promise<void> {
    const { keys, keyEnds, values, valueEnds, flags, headerOf } = messages
    const now = Date.now()
    for (const pack of this.#truncates === 'all' ? topic.packs : topic.packs.slice(0, 1)) {
      for (let i = 0; i < messages.count; i++) {
        const keyAt = (flags[i]! & KEY_NULL) === 0 ? (keyEnds[i - 1] ?? 0) : -1
        const valueAt = (flags[i]! & VALUE_NULL) === 0 ? (valueEnds[i - 1] ?? 0) : -1
        const headers = this.#headers(messages, headerOf[i]!)
        pack.append(now, keys, keyAt, keyEnds[i]!, values, valueAt, valueEnds[i]!, headers)
        this.#openBytes += valueEnds[i]! + headers.length
      }
    }
  }

  #headers({ headers }: Messages, index: number): Buffer {
    const set = headers[index]!
    if (set.length === 0) return NO_HEADERS
    const known = this.#headerBytes.get(set)
    if (known !== undefined) return known
    const bytes = packHeaders(set)
    this.#headerBytes.set(set, bytes)
    return bytes
  }

  #close(pack: PackWriter): void {
    if (pack.count === 0) return
    this.readyBytes += pack.bytes
    this.#openBytes = Math.max(0, this.#openBytes - pack.bytes)
    this.#ready.push(pack.take())
  }

  #closeAll(): void {
    for (const topic of this.#targets.all) for (const pack of topic.packs) this.#close(pack)
    this.#openBytes = 0
  }
}
