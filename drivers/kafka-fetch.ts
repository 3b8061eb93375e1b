/**
 * The Fetch request, for one partition or many of one broker, at isolation level 1. By topic id where the broker speaks it
 * (Kafka 3.1), so that a topic that was made anew under its name cannot be taken for the old one.
 */
import type { Link } from './kafka-connection.js'
import { ConnectionLost, codeName } from './kafka-errors.js'
import type { AbortedTransaction } from './kafka-records.js'
import { type TopicPartition, uuidBytes, uuidText } from './kafka-requests.js'

/** One answer holds this much, or one batch. */
export const FETCH_BYTES_MAX = 8 * 1024 * 1024
const FETCH = 1
const BY_ID = 13
const BY_NAME = 11
const COMMITTED = 1
const NOT_ASKED = -1

export interface FetchPlace extends TopicPartition {
  readonly position: bigint
  /** Null: by name. */
  readonly topicId: string | null
}

export interface Fetched extends TopicPartition {
  readonly error: number
  readonly highWatermark: bigint
  readonly aborted: readonly AbortedTransaction[]
  /** The broker to read from, -1 for this one. */
  readonly replica: number
  readonly records: Buffer
}

export interface FetchOptions {
  readonly waitMs: number
  /** '' reads from the leader. */
  readonly rack: string
  /** Of one partition, beyond its first batch. */
  readonly partitionBytesMax?: number
}

/** What the broker answered for each place; partitions that it left out are absent. */
export function fetch(link: Link, places: readonly FetchPlace[], options: FetchOptions): Promise<Fetched[]> {
  const { waitMs, rack, partitionBytesMax = FETCH_BYTES_MAX } = options
  const ids = link.speaks(FETCH, BY_ID) && places.every(({ topicId }) => topicId !== null)
  const version = ids ? BY_ID : link.version(FETCH, 'Fetch', [BY_NAME])
  const topics = new Map<string, FetchPlace[]>()
  for (const place of places) topics.set(place.topic, [...(topics.get(place.topic) ?? []), place])
  const nameOf = new Map(places.map(({ topic, topicId }) => [topicId, topic]))
  return link.call(
    { key: FETCH, name: 'Fetch', version, flexible: ids },
    (to) => {
      to.int32(NOT_ASKED).int32(waitMs).int32(1).int32(FETCH_BYTES_MAX).int8(COMMITTED)
      // No session.
      to.int32(0).int32(-1)
      to.array([...topics], ([topic, wanted]) => {
        if (ids) to.uuid(uuidBytes(wanted[0]!.topicId!))
        else to.string(topic)
        to.array(wanted, ({ partition, position }) => {
          to.int32(partition).int32(NOT_ASKED).int64(position)
          if (ids) to.int32(NOT_ASKED)
          to.int64(-1n).int32(partitionBytesMax).end()
        }).end()
      })
      to.array([], () => {})
        .string(rack)
        .end()
    },
    (from) => {
      from.int32()
      const failed = from.int16()
      from.int32()
      const found = from.array(() => {
        const topic = ids ? (nameOf.get(uuidText(from.uuid())) ?? '') : from.text()
        const partitions = from.array((): Fetched => {
          const partition = from.int32()
          const error = from.int16()
          const highWatermark = from.int64()
          from.int64()
          from.int64()
          const aborted = from.array(() => {
            const one = { producerId: from.int64(), firstOffset: from.int64() }
            from.end()
            return one
          })
          const replica = from.int32()
          const records = from.bytes() ?? Buffer.alloc(0)
          from.end()
          return { topic, partition, error, highWatermark, aborted, replica, records }
        })
        from.end()
        return partitions
      })
      if (failed === 0) return found.flat()
      throw new ConnectionLost(`Fetch was answered with ${codeName(failed)}`)
    },
    waitMs,
  )
}
