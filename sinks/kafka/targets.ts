/** The topics of the captured tables: made or found at the start, with their partitions and limits. */
import { TidemarkError } from '../../core/errors.js'
import type { TableId, TableSchema } from '../../core/model.js'
import { type KafkaCluster, PackBuffers, PackWriter } from '../../drivers/kafka.js'
import { createPartitioner, type Partitioner } from './partition.js'
import { readableConfig } from './readable-config.js'
import { type KafkaSettings, newTopic } from './settings.js'
import { topicMistakes } from './topic-roles.js'
import { topicOf, topicsOf } from './topics.js'

/** A batch is closed before it reaches this size, or the topic's limit. */
const PACK_BYTES_MAX = 900_000
/** Header of a record batch. */
const BATCH_OVERHEAD_BYTES = 61
/** A partition's first buffer; it grows as needed. */
const PACK_BYTES_FIRST = 16 * 1024
/** Kept for the next batches. */
const BUFFERS_BYTES_MAX = 24 * 1024 * 1024

/** Where one topic's messages wait. */
export interface Topic {
  readonly name: string
  readonly packs: readonly PackWriter[]
  /** What a batch may hold. */
  readonly packBytesMax: number
  /** What a single record, alone in its batch, may take. */
  readonly recordBytesMax: number
  /** The topic's own limit: of a batch, after compression. */
  readonly maxMessageBytes: number
}

export interface Target {
  readonly topic: Topic
  readonly partitioner: Partitioner
}

type Options = { readonly signal: AbortSignal }

export class TopicTargets {
  readonly #cluster: KafkaCluster
  readonly #settings: KafkaSettings
  /** Partitions of the last checkpoint. */
  readonly #saved: Readonly<Record<string, number>>
  readonly #topics = new Map<string, Topic>()
  readonly #targets = new Map<TableId, Target>()
  /** Of batches that were sent. */
  readonly buffers = new PackBuffers(BUFFERS_BYTES_MAX)
  /** Largest batch of each topic, for whoever compresses. */
  limits = new Map<string, number>()
  #partitions: Record<string, number>

  constructor(cluster: KafkaCluster, settings: KafkaSettings, saved: Readonly<Record<string, number>>) {
    this.#cluster = cluster
    this.#settings = settings
    this.#saved = saved
    this.#partitions = { ...saved }
  }

  /** How many partitions keys are spread over, by topic: belongs into every checkpoint. */
  get partitions(): Readonly<Record<string, number>> {
    return this.#partitions
  }

  async prepare(tables: readonly TableSchema[], options: Options): Promise<void> {
    const { signal } = options
    const names = topicsOf(tables, this.#settings.topics)
    const deadLetter = this.#settings.options['dead.letter.topic']
    const { transactionTopic, schemaTopic } = this.#settings
    const [mistake] = topicMistakes(this.#settings, tables, false)
    if (mistake !== undefined) throw mistake
    const wanted = [...new Set([...names.values(), deadLetter, transactionTopic, schemaTopic])].filter(
      (name) => name !== undefined,
    )
    const found = await this.#cluster.topics(wanted, { signal })
    const missing = wanted.filter((name) => !found.get(name))
    for (const name of missing) await this.#create(name, options)
    const made = missing.length > 0 ? await this.#cluster.topics(missing, { signal }) : new Map()
    for (const name of wanted) {
      const info = found.get(name) ?? made.get(name)
      if (!info) throw this.#absent(name)
      await this.#open(name, info.partitions, options)
    }
    for (const [id, name] of names) this.#target(id, this.#topics.get(name)!)
  }

  of(schema: TableSchema): Target {
    const known = this.#targets.get(schema.id)
    if (known !== undefined) return known
    // A table that prepare() did not see: only its name decides, and the topic must be there.
    const name = topicOf(schema, this.#settings.topics)
    const topic = this.#topics.get(name)
    if (topic === undefined) throw this.#absent(name)
    return this.#target(schema.id, topic)
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  get all(): Iterable<Topic> {
    return this.#topics.values()
  }

  #target(id: TableId, topic: Topic): Target {
    const strategy = this.#settings.options['partition.strategy']
    const target = { topic, partitioner: createPartitioner(strategy, id, this.#partitions[topic.name]!) }
    this.#targets.set(id, target)
    return target
  }

  async #open(name: string, count: number, options: Options): Promise<void> {
    const before = this.#saved[name]
    const change = this.#settings.options['partition.count.change']
    if (before !== undefined && before !== count && change === 'stop') {
      throw new TidemarkError('kafka.partitions_changed', {
        message: `topic ${name} has ${count} partitions and had ${before}: the same key would go to another partition, and its changes could be read out of order`,
        fix: 'sink.partition.count.change: keep goes on hashing over the old count, accept takes the new one.',
        at: 'sink.partition.count.change',
      })
    }
    if (before !== undefined && before > count && change === 'keep') {
      throw new TidemarkError('kafka.partitions_changed', {
        message: `topic ${name} has ${count} partitions and had ${before}; it was made anew with fewer`,
        fix: 'sink.partition.count.change: accept takes the new count.',
        at: 'sink.partition.count.change',
      })
    }
    this.#partitions = { ...this.#partitions, [name]: change === 'keep' ? (before ?? count) : count }
    const limit = await this.#limit(name, options)
    this.limits.set(name, limit)
    this.#topics.set(name, {
      name,
      packs: Array.from(
        { length: count },
        (_, partition) => new PackWriter(name, partition, PACK_BYTES_FIRST, this.buffers),
      ),
      packBytesMax: Math.min(PACK_BYTES_MAX, limit - BATCH_OVERHEAD_BYTES),
      recordBytesMax: limit - BATCH_OVERHEAD_BYTES,
      maxMessageBytes: limit,
    })
  }

  /** Nothing but the brokers' answer tells the limit; who may not ask gets their default. */
  async #limit(name: string, options: Options): Promise<number> {
    const config = await readableConfig(this.#cluster, name, ['max.message.bytes'], options)
    return Number(config['max.message.bytes'] ?? this.#settings.maxMessageBytesDefault)
  }

  async #create(name: string, options: Options): Promise<void> {
    if (!this.#settings.options['topic.creation.enable']) throw this.#absent(name)
    const topic = newTopic(this.#settings)
    // Definitions are read in the order in which they came.
    await this.#cluster.createTopic(
      name,
      name === this.#settings.schemaTopic ? { ...topic, partitions: 1 } : topic,
      options,
    )
  }

  #absent(name: string): TidemarkError {
    return new TidemarkError('kafka.topic_missing', {
      message: `topic ${name} does not exist`,
      fix: `kafka-topics.sh --bootstrap-server HOST:PORT --create --topic ${name} --partitions 1, or sink.topic.creation.enable: true`,
    })
  }
}
