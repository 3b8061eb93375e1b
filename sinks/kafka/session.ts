/**
 * One owner of a pipeline's transactions. Messages go into one open record batch per partition, batches to the brokers
 * as they fill, and a commit closes the transaction with the checkpoint in it (I2). After any failure the session is
 * over: the next one proves with its own producer id that it is still the owner, and reads back what was committed (I6).
 */
import { TidemarkError, toError } from '../../core/errors.js'
import type { ChangeBatch, TableId, TableSchema } from '../../core/model.js'
import type { SinkOpenContext, SinkSession } from '../../core/sink.js'
import type { Abortable } from '../../core/source.js'
import { step } from '../../core/steps.js'
import { KafkaCluster, type KafkaProducer, type Pack, RecordsRefused } from '../../drivers/kafka.js'
import { kafkaOptions } from '../../drivers/kafka-options.js'
import type { MessageFormat } from '../formats/messages.js'
import { type SchemaChange, schemaChangeMessage } from '../formats/schema-change.js'
import { BatchWriter } from './batch-writer.js'
import { CheckpointTopic, NO_STATE, type SavedState } from './checkpoint-topic.js'
import { refusedWith } from './compacted.js'
import { Definitions } from './definitions.js'
import { restoreTransaction, savedTransaction } from './open-transaction.js'
import { claimForNext, Ownership } from './ownership.js'
import type { KafkaSettings } from './settings.js'
import { TopicTargets } from './targets.js'

/** Batches on their way to the brokers; write() waits while there are more. */
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024
/** Full batches that wait for company before they are sent: one request for several partitions. */
const SEND_BYTES = 1024 * 1024
/** Schemas remembered; beyond it (endless DDL) they are prepared again. */
const KNOWN_MAX = 4_096
/** Of transaction.timeout.ms. */
const REGISTRY_WAIT_PART = 1 / 4

export class KafkaSession implements SinkSession {
  readonly checkpoint: string | null
  readonly #cluster: KafkaCluster
  readonly #producer: KafkaProducer
  readonly #topic: CheckpointTopic
  readonly #settings: KafkaSettings
  readonly #targets: TopicTargets
  readonly #format: MessageFormat
  /** Fingerprints of schemas that the format is ready for. */
  readonly #known = new Set<string>()
  readonly #writer: BatchWriter
  /** null: include.schema.changes is off. */
  readonly #definitions: Definitions | null
  readonly #sends = new Set<Promise<void>>()
  #inFlightBytes = 0
  #spare: 'a' | 'b'
  #failure: Error | null = null
  #checkTopicsAt: number
  /** A first start has yet to make the checkpoint topic, and to claim it. */
  #claimLate: (() => Promise<SavedState>) | null = null

  private constructor(
    parts: { cluster: KafkaCluster; producer: KafkaProducer; topic: CheckpointTopic; format: MessageFormat },
    settings: KafkaSettings,
    state: SavedState,
    note: (line: string) => void,
  ) {
    this.#cluster = parts.cluster
    this.#producer = parts.producer
    this.#topic = parts.topic
    this.#settings = settings
    this.checkpoint = state.checkpoint
    this.#spare = state.spare
    this.#checkTopicsAt = performance.now() + settings.options['topic.check.interval']
    this.#format = parts.format
    if (state.transaction !== null) restoreTransaction(parts.format, state.transaction)
    this.#definitions = settings.schemaTopic === undefined ? null : new Definitions(state.definitions)
    this.#targets = new TopicTargets(parts.cluster, settings, state.topics, note)
    this.#writer = new BatchWriter(parts.format, this.#targets, settings)
  }

  get claim(): string {
    return claimForNext(this.#producer)
  }

  static async open(settings: KafkaSettings, format: MessageFormat, context: SinkOpenContext): Promise<KafkaSession> {
    const { signal, lastClaim } = context
    const cluster = await KafkaCluster.connect(kafkaOptions(settings.options, settings.pipeline, 'sink'), { signal })
    const stop = () => void cluster.close().catch(() => {})
    return await stoppable(stop, signal, async () => {
      const topic = new CheckpointTopic(cluster, settings.checkpointTopic, settings.pipeline)
      const exists = await topic.exists({ signal })
      if (lastClaim !== undefined && !exists) throw topic.madeAnew()
      const limits = new Map<string, number>()
      const ownership = new Ownership(cluster, topic, settings)
      const producer = await ownership.take(exists ? lastClaim : null, limits, { signal })
      step('kafka.fenced')
      const claim = async () => {
        await topic.ensure(settings.replication, { signal })
        limits.set(topic.name, topic.maxMessageBytes)
        const state = await ownership.claim(producer, { signal }).catch(async (thrown) => {
          throw await judged(thrown, producer, signal)
        })
        step('kafka.claimed')
        return state
      }
      const state = exists ? await claim() : NO_STATE
      const session = new KafkaSession({ cluster, producer, topic, format }, settings, state, context.note)
      session.#targets.limits = limits
      if (!exists) session.#claimLate = claim
      return session
    })
  }

  async prepare(
    tables: readonly TableSchema[],
    options: Abortable & { readonly first: ReadonlySet<TableId> },
  ): Promise<void> {
    await this.#guard(options.signal, async () => {
      await this.#claimFirst()
      await this.#targets.prepare(tables, { ...options, keyless: (schema) => this.#format.keyless(schema) })
      await this.#register(tables, options.signal)
      for (const schema of tables) this.#say(this.#definitions?.found(schema))
    })
  }

  /** A start that the source refuses leaves no topic behind, so the first claim waits until it agreed. */
  async #claimFirst(): Promise<void> {
    const claim = this.#claimLate
    if (claim === null) return
    const { checkpoint } = await claim()
    this.#claimLate = null
    if (checkpoint === null) return
    throw new TidemarkError('sink.fenced', {
      message: `another process of pipeline ${this.#settings.pipeline} began at the same time, and has written a checkpoint`,
      fix: 'Start it once more, in one process.',
    })
  }

  async write(batches: readonly ChangeBatch[], { signal }: Abortable): Promise<readonly number[]> {
    return await this.#guard(signal, async () => {
      const sizes: number[] = []
      for (const batch of batches) {
        if (!this.#known.has(batch.schema.fingerprint)) await this.#learn(batch.schema, signal)
        this.#say(this.#definitions?.before(batch))
        sizes.push(await this.#writer.write(batch))
        if (this.#writer.readyBytes >= SEND_BYTES) await this.#send(this.#writer.takeReady())
      }
      return sizes
    })
  }

  async commit(
    checkpoint: string,
    { signal, midTransaction = false }: Abortable & { readonly midTransaction?: boolean },
  ): Promise<void> {
    await this.#guard(signal, async () => {
      if (!midTransaction) this.#writer.endTransaction()
      await this.#writer.settle()
      await this.#checkTopics(signal)
      const topics = this.#targets.saved
      const transaction = savedTransaction(this.#format.transactions?.open ?? null)
      const packs = this.#topic.checkpoint(checkpoint, { topics, transaction, spare: this.#spare })
      if (packs.length > 1) this.#spare = this.#spare === 'a' ? 'b' : 'a'
      const changed = this.#definitions?.takeChanged() ?? []
      const all = [...changed.map(([table, announced]) => this.#topic.definition(table, announced)), ...packs]
      step('kafka.before-send')
      if (this.#settings.exactlyOnce) await this.#commitTransaction(all)
      else await this.#commitAfter(all)
      step('kafka.committed')
    })
  }

  /** A topic that is deleted and made anew takes records as the one before did. */
  async #checkTopics(signal: AbortSignal): Promise<void> {
    if (performance.now() < this.#checkTopicsAt) return
    await this.#targets.requireSame({ signal })
    this.#checkTopicsAt = performance.now() + this.#settings.options['topic.check.interval']
  }

  async #commitTransaction(packs: readonly Pack[]): Promise<void> {
    await this.#send([...this.#writer.takeAll(), ...packs])
    await Promise.all(this.#sends)
    step('kafka.sent')
    await this.#producer.commit()
  }

  /** at-least-once: the checkpoint may exist only when what it speaks of does. */
  async #commitAfter(packs: readonly Pack[]): Promise<void> {
    await this.#send([...this.#writer.takeAll(), ...packs.slice(0, -1)])
    await Promise.all(this.#sends)
    step('kafka.sent')
    await this.#producer.send(packs.slice(-1))
  }

  async close(): Promise<void> {
    this.#failure ??= new Error('the session is closed')
    this.#stop()
    await Promise.allSettled(this.#sends)
  }

  /** Ends whatever waits for a broker. */
  #stop(): void {
    void this.#producer.close().catch(() => {})
    void this.#cluster.close().catch(() => {})
  }

  #say(change: SchemaChange | null | undefined): void {
    if (!change) return
    const { prefix } = this.#settings.topics
    this.#writer.schemaChange(schemaChangeMessage(change, { logicalName: prefix, nowMs: Date.now() }))
  }

  /**
   * Schemas are registered before their first message. A registry that does not answer must not hold the transaction
   * open: the session ends, and the next one waits before it opens one.
   */
  async #learn(schema: TableSchema, signal: AbortSignal): Promise<void> {
    const late = new AbortController()
    const waitMs = this.#settings.transactionTimeoutMs * REGISTRY_WAIT_PART
    const timer = setTimeout(() => late.abort(registrySlow(schema.id, waitMs)), waitMs)
    try {
      await this.#register([schema], AbortSignal.any([signal, late.signal]))
    } finally {
      clearTimeout(timer)
    }
  }

  async #register(schemas: readonly TableSchema[], signal: AbortSignal): Promise<void> {
    await this.#format.prepare(schemas, (schema) => this.#targets.of(schema).topic.name, signal)
    if (this.#known.size > KNOWN_MAX) this.#known.clear()
    for (const { fingerprint } of schemas) this.#known.add(fingerprint)
  }

  /** Starts sending; waits only while too much is under way (I8). */
  async #send(packs: readonly Pack[]): Promise<void> {
    if (packs.length > 0) {
      const bytes = packs.reduce((sum, { records }) => sum + records.length, 0)
      this.#inFlightBytes += bytes
      const sent: Promise<void> = this.#producer.send(packs).then(
        () => {
          this.#inFlightBytes -= bytes
          for (const { records } of packs) this.#targets.buffers.give(records)
          this.#sends.delete(sent)
        },
        (thrown) => {
          this.#failure ??= toError(thrown)
          throw thrown
        },
      )
      // Whoever awaits next reports it.
      sent.catch(() => {})
      this.#sends.add(sent)
    }
    while (this.#inFlightBytes > IN_FLIGHT_BYTES_MAX) await Promise.race(this.#sends)
  }

  /** Nothing follows a failure: a transaction that lost a part must never be committed. */
  async #guard<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#failure !== null) throw this.#failure
    try {
      return await stoppable(() => this.#stop(), signal, work, false)
    } catch (thrown) {
      this.#failure = await this.#exact(await judged(this.#failure ?? thrown, this.#producer, signal), signal)
      throw this.#failure
    }
  }

  /** Kafka says only that it does not know a topic, and nothing of tables. */
  async #exact(error: Error, signal: AbortSignal): Promise<Error> {
    if (error instanceof RecordsRefused) return refusedWith(this.#targets.tablesOf(error.topic), error)
    if (!(error instanceof TidemarkError) || error.code !== 'kafka.topic_missing' || signal.aborted) return error
    return await this.#targets.requireSame({ signal }).then(
      () => error,
      (found) => (found instanceof TidemarkError ? found : error),
    )
  }
}

function registrySlow(table: TableId, waitMs: number): TidemarkError {
  return new TidemarkError('registry.unavailable', {
    message: `the new schema of table ${table} could not be registered within ${waitMs} ms, and a transaction is open`,
    fix: 'Check schema.registry.url. The pipeline goes on once the registry answers.',
    retriable: true,
  })
}

/** A refused epoch means that we were fenced, or only that our transaction timed out: our own producer id tells which. */
async function judged(thrown: unknown, producer: KafkaProducer, signal: AbortSignal): Promise<Error> {
  const error = toError(thrown)
  if (!(error instanceof TidemarkError) || error.code !== 'kafka.epoch_refused' || signal.aborted) return error
  try {
    return (await producer.reinitialise({ signal })) ?? error
  } catch (found) {
    return found instanceof TidemarkError && found.code === 'sink.fenced' ? found : error
  }
}

/** An abort stops, which ends whatever waits for a broker; so does a failure where `always` says so. */
async function stoppable<T>(stop: () => void, signal: AbortSignal, work: () => Promise<T>, always = true): Promise<T> {
  signal.throwIfAborted()
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await work()
  } catch (thrown) {
    if (always) stop()
    signal.throwIfAborted()
    throw thrown
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
