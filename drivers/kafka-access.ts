/** What this user may do, asked in ways that change nothing in the cluster. */
import type { Abortable } from '../core/source.js'
import { createTopic, describeTransaction, type NewTopic } from './kafka-admin-requests.js'
import { codeName, KafkaCode, NOT_PERMITTED } from './kafka-errors.js'
import type { KafkaNodes } from './kafka-nodes.js'
import { initProducerId, requestMetadata } from './kafka-requests.js'
import { abortable, Busy, repeat } from './kafka-retry.js'

const CREATE_TIMEOUT_MS = 30_000
/** Bits of the protocol's AclOperation. */
const OPERATIONS = { Read: 3, Write: 4, Create: 5, Describe: 8, DescribeConfigs: 10 } as const
export type TopicOperation = keyof typeof OPERATIONS

export interface TopicAccess {
  readonly exists: boolean
  /** Null: the broker is too old to say (before Kafka 2.8). */
  readonly may: ReadonlySet<TopicOperation> | null
}

interface Cluster {
  readonly nodes: KafkaNodes
}

const within = ({ nodes }: Cluster, signal: AbortSignal) => ({ retryMs: nodes.options.retryMs, signal })

/** Null: this user may not even see whether the topic exists. */
export async function topicAccess(
  cluster: Cluster,
  names: readonly string[],
  { signal }: Abortable,
): Promise<ReadonlyMap<string, TopicAccess | null>> {
  if (names.length === 0) return new Map()
  const { topics } = await repeat('asking for access to topics', within(cluster, signal), async () => {
    const link = await cluster.nodes.any('control', { signal })
    return abortable(requestMetadata(link, names, { operations: true }), signal)
  })
  return new Map(
    topics.map(({ name, error, operations }) => {
      if (error === KafkaCode.topicAuthorizationFailed) return [name, null]
      const all = Object.entries(OPERATIONS) as [TopicOperation, number][]
      const may =
        operations === null ? null : new Set(all.filter(([, bit]) => operations & (1 << bit)).map(([op]) => op))
      return [name, { exists: error !== KafkaCode.unknownTopicOrPartition, may }]
    }),
  )
}

/** `denied`, or why the brokers would not make such a topic; null: they would. */
export function mayCreateTopic(
  cluster: Cluster,
  name: string,
  topic: NewTopic,
  { signal }: Abortable,
): Promise<'denied' | { readonly refused: string } | null> {
  return repeat(`asking whether topic ${name} could be made`, within(cluster, signal), async () => {
    const link = await cluster.nodes.controller({ signal })
    const asked = createTopic(link, name, topic, { timeoutMs: CREATE_TIMEOUT_MS, validateOnly: true })
    const { error, message } = await abortable(asked, signal)
    if (error === KafkaCode.none || error === KafkaCode.topicAlreadyExists) return null
    if (NOT_PERMITTED.has(error)) return 'denied'
    if (error === KafkaCode.notController) await cluster.nodes.metadata([], { signal })
    if (error === KafkaCode.notController || error === KafkaCode.requestTimedOut) return new Busy(error)
    return { refused: message ?? codeName(error) }
  })
}

/** A timeout that no broker accepts, and an owner that there never was: each alone keeps the id from being taken over. */
const TIMEOUT_REFUSED_MS = 0
const NOBODY = { producerId: 2n ** 63n - 1n, epoch: 0 }

/**
 * Brokers look at the user's operations on the id before they look at anything else, and any of them does, so that no
 * coordinator is made by asking. Describe is null where the broker is too old to say (before Kafka 3.0).
 */
export async function mayUseTransactionalId(
  cluster: Cluster,
  transactionalId: string,
  { signal }: Abortable,
): Promise<{ readonly write: boolean; readonly describe: boolean | null }> {
  return repeat(`asking for access to transactional id ${transactionalId}`, within(cluster, signal), async () => {
    const link = await cluster.nodes.any('control', { signal })
    const seen = await abortable(describeTransaction(link, transactionalId), signal)
    const { error } = await abortable(initProducerId(link, transactionalId, TIMEOUT_REFUSED_MS, NOBODY), signal)
    return { write: !NOT_PERMITTED.has(error), describe: seen === null ? null : !NOT_PERMITTED.has(seen) }
  })
}
