/**
 * One partition read up to an end, at isolation level 1 and without a consumer group. What is always true: the position counts what is in
 * the log, not what is delivered; the last thing in a transactional log is a marker that no consumer ever sees.
 */

import { TidemarkError } from '../core/errors.js'
import type { Abortable } from '../core/source.js'
import { describeProducers, transactionalIdsOf } from './kafka-admin-requests.js'
import { ConnectionLost, isConnectionLost, KafkaCode, LEADER_BUSY, refused } from './kafka-errors.js'
import { type Fetched, fetch } from './kafka-fetch.js'
import type { KafkaNodes } from './kafka-nodes.js'
import { type KafkaRecord, readBatches } from './kafka-records.js'
import type { TopicPartition } from './kafka-requests.js'
import { abortable, Busy, repeat } from './kafka-retry.js'

/** How long the broker waits for news: an end is awaited. */
const WAIT_MS = 50

/** One partition's reader; kafka-partitions.ts reads many, without end. */
export class PartitionReader {
  readonly #nodes: KafkaNodes
  readonly #at: TopicPartition
  readonly #where: string

  constructor(nodes: KafkaNodes, at: TopicPartition) {
    this.#nodes = nodes
    this.#at = at
    this.#where = `${at.topic}-${at.partition}`
  }

  /** Committed records in order until the position reaches `until`. `timeoutMs` is without progress. */
  async *committed(
    from: bigint,
    until: bigint,
    { signal, timeoutMs }: Abortable & { timeoutMs: number },
  ): AsyncGenerator<readonly KafkaRecord[]> {
    let position = from
    let deadline = performance.now() + timeoutMs
    while (position < until) {
      const { records, next } = await this.#read(position, signal)
      if (next > position) deadline = performance.now() + timeoutMs
      else if (performance.now() > deadline) throw await this.#hanging(position, until, timeoutMs, signal)
      position = next
      const wanted = records.filter((record) => record.offset < until)
      if (wanted.length > 0) yield wanted
    }
  }

  async #read(position: bigint, signal: AbortSignal) {
    const { records, aborted } = await this.#fetch(position, signal)
    return readBatches(records, position, aborted, this.#where)
  }

  async #fetch(position: bigint, signal: AbortSignal): Promise<Fetched> {
    const { topic, partition } = this.#at
    return repeat(`reading ${this.#where}`, { retryMs: this.#nodes.options.retryMs, signal }, async () => {
      const node = await findLeader(this.#nodes, this.#at, signal)
      if (node === null) return new Busy(KafkaCode.leaderNotAvailable)
      let fetched: Fetched | undefined
      try {
        const link = await this.#nodes.link(node, 'fetch', { signal })
        // Without a rack the leader answers itself.
        const place = { ...this.#at, position, topicId: null }
        ;[fetched] = await abortable(fetch(link, [place], { waitMs: WAIT_MS, rack: '' }), signal)
        if (!fetched) throw new ConnectionLost('Fetch was answered without the partition')
      } catch (error) {
        if (isConnectionLost(error)) this.#nodes.forget(topic)
        throw error
      }
      if (fetched.error === KafkaCode.none) return fetched
      this.#nodes.forget(topic)
      if (LEADER_BUSY.has(fetched.error)) return new Busy(fetched.error)
      if (fetched.error === KafkaCode.offsetOutOfRange) throw outOfRange(this.#where, position)
      throw refused(fetched.error, `reading partition ${partition}`, `topic ${topic}`)
    })
  }

  /** Who holds the position back, as far as the brokers say. */
  async #hanging(position: bigint, until: bigint, timeoutMs: number, signal: AbortSignal): Promise<TidemarkError> {
    const holder = await this.#holder(signal).catch(() => null)
    signal.throwIfAborted()
    const who =
      holder === null
        ? ''
        : `; it belongs to ${holder.transactionalId === null ? '' : `transactional id ${holder.transactionalId}, `}producer ${holder.producerId}, epoch ${holder.epoch}, and began at offset ${holder.start}`
    return new TidemarkError('kafka.transaction_hanging', {
      message: `${this.#where}: an open transaction keeps committed records behind offset ${position} from being read for ${timeoutMs} ms (the log ends at ${until})${who}`,
      fix: `Stop its producer, wait for its transaction.timeout.ms, or end it: kafka-transactions.sh --bootstrap-server HOST:PORT abort --topic ${this.#at.topic} --partition ${this.#at.partition} --start-offset ${holder?.start ?? 'OFFSET'}`,
      retriable: true,
    })
  }

  async #holder(signal: AbortSignal) {
    const leader = await findLeader(this.#nodes, this.#at, signal)
    if (leader === null) return null
    const link = await this.#nodes.link(leader, 'control', { signal })
    const producers = await describeProducers(link, this.#at)
    const [oldest] = (producers ?? [])
      .filter((producer) => producer.transactionStart >= 0n)
      .sort((a, b) => (a.transactionStart < b.transactionStart ? -1 : 1))
    if (!oldest) return null
    const { producerId, epoch, transactionStart: start } = oldest
    return { producerId, epoch, start, transactionalId: await this.#transactionalId(producerId, signal) }
  }

  async #transactionalId(producerId: bigint, signal: AbortSignal): Promise<string | null> {
    for (const node of this.#nodes.nodeIds) {
      try {
        const [found] = await transactionalIdsOf(await this.#nodes.link(node, 'control', { signal }), producerId)
        if (found) return found.transactionalId
      } catch (error) {
        if (!isConnectionLost(error)) throw error
      }
    }
    return null
  }
}

/** The leader's node, asked for where it is not known; null while there is none. */
export async function findLeader(
  nodes: KafkaNodes,
  { topic, partition }: TopicPartition,
  signal: AbortSignal,
): Promise<number | null> {
  const known = nodes.leader(topic, partition)
  if (known !== null) return known
  const { topics } = await nodes.metadata([topic], { signal })
  const error = topics[0]?.error ?? KafkaCode.none
  if (error !== KafkaCode.none && !LEADER_BUSY.has(error)) throw refused(error, 'looking up', `topic ${topic}`)
  return nodes.leader(topic, partition)
}

export function outOfRange(where: string, position: bigint): TidemarkError {
  return new TidemarkError('kafka.offset_out_of_range', {
    message: `${where}: the log holds nothing at offset ${position} any more; retention or a recreated topic removed it`,
    fix: 'Raise the retention of the topic, and copy again what was lost.',
  })
}
