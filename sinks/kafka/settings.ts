/** What the options mean for one pipeline. */

import type { NewTopic } from '../../drivers/kafka.js'
import type { KafkaSinkOptions } from './options.js'
import { legal, type TopicOptions } from './topics.js'

/** What brokers allow unless told otherwise; used where the topic's own limit may not be read. */
const MAX_MESSAGE_BYTES_DEFAULT = 1_048_588
/** The brokers' own default. */
const BROKER_DEFAULT = -1

export interface KafkaSettings {
  readonly options: KafkaSinkOptions
  readonly pipeline: string
  readonly exactlyOnce: boolean
  readonly transactionalId: string
  readonly transactionTimeoutMs: number
  readonly checkpointTopic: string
  readonly topics: TopicOptions
  /** For BEGIN and END of source transactions; absent: nobody asked for them. */
  readonly transactionTopic: string | undefined
  /** For definitions of tables; absent: nobody asked for them. */
  readonly schemaTopic: string | undefined
  readonly replication: number
  readonly maxMessageBytesDefault: number
}

export function kafkaSettings(options: KafkaSinkOptions, pipeline: string): KafkaSettings {
  const prefix = options['topic.prefix'] ?? pipeline
  return {
    options,
    pipeline,
    exactlyOnce: (options['sink.delivery-guarantee'] ?? options.delivery) === 'exactly-once',
    transactionalId: options['transactional.id'] ?? options['sink.transactional.id.prefix'] ?? `tidemark-${pipeline}`,
    transactionTimeoutMs: options['properties.transaction.timeout.ms'],
    checkpointTopic: options['checkpoint.topic'] ?? legal(`tidemark-checkpoint-${pipeline}`),
    topics: {
      topic: options.topic,
      template: options['topic.template'],
      prefix,
      regex: options['topic.regex'],
      replacement: options['topic.replacement'],
      mapping: options['sink.tableId-to-topic.mapping'] ?? new Map(),
    },
    transactionTopic: options['provide.transaction.metadata'] ? legal(`${prefix}.transaction`) : undefined,
    schemaTopic: options['include.schema.changes'] ? legal(options['schema.changes.topic'] ?? prefix) : undefined,
    replication: options['topic.creation.default.replication.factor'] ?? BROKER_DEFAULT,
    maxMessageBytesDefault: MAX_MESSAGE_BYTES_DEFAULT,
  }
}

/** How a topic for rows is made. */
export function newTopic({ options, replication }: KafkaSettings): NewTopic {
  return {
    partitions: options['topic.creation.default.partitions'] ?? BROKER_DEFAULT,
    replication,
    config: options['topic.creation.config'] ?? {},
  }
}
