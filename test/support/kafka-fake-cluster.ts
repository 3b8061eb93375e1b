/** A cluster for the produce queue that answers when and what the test says, and reads requests with a parser of its own. */
import { ConnectionLost } from '../../drivers/kafka-errors.js'
import type { ProduceCluster } from '../../drivers/kafka-produce-queue.js'
import type { TopicPartition } from '../../drivers/kafka-requests.js'

export interface FakeBatch {
  readonly topic: string
  readonly partition: number
  readonly sequence: number
  readonly count: number
  readonly epoch: number
  readonly bytes: Buffer
}

export class FakeRequest {
  readonly node: number
  readonly batches: readonly FakeBatch[]
  readonly #resolve: (answer: Buffer) => void
  readonly #reject: (error: Error) => void

  constructor(node: number, body: Buffer, resolve: (answer: Buffer) => void, reject: (error: Error) => void) {
    this.node = node
    this.batches = parse(body)
    this.#resolve = resolve
    this.#reject = reject
  }

  /** Codes by partition, 0 where there is none; `leave` and `invent` make the answer's set another than the request's. */
  answer(
    codes: Readonly<Record<number, number>> = {},
    { offset = 7n, leave = -1, invent = false } = {},
  ): Promise<void> {
    const answered = this.batches.filter(({ partition }) => partition !== leave)
    const topics = [...new Set(answered.map(({ topic }) => topic))]
    const parts: Buffer[] = [int32(topics.length + (invent ? 1 : 0))]
    const one = (partition: number, code: number) => {
      const entry = Buffer.alloc(4 + 2 + 8 + 8 + 8)
      entry.writeInt32BE(partition, 0)
      entry.writeInt16BE(code, 4)
      entry.writeBigInt64BE(code === 0 ? offset : -1n, 6)
      return Buffer.concat([entry, int32(0), Buffer.from([0xff, 0xff])])
    }
    for (const topic of topics) {
      const mine = answered.filter((batch) => batch.topic === topic)
      parts.push(text(topic), int32(mine.length), ...mine.map(({ partition }) => one(partition, codes[partition] ?? 0)))
    }
    if (invent) parts.push(text('other'), int32(1), one(0, 0))
    parts.push(int32(0))
    this.#resolve(Buffer.concat(parts))
    return settle()
  }

  lose(): Promise<void> {
    this.#reject(new ConnectionLost('gone'))
    return settle()
  }
}

export class FakeCluster implements ProduceCluster {
  readonly leaders = new Map<string, number>()
  readonly requests: FakeRequest[] = []
  readonly added: (readonly TopicPartition[])[] = []
  refreshed = 0

  leader(topic: string, partition: number): number | null {
    return this.leaders.get(`${topic}-${partition}`) ?? 1
  }

  async refresh(): Promise<void> {
    this.refreshed++
  }

  produce(node: number, body: readonly Buffer[]): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.requests.push(new FakeRequest(node, Buffer.concat(body), resolve, reject))
    })
  }

  async add(partitions: readonly TopicPartition[]): Promise<void> {
    this.added.push(partitions.map(({ topic, partition }) => ({ topic, partition })))
  }
}

/** Everything that can happen without the test happens; a repetition waits for a millisecond first. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 3))
}

function parse(body: Buffer): FakeBatch[] {
  let at = 2 + Math.max(body.readInt16BE(0), 0) + 2 + 4
  const number = () => {
    at += 4
    return body.readInt32BE(at - 4)
  }
  const batches: FakeBatch[] = []
  for (let topics = number(); topics > 0; topics--) {
    const length = body.readInt16BE(at)
    const topic = body.toString('utf8', at + 2, at + 2 + length)
    at += 2 + length
    for (let partitions = number(); partitions > 0; partitions--) {
      const partition = number()
      const size = number()
      const bytes = body.subarray(at, at + size)
      at += size
      const [epoch, sequence, count] = [bytes.readInt16BE(51), bytes.readInt32BE(53), bytes.readInt32BE(57)]
      batches.push({ topic, partition, sequence, count, epoch, bytes })
    }
  }
  if (at !== body.length) throw new Error(`${body.length - at} bytes behind the request`)
  return batches
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function text(value: string): Buffer {
  const bytes = Buffer.from(`__${value}`)
  bytes.writeInt16BE(value.length)
  return bytes
}
