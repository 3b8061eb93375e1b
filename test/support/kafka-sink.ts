/** Pipelines into Kafka for tests, and what Java's consumer reads of them. */
import type { Test } from 'tap'
import { kafkaSink } from '../../sinks/kafka/index.js'
import { type ChangeEvent, Changelog, type ChangelogTable } from './changelog.js'
import type { JudgedRecord, TestKafka } from './kafka.js'
import type { TestDatabase } from './postgres.js'
import { type PipelineFile, writePipeline } from './process.js'

export interface KafkaPipeline {
  readonly source: TestDatabase
  readonly kafka: TestKafka
  readonly name: string
  readonly tables?: string
  readonly sink?: Readonly<Record<string, unknown>>
  readonly from?: Readonly<Record<string, unknown>>
  readonly pipeline?: Readonly<Record<string, unknown>>
}

export function kafkaPipeline(t: Test, options: KafkaPipeline): PipelineFile {
  const { source, kafka, name, tables = 'public.w' } = options
  return writePipeline(t, {
    source: {
      type: 'postgres',
      url: source.url,
      tables,
      'scan.incremental.snapshot.chunk.size': 500,
      ...options.from,
    },
    sink: { ...kafkaSinkBlock(kafka), ...options.sink },
    pipeline: { name, 'checkpoint.interval': '50ms', ...options.pipeline },
  })
}

export function kafkaSinkBlock(kafka: TestKafka): Record<string, unknown> {
  return {
    type: 'kafka',
    'properties.bootstrap.servers': kafka.bootstrap,
    'topic.creation.default.partitions': 3,
    'topic.creation.default.replication.factor': 1,
  }
}

/** Options as the sink's definition gets them. */
export function parsedSinkOptions(kafka: TestKafka, more: Readonly<Record<string, unknown>> = {}) {
  const { type: _, ...block } = kafkaSinkBlock(kafka)
  return kafkaSink.options.parse({ ...block, ...more }) as never
}

/** Replays what Java's consumer reads: each event is judged, keys in the order of their partition. */
export async function judged(
  kafka: TestKafka,
  topic: string,
  table: string,
  about: ChangelogTable,
): Promise<{ readonly log: Changelog; readonly records: readonly JudgedRecord[] }> {
  const records = await kafka.read(topic)
  const log = new Changelog({ [table]: about })
  for (const { value } of records) if (value !== null) log.add(JSON.parse(value.toString()) as ChangeEvent)
  return { log, records }
}
