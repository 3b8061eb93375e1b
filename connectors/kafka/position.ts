/**
 * Where a reader stands: the next offset of every partition, of topics that are told apart from others of their name. What is
 * always true: `ordinal` counts every entry of a log that was passed, so it grows with each and never else.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'

export interface TopicPlace {
  /** Null where the brokers have none (before Kafka 2.8). */
  readonly id: string | null
  /** Next offsets, by partition. */
  readonly next: bigint[]
}

export interface KafkaPosition {
  ordinal: bigint
  readonly topics: Map<string, TopicPlace>
}

/** `{"passed":12,"topics":{"a":["id",3,9]}}`: short, because every checkpoint has it. */
export function formatKafkaPosition({ ordinal, topics }: KafkaPosition): Position {
  const parts = [...topics].map(([name, { id, next }]) => `${JSON.stringify(name)}:[${[JSON.stringify(id), ...next]}]`)
  return `{"passed":${ordinal},"topics":{${parts}}}` as Position
}

/** Offsets beyond doubles stay exact: they stand as digits. */
export function parseKafkaPosition(position: Position): KafkaPosition {
  try {
    const quoted = position.replace(/(?<=[:,])(\d+)(?=[,\]}])/g, '"$1"')
    const { passed, topics } = JSON.parse(quoted) as {
      readonly passed: string
      readonly topics: Readonly<Record<string, readonly [id: string | null, ...next: string[]]>>
    }
    const places = Object.entries(topics).map(
      ([name, [id, ...next]]) => [name, { id, next: next.map(BigInt) }] as const,
    )
    return { ordinal: BigInt(passed), topics: new Map(places) }
  } catch (cause) {
    throw new TidemarkError('core.checkpoint_unreadable', {
      message: `the position ${position} is not one of the kafka source`,
      fix: 'Restore the checkpoint, or run `tidemark drop FILE` and start anew.',
      cause,
    })
  }
}
