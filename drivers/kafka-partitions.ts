/**
 * Reads many partitions at once, read_committed, without a consumer group: one Fetch at a time for each broker that leads
 * some of them. What is always true: a partition is asked for only while nothing of it waits for the caller, so that a slow
 * caller pauses the brokers (I8); its position counts what is in the log, control batches and aborted records too.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError } from '../core/errors.js'
import type { Abortable } from '../core/source.js'
import { gaveUp, isConnectionLost, KafkaCode, LEADER_BUSY, refused } from './kafka-errors.js'
import { type Fetched, fetch } from './kafka-fetch.js'
import type { KafkaNodes } from './kafka-nodes.js'
import { outOfRange } from './kafka-reader.js'
import { type KafkaRecord, readBatches } from './kafka-records.js'
import type { TopicMetadata, TopicPartition } from './kafka-requests.js'
import { abortable } from './kafka-retry.js'

/** How long a broker waits for news. */
const WAIT_MS = 200
/** Of one partition in one answer, beyond its first batch. */
const PARTITION_BYTES_MAX = 1024 * 1024
/** A partition that cannot be read at the moment is asked for again after this long. */
const RETRY_PAUSE_MS = 50
/** How long a topic must be unknown to be taken for deleted: brokers learn of topics one after the other. */
const GONE_MS = 5_000
/** A reader that was sent to a replica nearby asks the leader again after this long. */
const REPLICA_MS_MAX = 5 * 60_000

export interface PartitionPlace extends TopicPartition {
  readonly position: bigint
  /** Null where the brokers have none (before Kafka 2.8). */
  readonly topicId: string | null
}

export interface PartitionBatch extends TopicPartition {
  readonly records: readonly KafkaRecord[]
  /** Where to go on. */
  readonly next: bigint
}

interface State {
  readonly at: TopicPartition
  readonly topicId: string | null
  position: bigint
  /** Under way, or waiting for the caller. */
  busy: boolean
  paused: boolean
  replica: { readonly node: number; readonly until: number } | null
  /** Since when it cannot be read. */
  failing: number | null
  retryAt: number
}

type Answer =
  | { readonly node: number; readonly states: readonly State[]; readonly fetched: readonly Fetched[] }
  | { readonly node: number; readonly states: readonly State[]; readonly error: unknown }

const keyOf = ({ topic, partition }: TopicPartition) => `${topic}-${partition}`

export class PartitionsReader {
  readonly #nodes: KafkaNodes
  /** Whoever was served last comes last, so that no partition starves another. */
  readonly #states = new Map<string, State>()
  #changed: () => void = () => {}

  constructor(nodes: KafkaNodes) {
    this.#nodes = nodes
  }

  add({ topic, partition, topicId, position }: PartitionPlace): void {
    const at = { topic, partition }
    const idle = { busy: false, paused: false, replica: null, failing: null, retryAt: 0 }
    this.#states.set(keyOf(at), { at, topicId, position, ...idle })
    this.#changed()
  }

  pause(at: TopicPartition): void {
    const state = this.#states.get(keyOf(at))
    if (state) state.paused = true
  }

  resume(at: TopicPartition): void {
    const state = this.#states.get(keyOf(at))
    if (state) state.paused = false
    this.#changed()
  }

  /** Without end; also yields when only a position moved. The next answer of a broker is asked for when the last was taken. */
  async *read({ signal }: Abortable): AsyncGenerator<readonly PartitionBatch[]> {
    const flights = new Map<number, Promise<Answer>>()
    for (;;) {
      signal.throwIfAborted()
      const changed = new Promise<void>((resolve) => {
        this.#changed = resolve
      })
      await this.#launch(flights, signal)
      const pause =
        flights.size > 0 && !this.#waits() ? [] : [sleep(RETRY_PAUSE_MS, null, { signal }).catch(() => null)]
      const answer = await abortable(Promise.race([...flights.values(), ...pause, changed]), signal)
      if (!answer) continue
      flights.delete(answer.node)
      const batches = await this.#take(answer, signal)
      if (batches.length > 0) yield batches
      for (const state of answer.states) state.busy = false
    }
  }

  #waits(): boolean {
    for (const { busy, paused } of this.#states.values()) if (!busy && !paused) return true
    return false
  }

  async #launch(flights: Map<number, Promise<Answer>>, signal: AbortSignal): Promise<void> {
    const now = performance.now()
    const ready = [...this.#states.values()].filter((s) => !s.busy && !s.paused && s.retryAt <= now)
    await this.#findLeaders(ready, signal)
    const byNode = new Map<number, State[]>()
    for (const state of ready) {
      const node = this.#nodeOf(state)
      if (node === null) this.#failed(state, KafkaCode.leaderNotAvailable)
      else if (!flights.has(node)) byNode.set(node, [...(byNode.get(node) ?? []), state])
    }
    for (const [node, states] of byNode) {
      for (const state of states) state.busy = true
      flights.set(node, this.#ask(node, states, signal))
    }
  }

  async #findLeaders(states: readonly State[], signal: AbortSignal): Promise<void> {
    const unknown = new Set(states.filter((s) => this.#nodeOf(s) === null).map(({ at }) => at.topic))
    if (unknown.size === 0) return
    await this.#metadata([...unknown], signal)
  }

  /** Nothing while no broker answers: whoever asked is failing, and asks again. */
  async #metadata(topics: readonly string[], signal: AbortSignal): Promise<readonly TopicMetadata[]> {
    try {
      return (await this.#nodes.metadata(topics, { signal })).topics
    } catch (error) {
      signal.throwIfAborted()
      if (!isConnectionLost(error) && !(error instanceof TidemarkError && error.retriable)) throw error
      return []
    }
  }

  #nodeOf({ at, replica }: State): number | null {
    if (replica !== null && replica.until > performance.now()) return replica.node
    return this.#nodes.leader(at.topic, at.partition)
  }

  async #ask(node: number, states: readonly State[], signal: AbortSignal): Promise<Answer> {
    const places = states.map(({ at, topicId, position }) => ({ ...at, topicId, position }))
    const options = { waitMs: WAIT_MS, rack: this.#nodes.options.rack ?? '', partitionBytesMax: PARTITION_BYTES_MAX }
    try {
      const link = await this.#nodes.link(node, 'fetch', { signal })
      return { node, states, fetched: await abortable(fetch(link, places, options), signal) }
    } catch (error) {
      return { node, states, error }
    }
  }

  async #take(answer: Answer, signal: AbortSignal): Promise<PartitionBatch[]> {
    if ('error' in answer) {
      signal.throwIfAborted()
      if (!isConnectionLost(answer.error)) throw answer.error
      for (const state of answer.states) this.#failed(state, answer.error)
      return []
    }
    const batches: PartitionBatch[] = []
    const found = new Map(answer.fetched.map((fetched) => [keyOf(fetched), fetched]))
    for (const state of answer.states) {
      const fetched = found.get(keyOf(state.at))
      if (fetched === undefined) this.#failed(state, KafkaCode.unknownTopicOrPartition)
      else if (fetched.error !== KafkaCode.none) await this.#judge(state, fetched.error, signal)
      else {
        const batch = await this.#read(state, fetched, answer.node)
        if (batch !== null) batches.push(batch)
      }
    }
    return batches
  }

  async #read(state: State, { records, aborted, replica }: Fetched, node: number): Promise<PartitionBatch | null> {
    state.failing = null
    if (replica >= 0 && replica !== node) state.replica = { node: replica, until: performance.now() + REPLICA_MS_MAX }
    if (records.length === 0) return null
    const where = keyOf(state.at)
    const read = await readBatches(records, state.position, aborted, where)
    if (read.next === state.position) return null
    state.position = read.next
    this.#states.delete(where)
    this.#states.set(where, state)
    return { ...state.at, records: read.records, next: read.next }
  }

  async #judge(state: State, code: number, signal: AbortSignal): Promise<void> {
    const { topic, partition } = state.at
    const onReplica = state.replica !== null
    if (code === KafkaCode.offsetOutOfRange && !onReplica) throw outOfRange(keyOf(state.at), state.position)
    if (UNKNOWN.has(code)) await this.#requireSame(state, signal)
    if (!LEADER_BUSY.has(code) && !UNKNOWN.has(code) && !onReplica) {
      throw refused(code, `reading partition ${partition}`, `topic ${topic}`)
    }
    this.#failed(state, code)
  }

  /** Another topic under the name, or none any more. */
  async #requireSame({ at, topicId, failing }: State, signal: AbortSignal): Promise<void> {
    const [found] = await this.#metadata([at.topic], signal)
    if (found?.error === KafkaCode.none && topicId !== null && found.id !== topicId) throw topicRecreated(at.topic)
    const gone = found?.error === KafkaCode.unknownTopicOrPartition
    if (gone && failing !== null && performance.now() - failing > GONE_MS) throw topicGone(at.topic)
  }

  #failed(state: State, last: unknown): void {
    const now = performance.now()
    state.failing ??= now
    state.replica = null
    state.retryAt = now + RETRY_PAUSE_MS
    this.#nodes.forget(state.at.topic)
    const { retryMs } = this.#nodes.options
    if (now - state.failing > retryMs) throw gaveUp(`reading ${keyOf(state.at)}`, retryMs, last)
  }
}

const INCONSISTENT_TOPIC_ID = 103
const UNKNOWN: ReadonlySet<number> = new Set([
  KafkaCode.unknownTopicOrPartition,
  KafkaCode.unknownTopicId,
  INCONSISTENT_TOPIC_ID,
])

export function topicRecreated(topic: string): TidemarkError {
  return new TidemarkError('kafka.topic_recreated', {
    message: `topic ${topic} is another one than the checkpoint was made with: it was deleted and made again, so offsets mean other records`,
    fix: 'Run `tidemark drop FILE`, empty the targets and start anew; or take the topic out of `topics`.',
  })
}

export function topicGone(topic: string): TidemarkError {
  return new TidemarkError('kafka.topic_missing', {
    message: `topic ${topic}, which the checkpoint has a place in, does not exist any more`,
    fix: 'Restore it, or take it out of `topics`.',
  })
}
