/** The topics of the captured tables: made or found at the start, with their partitions and limits. */
import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from '../../core/errors.js'
import type { TableId, TableSchema } from '../../core/model.js'
import { type KafkaCluster, PackBuffers, PackWriter, type TopicShape } from '../../drivers/kafka.js'
import { isCompacted, keylessTable, truncateNote } from './compacted.js'
import { KnownTopics, type SavedTopics } from './known-topics.js'
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
/** How long a topic must be unknown to be taken for deleted. */
const GONE_MS = 3_000
const GONE_POLL_MS = 200
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
type Preparing = Options & {
  readonly first: ReadonlySet<TableId>
  /** Whether messages of a table have no key. */
  readonly keyless: (schema: TableSchema) => boolean
}

export class TopicTargets {
  readonly #cluster: KafkaCluster
  readonly #settings: KafkaSettings
  readonly #known: KnownTopics
  readonly #note: (line: string) => void
  readonly #topics = new Map<string, Topic>()
  readonly #targets = new Map<TableId, Target>()
  /** Of batches that were sent. */
  readonly buffers = new PackBuffers(BUFFERS_BYTES_MAX)
  /** Largest batch of each topic, for whoever compresses. */
  limits = new Map<string, number>()

  constructor(cluster: KafkaCluster, settings: KafkaSettings, saved: SavedTopics, note: (line: string) => void) {
    this.#cluster = cluster
    this.#settings = settings
    this.#known = new KnownTopics(settings, saved, note)
    this.#note = note
  }

  /** Belongs into every checkpoint. */
  get saved(): SavedTopics {
    return this.#known.saved
  }

  /** `first`: tables of which nothing was written yet. */
  async prepare(tables: readonly TableSchema[], { signal, first, keyless }: Preparing): Promise<void> {
    const names = topicsOf(tables, this.#settings.topics)
    const deadLetter = this.#settings.options['dead.letter.topic']
    const { transactionTopic, schemaTopic } = this.#settings
    const [mistake] = topicMistakes(this.#settings, tables, false)
    if (mistake !== undefined) throw mistake
    const others = [deadLetter, transactionTopic, schemaTopic].filter((name) => name !== undefined)
    const wanted = [...new Set([...names.values(), ...others])]
    const continued = [...names].filter(([id]) => !first.has(id))
    const needed = new Set([...continued.map(([, name]) => name), ...others])
    for (const name of wanted) if (!needed.has(name)) this.#known.forget(name)
    const moved = continued.map(([id, name]) => this.#known.elsewhere(id, name)).find((error) => error !== null)
    if (moved) throw moved
    const otherwise = continued.length > 0 ? this.#known.otherwise() : null
    if (otherwise !== null) throw otherwise
    const found = await this.#look(wanted, signal)
    for (const name of wanted) {
      const problem = this.#known.problem(name, found.get(name) ?? null)
      if (problem !== null) throw problem
    }
    const compacted = await this.#compacted(found, signal)
    for (const schema of tables) {
      const name = names.get(schema.id)!
      if (compacted.has(name) && keyless(schema)) throw keylessTable(schema.id, name)
    }
    for (const name of new Set(names.values())) if (!needed.has(name) && compacted.has(name)) this.#sayCompacted(name)
    for (const name of wanted) await this.#open(name, found.get(name) ?? (await this.#create(name, signal)), signal)
    for (const name of new Set(names.values()))
      if (!needed.has(name) && found.get(name)) await this.#sayFilled(name, signal)
    for (const [id, name] of names) this.#target(id, this.#topics.get(name)!)
  }

  /** Throws when a topic is not the one any more that prepare() found, or has other partitions. */
  async requireSame({ signal }: Options): Promise<void> {
    const found = await this.#look([...this.#topics.keys()], signal)
    for (const [name, shape] of found) {
      const problem = this.#known.liveProblem(name, shape)
      if (problem !== null) throw problem
    }
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
    const target = { topic, partitioner: createPartitioner(strategy, id, this.#known.saved.partitions[topic.name]!) }
    this.#targets.set(id, target)
    return target
  }

  /** A broker that has yet to learn of a topic does not make a known one disappear. */
  async #look(names: readonly string[], signal: AbortSignal): Promise<ReadonlyMap<string, TopicShape | null>> {
    const deadline = performance.now() + GONE_MS
    for (;;) {
      const found = await this.#cluster.topics(names, { signal })
      const gone = names.some((name) => !found.get(name) && this.#known.has(name))
      if (!gone || performance.now() > deadline) return found
      await sleep(GONE_POLL_MS, undefined, { signal })
    }
  }

  async #open(name: string, found: TopicShape, signal: AbortSignal): Promise<void> {
    this.#known.adopt(name, found)
    const limit = await this.#limit(name, { signal })
    this.limits.set(name, limit)
    this.#topics.set(name, {
      name,
      packs: Array.from(
        { length: found.partitions },
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

  /** Those that are, and those that will be when they are made. */
  async #compacted(found: ReadonlyMap<string, TopicShape | null>, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const made = newTopic(this.#settings).config['cleanup.policy']
    const names = new Set<string>()
    for (const [name, shape] of found) {
      const policy = shape
        ? (await readableConfig(this.#cluster, name, ['cleanup.policy'], { signal }))['cleanup.policy']
        : made
      if (isCompacted(policy)) names.add(name)
    }
    return names
  }

  #sayCompacted(name: string): void {
    if (this.#settings.options['truncate.partitions'] !== 'none') this.#note(truncateNote(name))
  }

  /** Tables whose rows go to the topic. */
  tablesOf(name: string): TableId[] {
    return [...this.#targets].filter(([, { topic }]) => topic.name === name).map(([id]) => id)
  }

  /** What is there already is of somebody else, or of this pipeline before it was dropped. */
  async #sayFilled(name: string, signal: AbortSignal): Promise<void> {
    const { length } = this.#topics.get(name)!.packs
    if (!(await holdsMessages(this.#cluster, name, length, { signal }))) return
    this.#note(`topic ${name} holds messages already: the snapshot goes behind them, and consumers see its rows again`)
  }

  async #create(name: string, signal: AbortSignal): Promise<TopicShape> {
    if (!this.#settings.options['topic.creation.enable']) throw this.#absent(name)
    const topic = newTopic(this.#settings)
    // Definitions are read in the order in which they came.
    await this.#cluster.createTopic(name, name === this.#settings.schemaTopic ? { ...topic, partitions: 1 } : topic, {
      signal,
    })
    const made = (await this.#cluster.topics([name], { signal })).get(name)
    if (!made) throw this.#absent(name)
    return made
  }

  #absent(name: string): TidemarkError {
    return new TidemarkError('kafka.topic_missing', {
      message: `topic ${name} does not exist`,
      fix: `kafka-topics.sh --bootstrap-server HOST:PORT --create --topic ${name} --partitions 1, or sink.topic.creation.enable: true`,
    })
  }
}

/** Whether the topic has anything that a consumer can still read. */
export async function holdsMessages(
  cluster: KafkaCluster,
  name: string,
  partitions: number,
  options: Options,
): Promise<boolean> {
  for (let partition = 0; partition < partitions; partition++) {
    const end = await cluster.endOffset(name, partition, 'uncommitted', options)
    if (end > 0n && end > (await cluster.startOffset(name, partition, options))) return true
  }
  return false
}
