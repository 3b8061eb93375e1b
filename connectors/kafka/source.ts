/**
 * The kafka source: topics of change messages as a log. There is nothing beside the log: no snapshot, no chunks, no feed that
 * would have to be made or let go. The sink's checkpoint has the offsets; there is no consumer group.
 */
import { type Cut, positionCut } from '../../core/cut.js'
import { TidemarkError } from '../../core/errors.js'
import type { KeyOrder } from '../../core/key.js'
import type { Places } from '../../core/located-order.js'
import type { Key, Position, TableId, TableSchema } from '../../core/model.js'
import type {
  Abortable,
  ChunkSession,
  LogBatch,
  OpenContext,
  Source,
  SourceOpen,
  SourceTable,
} from '../../core/source.js'
import { KafkaCluster, topicRecreated } from '../../drivers/kafka.js'
import { kafkaOptions } from '../../drivers/kafka-options.js'
import { RecordDecoding } from './decoding.js'
import type { KafkaSourceOptions } from './options.js'
import { formatKafkaPosition, type KafkaPosition, parseKafkaPosition } from './position.js'
import { sampleOf } from './sample.js'
import { KafkaTail, type NewPartition } from './tail.js'
import { type FoundTopic, findTopics, firstPosition, requireChosen, requireTopics, topicMatcher } from './topics.js'

/** Topics whose ends or beginnings are asked for at a time. */
const ASKED_MAX = 20
/** How much a first start looks at before it begins: records of one partition, and partitions. */
const LEARNED_MAX = 500n
const LEARNED_PARTITIONS_MAX = 200
/** A table's rows are in one range, so no key is ever compared. */
const UNORDERED: KeyOrder = { located: false, compare: () => 0 }

export class KafkaSource implements Source {
  readonly connector = 'kafka'
  readonly streamOnly = true
  readonly #options: KafkaSourceOptions
  readonly #pipeline: string
  #cluster: KafkaCluster | null = null
  #decoding!: RecordDecoding
  #topics: readonly FoundTopic[] = []
  #position!: KafkaPosition
  #tail: KafkaTail | null = null
  #note: (line: string) => void = () => {}

  constructor(options: KafkaSourceOptions, pipeline: string) {
    this.#options = options
    this.#pipeline = pipeline
  }

  async open(context: OpenContext): Promise<SourceOpen> {
    this.#note = context.note
    this.#cluster = await KafkaCluster.connect(kafkaOptions(this.#options, this.#pipeline, 'source'), context)
    const servers = this.#options['properties.bootstrap.servers']
    this.#decoding = new RecordDecoding(this.#options, context.note)
    const { saved } = context
    // A topic of the checkpoint that is gone says so, rather than that `topics` means none.
    if (saved?.position) await requireTopics(this.#cluster, this.#chosen(parseKafkaPosition(saved.position)), context)
    this.#topics = await requireChosen(this.#cluster, this.#options, context)
    const tags = [...context.known.values()].filter((tag) => tag !== null)
    return {
      identity: { cluster: this.#cluster.id ?? servers },
      tables: tags.map((tag) => toSourceTable(this.#decoding.tables.restore(tag))),
      server: `Kafka at ${servers}`,
    }
  }

  /** What `topics` still means of a position. */
  #chosen({ ordinal, topics }: KafkaPosition): KafkaPosition {
    const matches = topicMatcher(this.#options)
    return { ordinal, topics: new Map([...topics].filter(([name]) => matches(name))) }
  }

  /** The log is there. */
  async prepare(_options: Abortable): Promise<void> {}

  async createLog(options: Abortable): Promise<Position> {
    const position = await firstPosition(this.#cluster!, this.#options, this.#topics, options)
    const text = formatKafkaPosition(position)
    this.#begin(text)
    await this.#learn(position, options)
    return text
  }

  /** Where values have no types, the more of them are seen first the better: a column that begins with nulls is text else. */
  async #learn({ topics }: KafkaPosition, options: Abortable): Promise<void> {
    const places = [...topics].flatMap(([topic, { next }]) =>
      next.map((from, partition) => ({ topic, partition, from })),
    )
    for (let i = 0; i < Math.min(places.length, LEARNED_PARTITIONS_MAX); i += ASKED_MAX) {
      const some = places.slice(i, i + ASKED_MAX)
      const sampled = await Promise.all(some.map((at) => sampleOf(this.#cluster!, at, LEARNED_MAX, options)))
      for (const records of sampled) this.#decoding.learn(records)
    }
  }

  async resumeLog(saved: Position, options: Abortable): Promise<void> {
    const position = parseKafkaPosition(saved)
    const chosen = this.#chosen(position)
    await requireTopics(this.#cluster!, chosen, options)
    for (const name of position.topics.keys()) {
      if (!chosen.topics.has(name)) this.#note(`topic ${name} is no longer read; its place is forgotten`)
    }
    this.#begin(saved)
    this.#tail!.add(await this.#discover(options))
  }

  /** logEnd() asks before tail() is called. */
  #begin(position: Position): void {
    this.#position = this.#chosen(parseKafkaPosition(position))
    this.#tail = new KafkaTail({
      cluster: this.#cluster!,
      decoding: this.#decoding,
      position: this.#position,
      discoveryMs: this.#options['scan.topic-partition-discovery.interval'],
      discover: (options) => this.#discover(options),
    })
  }

  async *tail(position: Position, options: Abortable): AsyncGenerator<LogBatch> {
    if (this.#tail === null) this.#begin(position)
    yield* this.#tail!.run(options)
  }

  /** What came up since the position was made is read from its beginning. */
  async #discover(options: Abortable): Promise<NewPartition[]> {
    const cluster = this.#cluster!
    const topics = await findTopics(cluster, this.#options, options)
    const found: NewPartition[] = []
    for (const { name: topic, id: topicId, partitions } of topics) {
      const known = this.#position.topics.get(topic)
      if (known && known.id !== null && topicId !== null && known.id !== topicId) throw topicRecreated(topic)
      for (let partition = known?.next.length ?? 0; partition < partitions; partition++) {
        found.push({ topic, topicId, partition, position: await cluster.startOffset(topic, partition, options) })
      }
    }
    if (found.length > 0) {
      const names = [...new Set(found.map(({ topic }) => topic))].join(', ')
      this.#note(`${found.length} new ${found.length === 1 ? 'partition' : 'partitions'}, of ${names}`)
    }
    return found
  }

  tag(table: TableId): string | null {
    return this.#decoding.tables.tag(table)
  }

  /** Kafka keeps its log by its own rules. */
  release(_position: Position): void {}

  async refresh(id: TableId): Promise<SourceTable> {
    const schema = this.#decoding.tables.schema(id)
    if (schema === null) throw nothingToRead(`table ${id} was asked for before a message spoke of it`)
    return toSourceTable(schema)
  }

  /** Up to here committed messages are readable now. */
  async logEnd(options: Abortable): Promise<bigint> {
    const cluster = this.#cluster!
    const ends = new Map<string, bigint>()
    const places = [...this.#position.topics].flatMap(([topic, { next }]) =>
      next.map((_, partition) => ({ topic, partition })),
    )
    for (let i = 0; i < places.length; i += ASKED_MAX) {
      const some = places.slice(i, i + ASKED_MAX)
      const found = await Promise.all(
        some.map(({ topic, partition }) => cluster.endOffset(topic, partition, 'committed', options)),
      )
      for (const [n, { topic, partition }] of some.entries()) ends.set(`${topic}-${partition}`, found[n]!)
    }
    return this.#tail!.aim(ends)
  }

  async close(): Promise<void> {
    await this.#cluster?.close()
  }

  // ---- there are no rows beside the log

  async session(): Promise<ChunkSession> {
    throw nothingToRead('a chunk was asked for')
  }

  async plan(): Promise<readonly Key[]> {
    throw nothingToRead('chunks were planned')
  }

  async locate(): Promise<Places> {
    throw nothingToRead('keys were to be located')
  }

  async visible(): Promise<Cut> {
    return positionCut(0n)
  }

  async durable(): Promise<void> {}
}

function nothingToRead(what: string): TidemarkError {
  return new TidemarkError('core.bug', { message: `${what} of the kafka source, which has no rows to read` })
}

function toSourceTable(schema: TableSchema): SourceTable {
  return { schema, order: UNORDERED, estimatedRows: null, estimatedBytes: null }
}
