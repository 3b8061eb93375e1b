/** Pipelines that read Kafka's topics back, and messages put into topics by hand. */
import type { Test } from 'tap'
import { kafkaSource } from '../../connectors/kafka/index.js'
import { KafkaCluster, KafkaProducer, type Pack, PackWriter } from '../../drivers/kafka.js'
import type { TestKafka } from './kafka.js'
import { type PipelineFile, writePipeline } from './process.js'

const { signal } = new AbortController()
const TRANSACTION_MS = 60_000
const MESSAGE_BYTES_MAX = 1_000_000
const BUFFER_BYTES = 4_096
const NO_HEADERS = Buffer.alloc(0)

export interface SourcePipeline {
  readonly kafka: TestKafka
  readonly name: string
  readonly source: Readonly<Record<string, unknown>>
  readonly sink: Readonly<Record<string, unknown>>
  readonly pipeline?: Readonly<Record<string, unknown>>
}

export function fromKafka(t: Test, { kafka, name, source, sink, pipeline }: SourcePipeline): PipelineFile {
  return writePipeline(t, {
    source: { ...sourceBlock(kafka), ...source },
    sink,
    pipeline: { name, 'checkpoint.interval': '50ms', ...pipeline },
  })
}

export function sourceBlock(kafka: TestKafka): Record<string, unknown> {
  return {
    type: 'kafka',
    'properties.bootstrap.servers': kafka.bootstrap,
    'scan.topic-partition-discovery.interval': '200ms',
  }
}

/** Options as the source's definition gets them. */
export function parsedSourceOptions(kafka: TestKafka, more: Readonly<Record<string, unknown>>) {
  const { type: _, ...block } = sourceBlock(kafka)
  return kafkaSource.options.parse({ ...block, ...more }) as never
}

export interface Put {
  readonly key?: string | null
  readonly value: string | null
}

/** Writes messages in one transaction, which is committed or aborted; without an id, without one. */
export async function put(
  kafka: TestKafka,
  to: { readonly topic: string; readonly partition?: number },
  messages: readonly Put[],
  end: 'commit' | 'abort' | 'none' = 'none',
): Promise<void> {
  const { topic, partition = 0 } = to
  const cluster = await KafkaCluster.connect(kafka.options(), { signal })
  const transactionalId = end === 'none' ? null : `put-${topic}-${process.pid}`
  try {
    const producer = await KafkaProducer.open(
      cluster,
      {
        transactionalId,
        transactionTimeoutMs: TRANSACTION_MS,
        compression: 'none',
        maxMessageBytes: () => MESSAGE_BYTES_MAX,
      },
      { signal },
    )
    try {
      await producer.send(packsOf(topic, partition, messages))
      if (end === 'commit') await producer.commit()
      if (end === 'abort') await producer.abort()
    } finally {
      await producer.close()
    }
  } finally {
    await cluster.close()
  }
}

function packsOf(topic: string, partition: number, messages: readonly Put[]): Pack[] {
  const writer = new PackWriter(topic, partition, BUFFER_BYTES)
  for (const { key = null, value } of messages) {
    const keyBytes = Buffer.from(key ?? '')
    const valueBytes = Buffer.from(value ?? '')
    const keyEnd = key === null ? -1 : keyBytes.length
    const valueEnd = value === null ? -1 : valueBytes.length
    writer.append(
      Date.now(),
      keyBytes,
      key === null ? -1 : 0,
      keyEnd,
      valueBytes,
      value === null ? -1 : 0,
      valueEnd,
      NO_HEADERS,
    )
  }
  return [writer.take()]
}
