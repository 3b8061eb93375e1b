/** Producers and packs for tests: numbered records that a judge can count and order. */
import {
  KafkaCluster,
  type KafkaOptions,
  KafkaProducer,
  type Pack,
  PackWriter,
  type ProducerOptions,
} from '../../drivers/kafka.js'
import type { JudgedRecord } from './kafka.js'

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

const NO_HEADERS = Buffer.alloc(0)
const signal = new AbortController().signal
let ids = 0

export async function connectKafka(t: Teardown, options: KafkaOptions): Promise<KafkaCluster> {
  const cluster = await KafkaCluster.connect(options, { signal })
  t.teardown(() => cluster.close())
  return cluster
}

/** A transactional id of one's own. */
export function newId(): string {
  ids++
  return `id-${process.pid}-${ids}`
}

export async function openProducer(
  t: Teardown,
  cluster: KafkaCluster,
  change: Partial<ProducerOptions> = {},
): Promise<KafkaProducer> {
  const options = {
    transactionalId: newId(),
    transactionTimeoutMs: 60_000,
    compression: 'none',
    maxMessageBytes: () => 1_048_588,
    ...change,
  } as const
  const producer = await KafkaProducer.open(cluster, options, { signal })
  t.teardown(() => producer.close())
  return producer
}

/** Records with the values `from`, `from + 1`... as text, padded to `bytes`. */
export function numbered(topic: string, partition: number, from: number, count: number, bytes = 0): Pack {
  const writer = new PackWriter(topic, partition, 1_024)
  for (let i = from; i < from + count; i++) {
    const value = Buffer.from(String(i).padEnd(bytes))
    writer.append(1_795_415_073_092, value, -1, -1, value, 0, value.length, NO_HEADERS)
  }
  return writer.take()
}

/** The numbers that a judge read, by partition, in the order of the log. */
export function numbersOf(records: readonly JudgedRecord[]): Record<number, number[]> {
  const found: Record<number, number[]> = {}
  for (const { partition, value } of records) {
    found[partition] ??= []
    found[partition].push(Number(value))
  }
  return found
}

export function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i)
}
