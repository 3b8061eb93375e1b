/**
 * Where a reader stands: the next offset of every partition, of topics that are told apart from others of their name. What is
 * always true: `ordinal` counts every entry of a log that was passed, so it grows with each and never else.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'
import { type Json, type JsonArray, type JsonNumber, type JsonObject, parseJson } from './json.js'

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

export function parseKafkaPosition(position: Position): KafkaPosition {
  try {
    const whole = parseJson(Buffer.from(position)) as JsonObject
    const topics = [...(whole.get('topics') as JsonObject).fields].map(([name, place]): [string, TopicPlace] => {
      const [id, ...next] = (place as JsonArray).items
      return [name, { id: id as string | null, next: next.map(digits) }]
    })
    return { ordinal: digits(whole.get('passed')), topics: new Map(topics) }
  } catch (cause) {
    throw new TidemarkError('core.checkpoint_unreadable', {
      message: `the position ${position} is not one of the kafka source`,
      fix: 'Restore the checkpoint, or run `tidemark drop FILE` and start anew.',
      cause,
    })
  }
}

/** Offsets beyond doubles stay exact. */
function digits(value: Json | undefined): bigint {
  return BigInt((value as JsonNumber).text)
}
