/** The requests that look at topics, brokers and other people's transactions, and make topics. */
import type { Link } from './kafka-connection.js'
import type { TopicPartition } from './kafka-requests.js'

export const TOPIC_RESOURCE = 2
export const BROKER_RESOURCE = 4

export interface DescribedConfigs {
  readonly error: number
  readonly message: string | null
  readonly entries: readonly (readonly [string, string | null])[]
}

export function describeConfigs(
  link: Link,
  resource: typeof TOPIC_RESOURCE | typeof BROKER_RESOURCE,
  name: string,
  keys: readonly string[],
): Promise<DescribedConfigs> {
  const version = link.version(32, 'DescribeConfigs', [1])
  return link.call(
    { key: 32, name: 'DescribeConfigs', version, flexible: false },
    (to) => {
      to.array([name], () =>
        to
          .int8(resource)
          .string(name)
          .array(keys, (key) => to.string(key)),
      )
      // Synonyms say nothing that the value does not.
      to.boolean(false)
    },
    (from) => {
      from.int32()
      const [found] = from.array(() => {
        const error = from.int16()
        const message = from.string()
        from.int8()
        from.string()
        const entries = from.array(() => {
          const entry = [from.text(), from.string()] as const
          from.boolean()
          from.int8()
          from.boolean()
          from.array(() => [from.string(), from.string(), from.int8()])
          return entry
        })
        return { error, message, entries }
      })
      return found ?? { error: 0, message: null, entries: [] }
    },
  )
}

export interface NewTopic {
  readonly partitions: number
  /** -1: the broker's default.replication.factor. */
  readonly replication: number
  readonly config: Readonly<Record<string, string>>
}

export function createTopic(
  link: Link,
  name: string,
  topic: NewTopic,
  { timeoutMs, validateOnly }: { readonly timeoutMs: number; readonly validateOnly: boolean },
): Promise<{ readonly error: number; readonly message: string | null }> {
  const version = link.version(19, 'CreateTopics', [4])
  return link.call(
    { key: 19, name: 'CreateTopics', version, flexible: false },
    (to) => {
      to.array([topic], ({ partitions, replication, config }) =>
        to
          .string(name)
          .int32(partitions)
          .int16(replication)
          .array([], () => {})
          .array(Object.entries(config), ([key, value]) => to.string(key).string(value)),
      )
      to.int32(timeoutMs).boolean(validateOnly)
    },
    (from) => {
      from.int32()
      const [found] = from.array(() => {
        from.string()
        return { error: from.int16(), message: from.string() }
      })
      return found ?? { error: 0, message: null }
    },
    timeoutMs,
  )
}

export interface OpenProducer {
  readonly producerId: bigint
  readonly epoch: number
  /** -1: it has no open transaction. */
  readonly transactionStart: bigint
}

const DESCRIBE_PRODUCERS = 61

/** Null where the broker is too old to say (before Kafka 2.8) or may not. */
export async function describeProducers(
  link: Link,
  { topic, partition }: TopicPartition,
): Promise<readonly OpenProducer[] | null> {
  if (!link.speaks(DESCRIBE_PRODUCERS, 0)) return null
  return link.call(
    { key: DESCRIBE_PRODUCERS, name: 'DescribeProducers', version: 0, flexible: true },
    (to) =>
      to.array([topic], () =>
        to
          .string(topic)
          .array([partition], () => to.int32(partition))
          .end(),
      ),
    (from) => {
      from.int32()
      const [found] = from
        .array(() => {
          from.string()
          const partitions = from.array(() => {
            from.int32()
            const error = from.int16()
            from.string()
            const producers = from.array(() => {
              const producerId = from.int64()
              const epoch = from.int32()
              from.int32()
              from.int64()
              from.int32()
              const transactionStart = from.int64()
              from.end()
              return { producerId, epoch, transactionStart }
            })
            from.end()
            return error === 0 ? producers : null
          })
          from.end()
          return partitions
        })
        .flat()
      return found ?? null
    },
  )
}

const LIST_TRANSACTIONS = 66

/** Transactional ids of a producer id that this broker coordinates; none where it may not say. */
export async function transactionalIdsOf(
  link: Link,
  producerId: bigint,
): Promise<readonly { readonly transactionalId: string; readonly state: string }[]> {
  if (!link.speaks(LIST_TRANSACTIONS, 0)) return []
  return link.call(
    { key: LIST_TRANSACTIONS, name: 'ListTransactions', version: 0, flexible: true },
    (to) => to.array([], () => {}).array([producerId], (id) => to.int64(id)),
    (from) => {
      from.int32()
      from.int16()
      from.array(() => from.string())
      return from.array(() => {
        const transactionalId = from.text()
        from.int64()
        const state = from.text()
        from.end()
        return { transactionalId, state }
      })
    },
  )
}

const DESCRIBE_TRANSACTIONS = 65

/** The error code for one transactional id; null where the broker is too old to say (before Kafka 3.0). */
export async function describeTransaction(link: Link, transactionalId: string): Promise<number | null> {
  if (!link.speaks(DESCRIBE_TRANSACTIONS, 0)) return null
  return link.call(
    { key: DESCRIBE_TRANSACTIONS, name: 'DescribeTransactions', version: 0, flexible: true },
    (to) => to.array([transactionalId], (id) => to.string(id)),
    (from) => {
      from.int32()
      // What follows the first state's code says nothing here.
      return from.unsignedVarint() > 1 ? from.int16() : null
    },
  )
}
