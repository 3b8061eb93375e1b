/**
 * The requests of metadata, transactions and offsets. Versions are those that Kafka 2.5 to 4.1 accept. The older
 * transaction protocol (EndTxn and AddPartitionsToTxn below version 5 and 4) is meant: it keeps one epoch for many
 * transactions, so that an EndTxn of unknown outcome can be repeated as it was.
 */

import type { Api, Link } from './kafka-connection.js'
import { KafkaCode } from './kafka-errors.js'

export interface ProducerIdentity {
  readonly producerId: bigint
  readonly epoch: number
}

export interface BrokerMetadata {
  readonly node: number
  readonly address: string
}

export interface TopicMetadata {
  readonly error: number
  readonly name: string
  /** Of Kafka itself, as its offsets are. */
  readonly internal: boolean
  readonly id: string | null
  /** Leaders by partition; -1 where there is none at the moment. */
  readonly leaders: readonly number[]
  /** What this user may do, a bit for each AclOperation; null: was not asked for, or the broker is too old to say. */
  readonly operations: number | null
}

export interface ClusterMetadata {
  /** The cluster's own name for itself. */
  readonly id: string | null
  readonly brokers: readonly BrokerMetadata[]
  readonly controller: number
  readonly topics: readonly TopicMetadata[]
}

const NO_UUID = Buffer.alloc(16)
/** In the place of operations that are not told. */
const NOT_SAID = -(2 ** 31)
export const NO_PRODUCER: ProducerIdentity = { producerId: -1n, epoch: -1 }
const TRANSACTION_COORDINATOR = 1

function api(link: Link, key: number, name: string, versions: readonly number[], flexibleFrom: number): Api {
  const version = link.version(key, name, versions)
  return { key, name, version, flexible: version >= flexibleFrom }
}

/** Null: every topic that this user may see. */
export function requestMetadata(
  link: Link,
  topics: readonly string[] | null,
  { operations = false }: { readonly operations?: boolean } = {},
): Promise<ClusterMetadata> {
  // From 10 on with topic ids (Kafka 2.8).
  const used = api(link, 3, 'Metadata', [10, 7], 9)
  const ids = used.version >= 10
  return link.call(
    used,
    (to) => {
      to.array(topics, (name) => {
        if (ids) to.uuid(NO_UUID)
        to.string(name).end()
      })
      // Never creates a topic by asking for it.
      to.boolean(false)
      // Of the cluster: never; of the topics.
      if (ids) to.boolean(false).boolean(operations)
    },
    (from) => {
      from.int32()
      const brokers = from.array(() => {
        const node = from.int32()
        const host = from.text()
        const port = from.int32()
        from.string()
        from.end()
        return { node, address: `${host.includes(':') ? `[${host}]` : host}:${port}` }
      })
      const cluster = from.string()
      const controller = from.int32()
      const found = from.array(() => {
        const error = from.int16()
        const name = from.text()
        const id = ids ? from.uuid() : null
        const internal = from.boolean()
        const leaders: number[] = []
        from.array(() => {
          from.int16()
          const partition = from.int32()
          leaders[partition] = from.int32()
          from.int32()
          for (let i = 0; i < 3; i++) from.array(() => from.int32())
          from.end()
        })
        const may = ids ? from.int32() : NOT_SAID
        from.end()
        const operations = may === NOT_SAID ? null : may
        return { error, name, internal, id: id && !id.equals(NO_UUID) ? uuidText(id) : null, leaders, operations }
      })
      return { id: cluster, brokers, controller, topics: found }
    },
  )
}

/** As Metadata tells it and Fetch takes it. */
export function uuidBytes(text: string): Buffer {
  return Buffer.from(text.replaceAll('-', ''), 'hex')
}

export function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

export interface Coordinator {
  readonly error: number
  readonly node: number
  readonly address: string
}

export function findCoordinator(link: Link, transactionalId: string): Promise<Coordinator> {
  return link.call(
    api(link, 10, 'FindCoordinator', [2, 1], 3),
    (to) => to.string(transactionalId).int8(TRANSACTION_COORDINATOR),
    (from) => {
      from.int32()
      const error = from.int16()
      from.string()
      const node = from.int32()
      return { error, node, address: `${from.text()}:${from.int32()}` }
    },
  )
}

export interface InitialisedProducer extends ProducerIdentity {
  readonly error: number
}

/** `own`: NO_PRODUCER takes the id over from any older owner; with id and epoch it succeeds only for the owner (KIP-360). */
export function initProducerId(
  link: Link,
  transactionalId: string | null,
  transactionTimeoutMs: number,
  own: ProducerIdentity,
): Promise<InitialisedProducer> {
  return link.call(
    // 4 tells PRODUCER_FENCED from INVALID_PRODUCER_EPOCH (Kafka 2.7).
    api(link, 22, 'InitProducerId', [4, 3], 2),
    (to) => to.string(transactionalId).int32(transactionTimeoutMs).int64(own.producerId).int16(own.epoch),
    (from) => {
      from.int32()
      return { error: from.int16(), producerId: from.int64(), epoch: from.int16() }
    },
  )
}

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** [topic, partition, error] of each. */
export function addPartitionsToTxn(
  link: Link,
  transactionalId: string,
  own: ProducerIdentity,
  partitions: readonly TopicPartition[],
): Promise<(readonly [string, number, number])[]> {
  return link.call(
    api(link, 24, 'AddPartitionsToTxn', [2, 1], 3),
    (to) => {
      to.string(transactionalId).int64(own.producerId).int16(own.epoch)
      to.array([...byTopic(partitions)], ([topic, list]) => to.string(topic).array(list, (each) => to.int32(each)))
    },
    (from) => {
      from.int32()
      return from
        .array(() => {
          const topic = from.text()
          return from.array(() => [topic, from.int32(), from.int16()] as const)
        })
        .flat()
    },
  )
}

export function endTxn(link: Link, transactionalId: string, own: ProducerIdentity, commit: boolean): Promise<number> {
  return link.call(
    api(link, 26, 'EndTxn', [2, 1], 3),
    (to) => to.string(transactionalId).int64(own.producerId).int16(own.epoch).boolean(commit),
    (from) => {
      from.int32()
      return from.int16()
    },
  )
}

export const LATEST = -1n
export const EARLIEST = -2n

export interface ListedOffset {
  readonly error: number
  readonly offset: bigint
}

/** At isolation level 0 the end is the high watermark, at 1 the last stable offset. */
export function listOffset(
  link: Link,
  { topic, partition }: TopicPartition,
  at: bigint,
  isolation: 0 | 1,
): Promise<ListedOffset> {
  return link.call(
    api(link, 2, 'ListOffsets', [2], 6),
    (to) => {
      to.int32(-1).int8(isolation)
      to.array([topic], () => to.string(topic).array([partition], () => to.int32(partition).int64(at)))
    },
    (from) => {
      from.int32()
      const [found] = from
        .array(() => {
          from.string()
          return from.array(() => {
            from.int32()
            const error = from.int16()
            from.int64()
            return { error, offset: from.int64() }
          })
        })
        .flat()
      return found ?? { error: KafkaCode.unknownTopicOrPartition, offset: -1n }
    },
  )
}

/** Partitions by topic, each list in the order given. */
export function byTopic(partitions: readonly TopicPartition[]): Map<string, number[]> {
  const topics = new Map<string, number[]>()
  for (const { topic, partition } of partitions) {
    const list = topics.get(topic)
    if (list) list.push(partition)
    else topics.set(topic, [partition])
  }
  return topics
}
