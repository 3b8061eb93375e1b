/** Options of the kafka sink, and the cluster that they describe. Names are Flink CDC's and Kafka's own where those have one. */
import { z } from 'zod'
import { TidemarkError } from '../../core/errors.js'
import { duration } from '../../core/options.js'
import { connectionOptions } from '../../drivers/kafka-options.js'
import { messageFormatFrom, messageFormatOptions } from '../message-format.js'
import { PARTITION_STRATEGIES } from './partition.js'
import {
  illegalTemplate,
  regularExpression,
  replacementMistake,
  tableTopics,
  topicName,
  topicTemplate,
} from './topic-options.js'

const TRANSACTION_TIMEOUT_MS_DEFAULT = 60_000
const TRANSACTION_TIMEOUT_MS_MIN = 1_000
const TRANSACTION_TIMEOUT_MS_MAX = 3_600_000
const READ_BACK_TIMEOUT_MS_DEFAULT = 120_000
const TOPIC_CHECK_MS_DEFAULT = 30_000
const DURATION_MS_MIN = 100
const DURATION_MS_MAX = 3_600_000

const text = (about: string) => z.string().min(1).optional().describe(about)

export const kafkaSinkOptions = z
  .strictObject({
    ...connectionOptions,
    delivery: z
      .enum(['exactly-once', 'at-least-once'])
      .default('exactly-once')
      .describe(
        'exactly-once: rows and checkpoint are one Kafka transaction; consumers read with isolation.level=read_committed. at-least-once: no transactions; a crash may repeat messages.',
      ),
    'sink.delivery-guarantee': z
      .enum(['exactly-once', 'at-least-once'])
      .optional()
      .describe("Flink's name for `delivery`."),
    'transactional.id': text('Names the owner of the transactions. Default: tidemark-PIPELINE.'),
    'sink.transactional.id.prefix': text(
      "Flink's name for `transactional.id`; there is one producer, so it is used as it is.",
    ),
    'properties.transaction.timeout.ms': z
      .number()
      .int()
      .min(TRANSACTION_TIMEOUT_MS_MIN)
      .max(TRANSACTION_TIMEOUT_MS_MAX)
      .default(TRANSACTION_TIMEOUT_MS_DEFAULT)
      .describe(
        "After this time the brokers end a transaction that its owner left open; until then read_committed consumers wait behind it. At most the brokers' transaction.max.timeout.ms.",
      ),
    'checkpoint.topic': topicName(
      "The pipeline's own topic for claims and checkpoints: one partition, cleanup.policy=compact; made when absent. Default: tidemark-checkpoint-PIPELINE.",
    ),
    'checkpoint.read.timeout': duration(DURATION_MS_MIN, DURATION_MS_MAX)
      .default(READ_BACK_TIMEOUT_MS_DEFAULT)
      .describe('How long a start waits for transactions of others that hang on the checkpoint topic.'),
    'topic.prefix': text("The first part of topic names and Debezium's logical name. Default: the pipeline's name."),
    'topic.template': topicTemplate(
      '{prefix}.{schema}.{table}',
      "A table's topic. {prefix}, {database}, {schema} and {table} are filled in.",
    ),
    topic: topicName('One topic for all tables.'),
    'topic.regex': regularExpression(
      'A regular expression on the name that the template gives; what it matches is replaced by `topic.replacement`.',
    ),
    'topic.replacement': z.string().optional().describe('See `topic.regex`; $1, $2... are its groups.'),
    'sink.tableId-to-topic.mapping': tableTopics(
      'Topics of single tables, before everything else: `shop.public.orders:orders;public.users:people`.',
    ),
    'topic.creation.enable': z.boolean().default(true).describe('Whether topics that do not exist are made.'),
    'topic.creation.default.partitions': z
      .number()
      .int()
      .min(1)
      .optional()
      .describe("Partitions of a topic that is made. Default: the brokers' num.partitions."),
    'topic.creation.default.replication.factor': z
      .number()
      .int()
      .min(1)
      .max(32_767)
      .optional()
      .describe("Replicas of a topic that is made. Default: the brokers' default.replication.factor."),
    'topic.creation.config': z
      .record(z.string().min(1), z.union([z.string(), z.number(), z.boolean()]).transform(String))
      .optional()
      .describe('Configuration of a topic that is made, e.g. `cleanup.policy: compact`.'),
    'include.schema.changes': z
      .boolean()
      .default(false)
      .describe(
        'Each new definition of a table is announced in a topic of its own, before the first rows under it. For debezium-json.',
      ),
    'schema.changes.topic': topicName('For `include.schema.changes`. Default: the topic prefix alone, as Debezium.'),
    'partition.strategy': z
      .enum(PARTITION_STRATEGIES)
      .default('hash-by-key')
      .describe(
        "hash-by-key: as Java's default partitioner, a message without a key goes to its table's partition. by-table: all of a table to one. all-to-zero. round-robin: no order per key.",
      ),
    'partition.count.change': z
      .enum(['stop', 'keep', 'accept'])
      .default('stop')
      .describe(
        'What to do when a topic has other partitions than before, so that keys would move: stop; keep hashing over the old count; or accept the new count.',
      ),
    'topic.change': z
      .enum(['stop', 'accept'])
      .default('stop')
      .describe(
        'What to do when a topic that was written is gone or was made anew, a table would go to another topic than before, or value.format is another one: stop, because consumers would miss or not understand messages; or go on with what comes from here on.',
      ),
    'topic.check.interval': duration(DURATION_MS_MIN, DURATION_MS_MAX)
      .default(TOPIC_CHECK_MS_DEFAULT)
      .describe('How often a running pipeline looks whether its topics are still the same, with the same partitions.'),
    'truncate.partitions': z
      .enum(['first', 'all', 'none'])
      .default('first')
      .describe(
        'Whether a truncate event goes to partition 0, to every partition of its topic, or nowhere (compacted topics take none, because it has no key).',
      ),
    'properties.compression.type': z
      .enum(['none', 'gzip', 'snappy', 'lz4', 'zstd'])
      .default('none')
      .describe('Compression of record batches.'),
    'message.too.large': z
      .enum(['stop', 'dead-letter', 'claim-check'])
      .default('stop')
      .describe(
        "What to do with a single record over the topic's max.message.bytes: stop; write it to `dead.letter.topic`; or keep its value in a file below `claim.check.path` and send a reference.",
      ),
    'dead.letter.topic': topicName('For `message.too.large: dead-letter`; its max.message.bytes must be larger.'),
    'claim.check.path': text('For `message.too.large: claim-check`: a folder for values.'),
    ...messageFormatOptions,
  })
  .superRefine((options, context) => {
    const issue = (name: string, message: string) => context.addIssue({ code: 'custom', path: [name], message })
    if (options['message.too.large'] === 'dead-letter' && options['dead.letter.topic'] === undefined)
      issue('message.too.large', 'dead-letter needs `dead.letter.topic`')
    if (options['message.too.large'] === 'claim-check' && options['claim.check.path'] === undefined)
      issue('message.too.large', 'claim-check needs `claim.check.path`')
    const debezium = options['value.format'] === 'debezium-json' && options['debezium-json.flavor'] === 'debezium'
    if (options['include.schema.changes'] && (!debezium || options['debezium-json.include-schema.enabled']))
      issue(
        'include.schema.changes',
        'goes with value.format debezium-json in its own flavor, without embedded schemas',
      )
    if (options['topic.replacement'] !== undefined && options['topic.regex'] === undefined)
      issue('topic.replacement', 'give `topic.regex` as well')
    if (options['topic.regex'] !== undefined && options['topic.replacement'] === undefined)
      issue('topic.regex', 'give `topic.replacement` as well')
    const { 'topic.regex': regex, 'topic.replacement': replacement, 'topic.template': template } = options
    if (regex instanceof RegExp && replacement !== undefined) {
      const wrong = replacementMistake(regex, replacement)
      if (wrong !== null) issue('topic.replacement', wrong)
    } else if (regex === undefined) {
      const wrong = illegalTemplate(template)
      if (wrong !== null) issue('topic.template', wrong)
    }
    try {
      messageFormatFrom(options, { logicalName: '' })
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error
      issue((error.at ?? '').replace(/^sink\./, ''), `${error.message} ${error.fix ?? ''}`.trim())
    }
  })

export type KafkaSinkOptions = z.output<typeof kafkaSinkOptions>
