/** A few records of a partition, for whoever wants to know what messages are before they are read in earnest. */
import type { Abortable } from '../../core/source.js'
import type { KafkaCluster, KafkaRecord } from '../../drivers/kafka.js'

const TIMEOUT_MS = 5_000

export interface Sampled {
  readonly topic: string
  readonly partition: number
  readonly record: KafkaRecord
}

/** Committed records at most `max` offsets apart, behind `from` or, where it is null, before the end. */
export async function sampleOf(
  cluster: KafkaCluster,
  { topic, partition, from }: { readonly topic: string; readonly partition: number; readonly from: bigint | null },
  max: bigint,
  { signal }: Abortable,
): Promise<Sampled[]> {
  const end = await cluster.endOffset(topic, partition, 'committed', { signal })
  const start = await cluster.startOffset(topic, partition, { signal })
  const first = from ?? later(end - max, start)
  const until = -later(-(first + max), -end)
  const found: Sampled[] = []
  if (first >= until) return found
  for await (const records of cluster.readCommitted(topic, partition, first, until, {
    signal,
    timeoutMs: TIMEOUT_MS,
  })) {
    found.push(...records.map((record) => ({ topic, partition, record })))
  }
  return found
}

function later(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
