/** The kafka sink: exactly-once through transactions that hold the checkpoint, or at-least-once without. */
import { defineSink } from '../../core/define.js'
import type { Sink } from '../../core/sink.js'
import { KafkaCluster, KafkaProducer } from '../../drivers/kafka.js'
import { kafkaOptions } from '../../drivers/kafka-options.js'
import { saysSnapshot } from '../formats/message-options.js'
import { createMessageFormat } from '../formats/messages.js'
import { messageFormatFrom } from '../message-format.js'
import { checkKafkaSink } from './check.js'
import { CheckpointTopic } from './checkpoint-topic.js'
import { inspectKafkaSink, kafkaTableMistakes } from './inspect.js'
import { NO_TOPICS } from './known-topics.js'
import { type KafkaSinkOptions, kafkaSinkOptions } from './options.js'
import { fence } from './ownership.js'
import { KafkaSession } from './session.js'
import { type KafkaSettings, kafkaSettings } from './settings.js'

export type { KafkaSinkOptions } from './options.js'

/** One transaction holds at most this much, and is open for at most this part of transaction.timeout.ms. */
const TRANSACTION_BYTES_MAX = 64 * 1024 * 1024
const TRANSACTION_TIME_PART = 1 / 4

export const kafkaSink = defineSink<KafkaSinkOptions>({
  connector: 'kafka',
  summary:
    'Topics of a Kafka cluster, exactly-once: messages and checkpoint are one transaction (consumers read with isolation.level=read_committed).',
  options: kafkaSinkOptions as never,

  inspect: inspectKafkaSink,
  tableMistakes: (options, { pipeline }) => kafkaTableMistakes(options, pipeline),

  create(options, { pipeline }): Sink {
    const settings = kafkaSettings(options, pipeline)
    return {
      connector: 'kafka',
      guarantee: settings.exactlyOnce ? 'exactly-once' : 'at-least-once',
      checkpointIn: `checkpoint topic ${settings.checkpointTopic}`,
      completesMoves: false,
      keepsMoves: true,
      commitBytesMax: TRANSACTION_BYTES_MAX,
      commitsTruncateAlone: true,
      marksSnapshot: saysSnapshot(messageFormatFrom(options, { logicalName: '' })),
      ...(settings.exactlyOnce
        ? { commitMsMax: settings.transactionTimeoutMs * TRANSACTION_TIME_PART }
        : { unfenced: true }),
      open: (context) =>
        KafkaSession.open(
          settings,
          createMessageFormat(
            messageFormatFrom(options, { logicalName: settings.topics.prefix, onWait: context.note }),
          ),
          context,
        ),
    }
  },

  check: (options, context) => checkKafkaSink(kafkaSettings(options, context.pipeline), context),

  async readCheckpoint(options, { pipeline, signal }) {
    const settings = kafkaSettings(options, pipeline)
    return await withTopic(settings, signal, async (topic, cluster) => {
      const until = await cluster.endOffset(topic.name, 0, 'committed', { signal })
      return (await topic.read(until, { signal, timeoutMs: options['checkpoint.read.timeout'] })).checkpoint
    })
  },

  /** The topic stays, with a record that says so: an old process of this pipeline is fenced, and sees it. */
  async drop(options, { pipeline, signal }) {
    const settings = kafkaSettings(options, pipeline)
    const dropped = await withTopic(settings, signal, async (topic, cluster) => {
      const until = await cluster.endOffset(topic.name, 0, 'committed', { signal })
      const timeoutMs = options['checkpoint.read.timeout']
      const before = await topic.read(until, { signal, timeoutMs })
      if (before.checkpoint === null) return []
      for (const id of topic.owners) if (id !== settings.transactionalId) await fence(cluster, settings, id, { signal })
      const producer = await KafkaProducer.open(
        cluster,
        {
          transactionalId: settings.exactlyOnce ? settings.transactionalId : null,
          transactionTimeoutMs: settings.transactionTimeoutMs,
          compression: 'none',
          maxMessageBytes: () => settings.maxMessageBytesDefault,
        },
        { signal },
      )
      try {
        await producer.send(topic.checkpoint(null, { topics: NO_TOPICS, transaction: null, spare: before.spare }))
        if (settings.exactlyOnce) await producer.commit()
      } finally {
        await producer.close()
      }
      return [`checkpoint in topic ${topic.name} (topics and their messages were left)`]
    })
    return dropped ?? []
  },
})

/** null: the topic does not exist. */
async function withTopic<T>(
  settings: KafkaSettings,
  signal: AbortSignal,
  work: (topic: CheckpointTopic, cluster: KafkaCluster) => Promise<T>,
): Promise<T | null> {
  const cluster = await KafkaCluster.connect(kafkaOptions(settings.options, settings.pipeline, 'sink'), { signal })
  try {
    const topic = new CheckpointTopic(cluster, settings.checkpointTopic, settings.pipeline)
    return (await topic.exists({ signal })) ? await work(topic, cluster) : null
  } finally {
    await cluster.close()
  }
}
