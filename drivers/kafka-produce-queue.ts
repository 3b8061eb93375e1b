/**
 * Batches on their way to partitions. What is always true: a sequence is given to a batch once, when it is first sent,
 * and never to another (the broker drops a batch whose sequence it knows); a repetition is the same bytes; while a batch of a
 * partition is to be repeated, or is the first of its epoch, later ones of that partition wait; a batch is done only when an answer names its partition
 * and an offset. The first thing that goes wrong for good ends the queue: its batches are rejected and it takes no more
 * until reset() gives it a new epoch.
 */
import { assert, TidemarkError, toError } from '../core/errors.js'
import {
  codeName,
  EPOCH_REFUSED,
  isConnectionLost,
  KafkaCode,
  LEADER_BUSY,
  NOT_PERMITTED,
  REFUSED_FOR_EVER,
  RecordsRefused,
  refused,
} from './kafka-errors.js'
import { batchHeader, sequenceAfter, TRANSACTIONAL } from './kafka-pack.js'
import type { ReadyBatch } from './kafka-prepare.js'
import type { ProducerIdentity, TopicPartition } from './kafka-requests.js'
import { Pauses } from './kafka-retry.js'
import { WireReader, WireWriter } from './kafka-wire.js'

/** The broker remembers the last five batches of a producer in a partition; a repetition of an older one would be new to it. */
export const IN_FLIGHT_MAX = 5
/** Requests under way to one broker. It works on one after the other; the next one is there when it is done. */
const REQUESTS_MAX = 3
const REQUEST_BYTES_MAX = 8 * 1024 * 1024
const PRODUCE_VERSION = 8
const ACKS_ALL = -1

/** The cluster as the queue sees it. */
export interface ProduceCluster {
  leader(topic: string, partition: number): number | null
  /** Asks for the leaders anew. */
  refresh(topics: readonly string[]): Promise<unknown>
  /** Sends a Produce request of PRODUCE_VERSION to a node and resolves with its answer. */
  produce(node: number, body: readonly Buffer[]): Promise<Buffer>
  /** Makes partitions part of the open transaction. */
  add(partitions: readonly TopicPartition[]): Promise<void>
}

export interface QueueOptions {
  readonly transactionalId: string | null
  readonly requestTimeoutMs: number
  readonly retryMs: number
  /** What an answer that refuses our epoch is to users. */
  readonly epochRefused: (code: number, what: string) => TidemarkError
  /** Tests begin near the end of the sequence numbers. */
  readonly firstSequence?: number | undefined
}

class Call {
  left: number
  readonly done: Promise<void>
  resolve: () => void = () => {}
  reject: (error: Error) => void = () => {}

  constructor(batches: number) {
    this.left = batches
    this.done = new Promise<void>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    this.done.catch(() => {})
    if (batches === 0) this.resolve()
  }
}

interface Batch {
  readonly ready: ReadyBatch
  readonly to: Destination
  readonly call: Call
  /** Header and body once it was sent for the first time. */
  bytes: readonly [Buffer, Buffer] | null
  flying: boolean
}

/** One partition. */
interface Destination extends TopicPartition {
  /** Of the next batch that was never sent. */
  sequence: number
  /** Not yet acknowledged, in order. */
  readonly batches: Batch[]
  flying: number
  /** Where they fly to. */
  node: number
  /** The first one that waits was sent before. */
  repeating: boolean
  /** A batch of this epoch is in the log. */
  known: boolean
  added: boolean
  /** Since when nothing gets through. */
  stuckSince: number | null
  stuckBy: unknown
}

export class ProduceQueue {
  readonly #cluster: ProduceCluster
  readonly #options: QueueOptions
  #own: ProducerIdentity
  readonly #destinations = new Map<string, Destination>()
  readonly #working = new Set<Destination>()
  readonly #requests = new Map<number, number>()
  readonly #settled = new Set<() => void>()
  #flying = 0
  #adding = false
  /** Leaders are being asked for; until then nothing is repeated. */
  #refreshing = false
  readonly #stale = new Set<string>()
  #pauses = new Pauses()
  #failure: TidemarkError | null = null
  /** A batch was sent and given up: whether the log has it, only a new epoch settles. */
  #unsettled = false

  constructor(cluster: ProduceCluster, own: ProducerIdentity, options: QueueOptions) {
    this.#cluster = cluster
    this.#own = own
    this.#options = options
  }

  get failure(): TidemarkError | null {
    return this.#failure
  }

  get idle(): boolean {
    return this.#working.size === 0
  }

  get needsNewEpoch(): boolean {
    return this.#failure !== null || this.#unsettled
  }

  /** Resolves when each batch has an offset. */
  send(batches: readonly ReadyBatch[]): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure)
    assert(!this.#unsettled, 'records were sent in an epoch that was given up')
    const call = new Call(batches.length)
    for (const ready of batches) {
      const to = this.#destination(ready.pack)
      to.batches.push({ ready, to, call, bytes: null, flying: false })
      this.#working.add(to)
    }
    this.#pump()
    return call.done
  }

  /** Drops what was not sent, and resolves when nothing is under way any more. */
  async stop(why: TidemarkError): Promise<void> {
    this.#drop(why)
    while (this.#flying > 0 || this.#adding) await new Promise<void>((resolve) => this.#settled.add(resolve))
  }

  /** The next transaction has no partitions yet. */
  nextTransaction(): void {
    for (const to of this.#destinations.values()) to.added = false
  }

  /** A new epoch: every sequence starts at 0. */
  reset(own: ProducerIdentity): void {
    assert(this.#flying === 0 && this.idle, 'a new epoch while batches of the old one were under way')
    this.#own = own
    this.#failure = null
    this.#unsettled = false
    this.#destinations.clear()
  }

  #destination({ topic, partition }: TopicPartition): Destination {
    const key = `${partition} ${topic}`
    let to = this.#destinations.get(key)
    if (!to) {
      to = {
        topic,
        partition,
        sequence: this.#options.firstSequence ?? 0,
        batches: [],
        flying: 0,
        node: -1,
        repeating: false,
        known: false,
        added: false,
        stuckSince: null,
        stuckBy: null,
      }
      this.#destinations.set(key, to)
    }
    return to
  }

  // ---- sending

  #pump(): void {
    if (this.#failure || !this.#prepareDestinations()) return
    for (;;) {
      const byNode = this.#collect()
      if (byNode.size === 0) return
      for (const [node, batches] of byNode) void this.#request(node, batches)
    }
  }

  /** Asks for what is missing: leaders, and membership in the transaction. False when that ended the queue. */
  #prepareDestinations(): boolean {
    const now = performance.now()
    const leaderless = new Set<string>()
    const strangers: Destination[] = []
    for (const to of this.#working) {
      if (to.stuckSince !== null && now - to.stuckSince > this.#options.retryMs && to.flying === 0) {
        this.#fail(this.#unknown(to))
        return false
      }
      if (this.#cluster.leader(to.topic, to.partition) === null) {
        this.#stuck(to, KafkaCode.leaderNotAvailable)
        leaderless.add(to.topic)
      }
      if (this.#options.transactionalId !== null && !to.added) strangers.push(to)
    }
    if (leaderless.size > 0) void this.#refresh(leaderless)
    if (strangers.length > 0 && !this.#adding) void this.#add(strangers)
    return true
  }

  async #refresh(topics: Iterable<string>): Promise<void> {
    for (const topic of topics) this.#stale.add(topic)
    if (this.#refreshing) return
    this.#refreshing = true
    try {
      await this.#pauses.pause()
      const asked = [...this.#stale]
      this.#stale.clear()
      await this.#cluster.refresh(asked)
    } catch (error) {
      if (!isConnectionLost(error)) this.#fail(error)
    } finally {
      this.#refreshing = false
    }
    this.#pump()
  }

  /** All that are new go in one request. */
  async #add(strangers: readonly Destination[]): Promise<void> {
    this.#adding = true
    try {
      await this.#cluster.add(strangers)
      for (const to of strangers) to.added = true
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#adding = false
      this.#notify()
    }
    this.#pump()
  }

  /** At most one batch of each partition, for every node that takes another request. */
  #collect(): Map<number, Batch[]> {
    const found = new Map<number, { batches: Batch[]; bytes: number }>()
    for (const to of this.#working) {
      const node = this.#cluster.leader(to.topic, to.partition)
      if (node === null || !this.#maySend(to, node)) continue
      const batch = to.batches.find((each) => !each.flying)
      if (!batch) continue
      const request = found.get(node) ?? { batches: [], bytes: 0 }
      found.set(node, request)
      if (request.bytes > 0 && request.bytes + batch.ready.body.length > REQUEST_BYTES_MAX) continue
      request.batches.push(batch)
      request.bytes += batch.ready.body.length
    }
    for (const request of found.values()) for (const batch of request.batches) this.#takeOff(batch)
    return new Map([...found].map(([node, { batches }]) => [node, batches]))
  }

  #maySend(to: Destination, node: number): boolean {
    if (this.#options.transactionalId !== null && !to.added) return false
    if ((this.#requests.get(node) ?? 0) >= REQUESTS_MAX || (to.repeating && this.#refreshing)) return false
    if (to.flying === 0) return true
    // A partition that knows nothing of this producer takes any sequence for its first: where it was no leader yet for
    // batch 1, it would take batch 2 and refuse batch 1 for ever.
    if (!to.known) return false
    // The same leader, so that the connection keeps them in order; nothing behind a batch that is to be repeated.
    return !to.repeating && to.node === node && to.flying < IN_FLIGHT_MAX
  }

  #takeOff(batch: Batch): void {
    const { to } = batch
    const { pack, body, codec } = batch.ready
    if (batch.bytes === null) {
      const attributes = codec | (this.#options.transactionalId === null ? 0 : TRANSACTIONAL)
      const { count, firstTimestamp, maxTimestamp } = pack
      const header = { count, firstTimestamp, maxTimestamp, attributes, ...this.#own, sequence: to.sequence }
      batch.bytes = [batchHeader(header, body), body]
      to.sequence = sequenceAfter(to.sequence, count)
    }
    batch.flying = true
    to.flying++
    to.node = this.#cluster.leader(to.topic, to.partition)!
  }

  async #request(node: number, batches: readonly Batch[]): Promise<void> {
    this.#flying++
    this.#requests.set(node, (this.#requests.get(node) ?? 0) + 1)
    try {
      const answer = await this.#cluster.produce(node, this.#body(batches))
      this.#land(batches)
      this.#answered(batches, answer)
    } catch (error) {
      this.#land(batches)
      if (isConnectionLost(error)) for (const batch of batches) this.#again(batch, error)
      else this.#fail(error)
    } finally {
      this.#requests.set(node, this.#requests.get(node)! - 1)
      this.#flying--
      this.#notify()
    }
    this.#pump()
  }

  #land(batches: readonly Batch[]): void {
    for (const batch of batches) {
      batch.flying = false
      batch.to.flying--
    }
  }

  #body(batches: readonly Batch[]): Buffer[] {
    const topics = new Map<string, Batch[]>()
    for (const batch of batches) {
      const list = topics.get(batch.to.topic)
      if (list) list.push(batch)
      else topics.set(batch.to.topic, [batch])
    }
    const parts: Buffer[] = []
    let writer = new WireWriter()
      .string(this.#options.transactionalId)
      .int16(ACKS_ALL)
      .int32(this.#options.requestTimeoutMs)
      .int32(topics.size)
    for (const [topic, list] of topics) {
      writer.string(topic).int32(list.length)
      for (const { to, bytes } of list) {
        const [header, body] = bytes!
        writer.int32(to.partition).int32(header.length + body.length)
        parts.push(writer.bytes(), header, body)
        writer = new WireWriter()
      }
    }
    return parts
  }

  // ---- answers

  #answered(batches: readonly Batch[], answer: Buffer): void {
    const answers = readAnswers(answer)
    const asked = new Set(batches.map(({ to }) => `${to.partition} ${to.topic}`))
    const odd = [...answers.keys()].find((key) => !asked.has(key)) ?? [...asked].find((key) => !answers.has(key))
    if (odd !== undefined || answers.size !== asked.size) {
      this.#fail(rejected(`Kafka answered for other partitions than were sent (${odd})`))
      return
    }
    for (const batch of batches) {
      const { error, offset, message } = answers.get(`${batch.to.partition} ${batch.to.topic}`)!
      if (error === KafkaCode.none && offset >= 0n) this.#acknowledged(batch)
      else this.#judge(batch, error, message)
      if (this.#failure) return
    }
  }

  #acknowledged({ to, call, ...batch }: Batch): void {
    const index = to.batches.findIndex((each) => each.ready === batch.ready)
    // A call that was dropped meanwhile.
    if (index < 0) return
    to.batches.splice(index, 1)
    to.known = true
    to.repeating = to.batches.some((each) => !each.flying && each.bytes !== null)
    to.stuckSince = null
    this.#pauses = new Pauses()
    if (to.batches.length === 0) this.#working.delete(to)
    if (--call.left === 0) call.resolve()
  }

  #judge(batch: Batch, error: number, message: string | null): void {
    const { topic, partition } = batch.to
    const what = `writing to ${topic}-${partition}`
    // The one before it did not get there: both are sent again, in order.
    const behind = error === KafkaCode.outOfOrderSequence && batch.to.batches[0] !== batch
    if (LEADER_BUSY.has(error) || behind) this.#again(batch, error)
    else if (EPOCH_REFUSED.has(error)) this.#fail(this.#options.epochRefused(error, what))
    else if (NOT_PERMITTED.has(error)) this.#fail(refused(error, what, `topic ${topic}`))
    else {
      const words = `${what}: Kafka answered ${codeName(error)}${message ? `: ${message}` : ''}`
      const forEver = REFUSED_FOR_EVER.has(error)
      this.#fail(forEver ? new RecordsRefused(topic, words, error === KafkaCode.invalidRecord) : rejected(words))
    }
  }

  #again(batch: Batch, why: unknown): void {
    const { to } = batch
    // Dropped meanwhile.
    if (!to.batches.includes(batch)) return
    to.repeating = true
    this.#stuck(to, why)
    void this.#refresh([to.topic])
  }

  #stuck(to: Destination, why: unknown): void {
    to.stuckSince ??= performance.now()
    to.stuckBy = why
  }

  // ---- the end

  #fail(thrown: unknown): void {
    if (this.#failure) return
    const error = toError(thrown)
    this.#failure =
      error instanceof TidemarkError
        ? error
        : new TidemarkError('kafka.unavailable', { message: error.message, cause: error })
    this.#drop(this.#failure)
  }

  #drop(why: TidemarkError): void {
    for (const to of this.#working) {
      for (const batch of to.batches) {
        if (batch.bytes !== null) this.#unsettled = true
        batch.call.reject(why)
      }
      to.batches.length = 0
      to.repeating = false
      to.stuckSince = null
    }
    this.#working.clear()
  }

  #unknown(to: Destination): TidemarkError {
    const sent = to.batches.some((batch) => batch.bytes !== null)
    const { stuckBy, topic, partition } = to
    const why = typeof stuckBy === 'number' ? `Kafka answered ${codeName(stuckBy)}` : toError(stuckBy).message
    return new TidemarkError(sent ? 'kafka.outcome_unknown' : 'kafka.unavailable', {
      message: `nothing got through to ${topic}-${partition} for ${this.#options.retryMs} ms: ${why}`,
      fix: 'Check that the brokers are up and the partition has a leader and enough replicas in sync.',
      retriable: true,
      cause: typeof stuckBy === 'number' ? undefined : stuckBy,
    })
  }

  #notify(): void {
    for (const resolve of this.#settled) resolve()
    this.#settled.clear()
  }
}

function rejected(message: string): TidemarkError {
  return new TidemarkError('kafka.rejected', { message, retriable: true })
}

interface PartitionAnswer {
  readonly error: number
  readonly offset: bigint
  readonly message: string | null
}

function readAnswers(answer: Buffer): Map<string, PartitionAnswer> {
  const from = new WireReader(answer)
  const answers = new Map<string, PartitionAnswer>()
  from.array(() => {
    const topic = from.text()
    from.array(() => {
      const partition = from.int32()
      const error = from.int16()
      const offset = from.int64()
      from.int64()
      from.int64()
      const errors = from.array(() => {
        from.int32()
        return from.string()
      })
      const message = from.string() ?? errors.find((each) => each !== null) ?? null
      answers.set(`${partition} ${topic}`, { error, offset, message })
    })
  })
  return answers
}

export { PRODUCE_VERSION }
