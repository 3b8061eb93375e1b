/** Producers and packs for tests: numbered records that a judge can count and order. */

import type { Test } from 'tap'
import {
  KafkaCluster,
  type KafkaOptions,
  KafkaProducer,
  type Pack,
  PackWriter,
  type ProducerOptions,
} from '../../drivers/kafka.js'
import type { JudgedRecord, TestKafka } from './kafka.js'
import { until } from './until.js'

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

/** Lets the coordinator time transactions out, and goes on: what a sink must be able to tell from a successor. */
export async function timeOutTransactions(t: Test, kafka: TestKafka): Promise<void> {
  const cluster = await connectKafka(t, kafka.options())
  const topic = await kafka.createTopic()
  const producer = await openProducer(t, cluster, { transactionTimeoutMs: 500 })
  const tries = {
    commit: () => producer.commit(),
    send: () => producer.send([numbered(topic, 0, 2_000, 5)]),
    add: () => producer.send([numbered(other, 0, 2_000, 5)]),
  }
  const other = await kafka.createTopic()
  let next = 0
  for (const [when, attempt] of Object.entries(tries)) {
    const end = (isolation: 'committed' | 'uncommitted') => cluster.endOffset(topic, 0, isolation, { signal })
    await until(async () => (await end('committed')) === (await end('uncommitted')), { what: 'markers are written' })
    const before = await end('uncommitted')
    await producer.send([numbered(topic, 0, 1_000, 5)])
    const over = async () => (await end('committed')) === before + 6n
    await until(over, { timeoutMs: 30_000, what: 'the marker of the abort is in the log' })
    await t.rejects(attempt(), { code: 'kafka.epoch_refused', message: /transaction\.timeout\.ms \(500\)/ }, when)
    await producer.abort()
    const why = await producer.reinitialise()
    t.match(why, { code: 'kafka.transaction_timed_out', message: /transaction\.timeout\.ms \(500\)/, retriable: true })
    await producer.send([numbered(topic, 0, next, 5)])
    await producer.commit()
    next += 5
  }
  t.same(numbersOf(await kafka.read(topic)), { 0: range(0, next) })
  t.equal(await kafka.count(other), 0)
}

/** A second producer takes the id over at every state of the first one's transaction, which can never take it back. */
export async function takeOver(t: Test, kafka: TestKafka): Promise<void> {
  const cluster = await connectKafka(t, kafka.options())
  const topic = await kafka.createTopic()
  let next = 0
  for (const open of [true, false]) {
    for (const when of ['send', 'commit'] as const) {
      if (!open && when === 'commit') continue
      const transactionalId = newId()
      const zombie = await openProducer(t, cluster, { transactionalId })
      if (open) await zombie.send([numbered(topic, 0, 1_000, 3)])
      const successor = await openProducer(t, cluster, { transactionalId })
      t.equal(successor.producerId, zombie.producerId)
      // What reinitialise() relies on.
      t.ok(successor.epoch >= zombie.epoch + (open ? 2 : 1), `epoch ${successor.epoch} after ${zombie.epoch}`)
      const tried = when === 'send' ? zombie.send([numbered(topic, 0, 2_000, 3)]) : zombie.commit()
      await t.rejects(tried, { code: 'kafka.epoch_refused', message: /transaction\.timeout\.ms \(60000\)/ }, when)
      await zombie.abort()
      await t.rejects(zombie.reinitialise(), { code: 'sink.fenced' }, 'it cannot take the id back')
      await successor.send([numbered(topic, 0, next, 3)])
      await successor.commit()
      next += 3
    }
  }
  t.same(numbersOf(await kafka.read(topic)), { 0: range(0, next) })
}
