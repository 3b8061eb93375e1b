/**
 * Apache Kafka, spoken by our own requests over kafkajs' connections (drivers/kafka-connection.ts). This file looks at
 * the cluster and reads; kafka-producer.ts writes.
 */

import { TidemarkError } from '../core/errors.js'
import type { Abortable } from '../core/source.js'
import {
  BROKER_RESOURCE,
  createTopic,
  type DescribedConfigs,
  describeConfigs,
  type NewTopic,
  TOPIC_RESOURCE,
} from './kafka-admin-requests.js'
import type { KafkaOptions } from './kafka-connection.js'
import { creationRefused, KafkaCode, LEADER_BUSY, NOT_PERMITTED, refused } from './kafka-errors.js'
import { KafkaNodes } from './kafka-nodes.js'
import { PartitionsReader } from './kafka-partitions.js'
import { findLeader, PartitionReader } from './kafka-reader.js'
import type { KafkaRecord } from './kafka-records.js'
import { EARLIEST, LATEST, listOffset } from './kafka-requests.js'
import { abortable, Busy, repeat } from './kafka-retry.js'

export {
  mayCreateTopic,
  mayUseTransactionalId,
  type TopicAccess,
  type TopicOperation,
  topicAccess,
} from './kafka-access.js'
export type { NewTopic } from './kafka-admin-requests.js'
export type { Compression } from './kafka-compression.js'
export type { KafkaOptions, KafkaSasl, KafkaTls } from './kafka-connection.js'
export { RecordsRefused } from './kafka-errors.js'
export { type Pack, PackWriter, packHeaders } from './kafka-pack.js'
export { PackBuffers } from './kafka-pack-buffers.js'
export { type PartitionBatch, type PartitionPlace, topicGone, topicRecreated } from './kafka-partitions.js'
export { fits } from './kafka-prepare.js'
export { KafkaProducer, type ProducerOptions } from './kafka-producer.js'
export type { KafkaRecord, PartitionsReader }

const CREATE_TIMEOUT_MS = 30_000
const INIT_PRODUCER_ID = 22
/** The first with the producer's own id and epoch. */
const OWNED_VERSION = 3

export interface TopicShape {
  readonly partitions: number
  /** A uuid, from brokers of 2.8 and later: another one under the same name is another topic. */
  readonly id: string | null
}

export class KafkaCluster {
  /** For the other files of this driver. */
  readonly nodes: KafkaNodes

  private constructor(nodes: KafkaNodes) {
    this.nodes = nodes
  }

  /** Throws `kafka.connection`, `kafka.tls`, `kafka.auth`, `kafka.version`. */
  static async connect(options: KafkaOptions, { signal }: Abortable): Promise<KafkaCluster> {
    return new KafkaCluster(await KafkaNodes.connect(options, { signal }))
  }

  /** The cluster's own name for itself, where it has one. */
  get id(): string | null {
    return this.nodes.clusterId
  }

  /** The names of all topics that this user may see, without Kafka's own. */
  async topicNames({ signal }: Abortable): Promise<readonly string[]> {
    const { topics } = await repeat('listing topics', this.#within(signal), () => this.nodes.metadata(null, { signal }))
    return topics.filter(({ internal }) => !internal).map(({ name }) => name)
  }

  /** Null: does not exist. */
  async topics(names: readonly string[], { signal }: Abortable): Promise<ReadonlyMap<string, TopicShape | null>> {
    if (names.length === 0) return new Map()
    return repeat('looking at topics', this.#within(signal), async () => {
      const { topics } = await this.nodes.metadata(names, { signal })
      const found = new Map<string, TopicShape | null>()
      for (const { name, error, leaders, id } of topics) {
        // A topic that was just made may have no leaders yet: it exists all the same.
        if (error === KafkaCode.none || (error === KafkaCode.leaderNotAvailable && leaders.length > 0)) {
          found.set(name, { partitions: leaders.length, id })
        } else if (error === KafkaCode.unknownTopicOrPartition) found.set(name, null)
        else if (LEADER_BUSY.has(error)) return new Busy(error)
        else throw refused(error, 'looking at topics', `topic ${name}`)
      }
      return found
    })
  }

  /** Resolves once every partition has a leader. A replication of -1 is the broker's default. */
  async createTopic(name: string, topic: NewTopic, { signal }: Abortable): Promise<'created' | 'exists'> {
    const result = await repeat(`creating topic ${name}`, this.#within(signal), async () => {
      const link = await this.nodes.controller({ signal })
      const { error, message } = await abortable(
        createTopic(link, name, topic, { timeoutMs: CREATE_TIMEOUT_MS, validateOnly: false }),
        signal,
      )
      if (error === KafkaCode.none) return 'created'
      if (error === KafkaCode.topicAlreadyExists) return 'exists'
      if (error === KafkaCode.notController) await this.nodes.metadata([], { signal })
      if (BUSY_CREATING.has(error)) return new Busy(error)
      throw creationRefused(error, name, message)
    })
    await repeat(`waiting for leaders of topic ${name}`, this.#within(signal), async () => {
      const { topics } = await this.nodes.metadata([name], { signal })
      const leaders = topics[0]?.leaders ?? []
      return leaders.length > 0 && leaders.every((leader) => leader >= 0)
        ? true
        : new Busy(KafkaCode.leaderNotAvailable)
    })
    return result
  }

  /** Those of `keys` that the topic has. Needs the DescribeConfigs operation. */
  topicConfig(name: string, keys: readonly string[], { signal }: Abortable): Promise<Readonly<Record<string, string>>> {
    return this.#config(`reading the settings of topic ${name}`, `topic ${name}`, signal, async () =>
      describeConfigs(await this.nodes.any('control', { signal }), TOPIC_RESOURCE, name, keys),
    ).then((entries) => Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== null)))
  }

  /** Null: this user may not see it, or the broker has no such setting. */
  async brokerConfig(keys: readonly string[], { signal }: Abortable): Promise<Readonly<Record<string, string | null>>> {
    const nothing = Object.fromEntries(keys.map((key) => [key, null]))
    try {
      const entries = await this.#config('reading the settings of a broker', 'the cluster', signal, async () => {
        const [node] = this.nodes.nodeIds
        const link = await this.nodes.link(node ?? -1, 'control', { signal })
        return describeConfigs(link, BROKER_RESOURCE, String(node), keys)
      })
      return { ...nothing, ...Object.fromEntries(entries) }
    } catch (error) {
      if (error instanceof TidemarkError && error.code === 'kafka.permission') return nothing
      throw error
    }
  }

  #config(what: string, who: string, signal: AbortSignal, ask: () => Promise<DescribedConfigs>) {
    return repeat(what, this.#within(signal), async () => {
      const { error, message, entries } = await abortable(ask(), signal)
      if (error === KafkaCode.none) return entries
      if (LEADER_BUSY.has(error) && error !== KafkaCode.unknownTopicOrPartition) return new Busy(error)
      throw refused(error, what, who, NOT_PERMITTED.has(error) ? null : message)
    })
  }

  /** The high watermark, or the end of what is committed (the last stable offset). */
  endOffset(
    topic: string,
    partition: number,
    isolation: 'uncommitted' | 'committed',
    { signal }: Abortable,
  ): Promise<bigint> {
    return this.#offset(topic, partition, LATEST, isolation === 'committed' ? 1 : 0, signal)
  }

  /** The first record of this time (milliseconds since 1970) or later; null: there is none yet. */
  async offsetAt(topic: string, partition: number, timestampMs: number, { signal }: Abortable): Promise<bigint | null> {
    const offset = await this.#offset(topic, partition, BigInt(timestampMs), 0, signal)
    return offset < 0n ? null : offset
  }

  startOffset(topic: string, partition: number, { signal }: Abortable): Promise<bigint> {
    return this.#offset(topic, partition, EARLIEST, 0, signal)
  }

  #offset(topic: string, partition: number, at: bigint, isolation: 0 | 1, signal: AbortSignal): Promise<bigint> {
    const where = { topic, partition }
    return repeat(`listing offsets of ${topic}-${partition}`, this.#within(signal), async () => {
      const leader = await findLeader(this.nodes, where, signal)
      if (leader === null) return new Busy(KafkaCode.leaderNotAvailable)
      const link = await this.nodes.link(leader, 'control', { signal }).catch((error: unknown) => {
        this.nodes.forget(topic)
        throw error
      })
      const { error, offset } = await abortable(listOffset(link, where, at, isolation), signal)
      if (error === KafkaCode.none) return offset
      this.nodes.forget(topic)
      if (LEADER_BUSY.has(error)) return new Busy(error)
      throw refused(error, 'listing offsets', `topic ${topic}`)
    })
  }

  /**
   * Committed records from `from` on, in order, until the position (behind control batches and aborted transactions too)
   * reached `until`. Throws `kafka.transaction_hanging` after `timeoutMs` without progress, `kafka.offset_out_of_range`.
   */
  readCommitted(
    topic: string,
    partition: number,
    from: bigint,
    until: bigint,
    options: Abortable & { readonly timeoutMs: number },
  ): AsyncIterable<readonly KafkaRecord[]> {
    return new PartitionReader(this.nodes, { topic, partition }).committed(from, until, options)
  }

  /** Many partitions at once, without end. */
  reader(): PartitionsReader {
    return new PartitionsReader(this.nodes)
  }

  /** Whether the brokers have transactions, with owners that can be told apart. */
  async transactional({ signal }: Abortable): Promise<boolean> {
    const link = await this.nodes.any('control', { signal })
    return link.speaks(INIT_PRODUCER_ID, OWNED_VERSION)
  }

  async close(): Promise<void> {
    this.nodes.close()
  }

  #within(signal: AbortSignal) {
    return { retryMs: this.nodes.options.retryMs, signal }
  }
}

const BUSY_CREATING: ReadonlySet<number> = new Set([
  KafkaCode.notController,
  KafkaCode.requestTimedOut,
  KafkaCode.networkException,
  KafkaCode.throttlingQuotaExceeded,
  KafkaCode.coordinatorNotAvailable,
])
