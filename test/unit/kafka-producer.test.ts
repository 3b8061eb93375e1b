/** Record batches, and the rules of the produce queue against a cluster that answers as the test says. No server. */
import t from 'tap'
import { TidemarkError } from '../../core/errors.js'
import { CODECS, compress, decompress } from '../../drivers/kafka-compression.js'
import { codeName, KafkaCode } from '../../drivers/kafka-errors.js'
import { batchHeader, type Pack, PackWriter, packHeaders, sequenceAfter, splitPack } from '../../drivers/kafka-pack.js'
import { prepare, RecordTooLarge } from '../../drivers/kafka-prepare.js'
import { IN_FLIGHT_MAX, ProduceQueue } from '../../drivers/kafka-produce-queue.js'
import { readBatches } from '../../drivers/kafka-records.js'
import { WireReader, WireWriter } from '../../drivers/kafka-wire.js'
import { FakeCluster, settle } from '../support/kafka-fake-cluster.js'
import { random, testSeed } from '../support/seed.js'
import { until } from '../support/until.js'

const EMPTY = Buffer.alloc(0)
const OWN = { producerId: 5n, epoch: 3 }

function packOf(partition: number, records: number, bytes = 10, topic = 'a'): Pack {
  const writer = new PackWriter(topic, partition, 64)
  const value = Buffer.alloc(bytes, 'v')
  for (let i = 0; i < records; i++) writer.append(1_000 + i, Buffer.of(i), 0, 1, value, 0, bytes)
  return writer.take()
}

/** As a broker stores it, with offsets from `base` on. */
function stored(pack: Pack, base = 0n, attributes = 0, producerId = -1n, body = pack.records): Buffer {
  const { count, firstTimestamp, maxTimestamp } = pack
  const header = batchHeader(
    { count, firstTimestamp, maxTimestamp, attributes, producerId, epoch: 0, sequence: 0 },
    body,
  )
  header.writeBigInt64BE(base, 0)
  return Buffer.concat([header, body])
}

t.test('a pack is read back as it was written', async (t) => {
  const seed = testSeed()
  t.comment(`seed ${seed}`)
  const dice = random(seed)
  const bytes = (max: number) => Buffer.from(Array.from({ length: dice.below(max) }, () => dice.below(256)))
  const writer = new PackWriter('a', 0, 16)
  const wanted: object[] = []
  const times = [0, 1, -1, 63, -64, 64, 2 ** 31 - 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 40, -(2 ** 40)]
  const first = 1_795_415_073_092
  for (let i = 0; i < 2_000; i++) {
    const timestamp = first + (i === 0 ? 0 : dice.pick(times))
    const key = dice.chance(0.2) ? null : bytes(dice.pick([1, 30, 300]))
    const value = dice.chance(0.2) ? null : bytes(dice.pick([1, 30, 20_000]))
    const headers = dice.chance(0.5)
      ? []
      : [['h', bytes(9)] as const, ['none', null] as const, ['ü', Buffer.from('é')] as const]
    const around = Buffer.concat([Buffer.from('##'), key ?? EMPTY, value ?? EMPTY, Buffer.from('##')])
    const middle = 2 + (key?.length ?? 0)
    writer.append(
      timestamp,
      around,
      key ? 2 : -1,
      key ? middle : -1,
      around,
      value ? middle : -1,
      value ? middle + value.length : -1,
      headers.length === 0 ? EMPTY : packHeaders(headers),
    )
    wanted.push({ offset: 40n + BigInt(i), timestamp: BigInt(timestamp), key, value, headers })
  }
  t.equal(writer.count, 2_000)
  const written = writer.bytes
  const pack = writer.take()
  t.equal(pack.records.length, written)
  t.equal(writer.count, 0)
  t.equal(writer.bytes, 0)
  for (const codec of CODECS) {
    const body = await compress(codec, pack.records)
    t.ok((await decompress(codec, body, 100_000_000)).equals(pack.records), codec)
    const piece = stored(pack, 40n, CODECS.indexOf(codec), -1n, body)
    const { records, next } = await readBatches(piece, 40n, [], 'a-0')
    t.same(records, wanted, codec)
    t.equal(next, 2_040n)
  }
  await t.rejects(decompress('gzip', await compress('gzip', Buffer.alloc(1_000)), 999))
})

t.test('a damaged batch is refused', async (t) => {
  const piece = stored(packOf(0, 3))
  piece[piece.length - 1]! ^= 1
  await t.rejects(readBatches(piece, 0n, [], 'a-0'), { code: 'kafka.unreadable', message: /a-0.*checksum/ })
  piece[16] = 1
  await t.rejects(readBatches(piece, 0n, [], 'a-0'), { code: 'kafka.unreadable', message: /format 1/ })
  const cut = stored(packOf(0, 3)).subarray(0, 80)
  t.same(await readBatches(cut, 5n, [], 'a-0'), { records: [], next: 5n }, 'a batch that was cut off is not there yet')
})

t.test('aborted transactions are left out, and count for the position', async (t) => {
  const marker = (base: bigint, producerId: bigint, commit: boolean) => {
    const writer = new PackWriter('a', 0, 32)
    writer.append(1, Buffer.from([0, 0, 0, commit ? 1 : 0]), 0, 4, Buffer.alloc(6), 0, 6)
    return stored(writer.take(), base, 0x30, producerId)
  }
  const piece = Buffer.concat([
    stored(packOf(0, 2), 0n, 0x10, 1n),
    stored(packOf(0, 2), 2n, 0x10, 2n),
    marker(4n, 1n, false),
    stored(packOf(0, 1), 5n, 0x10, 1n),
    marker(6n, 2n, true),
    marker(7n, 1n, true),
  ])
  const aborted = [{ producerId: 1n, firstOffset: 0n }]
  const { records, next } = await readBatches(piece, 1n, aborted, 'a-0')
  t.same(
    records.map(({ offset }) => offset),
    [2n, 3n, 5n],
  )
  t.equal(next, 8n)
})

t.test('a pack is cut between records', async (t) => {
  const writer = new PackWriter('a', 3, 64)
  const headers = packHeaders([['x', 'y']])
  writer.append(5_000, EMPTY, -1, -1, Buffer.alloc(500, 'a'), 0, 500, headers)
  writer.append(4_000, Buffer.from('key'), 0, 3, EMPTY, -1, -1)
  writer.append(2 ** 41, Buffer.from('key'), 0, 3, Buffer.from('z'), 0, 1)
  const whole = writer.take()
  const [first, second] = splitPack(whole)
  t.equal(first.count + second.count, 3)
  const read = async (pack: Pack, base: bigint) => (await readBatches(stored(pack, base), base, [], 'a-3')).records
  const parts = [...(await read(first, 0n)), ...(await read(second, BigInt(first.count)))]
  t.same(parts, await read(whole, 0n))
  t.equal(second.maxTimestamp, 2 ** 41)
})

t.test('packs are cut until they fit, and a record that does not is refused', async (t) => {
  const limits = { compression: 'none', maxMessageBytes: () => 200 } as const
  const ready = await prepare([packOf(0, 10, 30)], limits)
  t.ok(ready.length > 1)
  t.ok(ready.every(({ body }) => body.length + 61 <= 200))
  t.equal(
    ready.reduce((sum, { pack }) => sum + pack.count, 0),
    10,
  )
  t.equal((await prepare([packOf(0, 10, 30)], { ...limits, compression: 'gzip' })).length, 1, 'it is compressed first')
  const large = await prepare([packOf(0, 1), packOf(7, 1, 300)], limits).catch((error: unknown) => error)
  t.ok(large instanceof RecordTooLarge)
  t.match(large, { code: 'kafka.record_too_large', topic: 'a', partition: 7, limit: 200 })
  t.match((large as Error).message, /a-7 takes 3\d\d bytes.*200/)
  t.same(await prepare([new PackWriter('a', 0, 10).take()], limits), [], 'an empty pack is nothing')
})

t.test('sequences wrap as in the Java client', async (t) => {
  // DefaultRecordBatch.incrementSequence: the last one is 2^31 - 1, then comes 0.
  const max = 2 ** 31 - 1
  const java = (sequence: number, increment: number) => Number((BigInt(sequence) + BigInt(increment)) % 2n ** 31n)
  t.equal(sequenceAfter(max, 1), 0)
  t.equal(sequenceAfter(max - 2, 3), 0)
  t.equal(sequenceAfter(max - 1, 5), 3)
  t.equal(sequenceAfter(max, max), max - 1)
  for (const from of [0, 1, max - 3, max - 2, max - 1, max]) {
    for (const count of [1, 2, 3, 4, 5, 100])
      t.equal(sequenceAfter(from, count), java(from, count), `${from} + ${count}`)
  }
})

t.test('primitive types', async (t) => {
  for (const flexible of [false, true]) {
    const writer = new WireWriter(flexible)
    writer
      .string('ä'.repeat(300))
      .string(null)
      .string('')
      .array([1, 2], (item) => writer.int8(item))
      .array(null, () => {})
    writer
      .int64(-(2n ** 63n))
      .unsignedVarint(2 ** 32 - 1)
      .unsignedVarint(127)
      .unsignedVarint(128)
      .end()
    const reader = new WireReader(writer.bytes(), flexible)
    t.same([reader.string(), reader.string(), reader.text()], ['ä'.repeat(300), null, ''])
    t.same([reader.array(() => reader.int8()), reader.array(() => 0)], [[1, 2], []])
    t.same([reader.int64(), reader.unsignedVarint()], [-(2n ** 63n), 2 ** 32 - 1])
    t.same([reader.unsignedVarint(), reader.unsignedVarint()], [127, 128])
    reader.end()
    t.equal(reader.left, 0)
    t.throws(() => reader.int8(), { code: 'kafka.unreadable' })
  }
  t.equal(codeName(47), 'INVALID_PRODUCER_EPOCH (47)')
  t.equal(codeName(999), 'error 999')
})

// ---- the queue

function queueOf(options: { firstSequence?: number; retryMs?: number; transactionalId?: string | null } = {}) {
  const cluster = new FakeCluster()
  const { firstSequence, retryMs = 10_000, transactionalId = 'id' } = options
  const queue = new ProduceQueue(cluster, OWN, {
    transactionalId,
    requestTimeoutMs: 1_000,
    retryMs,
    firstSequence,
    epochRefused: (code, what) => new TidemarkError('kafka.epoch_refused', { message: `${what} ${code}` }),
  })
  const send = async (...packs: Pack[]) =>
    queue.send(await prepare(packs, { compression: 'none', maxMessageBytes: () => 1_000_000 }))
  const places = (index: number) =>
    cluster.requests[index]?.batches.map(({ partition, sequence }) => [partition, sequence])
  return { cluster, queue, send, places }
}

/** Partitions pipeline once the first batch of an epoch is in the log: one record for each, acknowledged. */
async function warm({ cluster, send }: ReturnType<typeof queueOf>, ...partitions: number[]): Promise<void> {
  const sent = send(...partitions.map((partition) => packOf(partition, 1)))
  await settle()
  await cluster.requests[0]!.answer()
  await sent
  cluster.requests.length = 0
}

/** How a send ended, as a word, without waiting for it. */
function follow(sent: Promise<void>): { state: string } {
  const followed = { state: 'under way' }
  sent.then(
    () => {
      followed.state = 'done'
    },
    (error: TidemarkError) => {
      followed.state = error.code
    },
  )
  return followed
}

t.test('a repetition is the same bytes, and later batches of the partition wait behind it', async (t) => {
  const fresh = queueOf()
  await warm(fresh, 0, 1)
  const { cluster, send, places } = fresh
  const sent = ['one', 'two', 'three'].map(() => follow(send(packOf(0, 4), packOf(1, 2))))
  await settle()
  t.equal(cluster.requests.length, 3)
  t.same(cluster.added, [
    [
      { topic: 'a', partition: 0 },
      { topic: 'a', partition: 1 },
    ],
  ])
  t.same(
    [places(0), places(1), places(2)],
    [
      [
        [0, 1],
        [1, 1],
      ],
      [
        [0, 5],
        [1, 3],
      ],
      [
        [0, 9],
        [1, 5],
      ],
    ],
  )
  const [first, second, third] = cluster.requests
  await first!.answer({ 0: KafkaCode.notLeaderOrFollower })
  t.equal(sent[0]!.state, 'under way')
  t.equal(cluster.requests.length, 3, 'nothing of partition 0 goes out while later ones are under way')
  await second!.answer({ 0: KafkaCode.outOfOrderSequence })
  await third!.answer({ 0: KafkaCode.outOfOrderSequence })
  t.equal(cluster.requests.length, 4)
  t.same(places(3), [[0, 1]], 'the first one alone')
  t.ok(cluster.requests[3]!.batches[0]!.bytes.equals(first!.batches[0]!.bytes))
  t.ok(cluster.refreshed > 0, 'leaders were asked for')
  await cluster.requests[3]!.answer()
  t.equal(sent[0]!.state, 'done')
  t.equal(sent[1]!.state, 'under way')
  await settle()
  t.same(places(4), [[0, 5]])
  t.ok(cluster.requests[4]!.batches[0]!.bytes.equals(second!.batches[0]!.bytes))
  await cluster.requests[4]!.answer()
  t.same(places(5), [[0, 9]])
  await cluster.requests[5]!.answer()
  t.same(
    sent.map(({ state }) => state),
    ['done', 'done', 'done'],
  )
})

t.test('the answer to the first of several equal batches is lost', async (t) => {
  const fresh = queueOf()
  await warm(fresh, 0)
  const { cluster, send, places } = fresh
  const sent = [1, 2, 3].map(() => follow(send(packOf(0, 5))))
  await settle()
  for (const request of cluster.requests.slice(0, 3)) await request.lose()
  await settle()
  t.same([places(3), cluster.requests.length], [[[0, 1]], 4])
  await cluster.requests[3]!.answer({}, { offset: 0n })
  for (const [index, sequence] of [
    [4, 6],
    [5, 11],
  ] as const) {
    t.same(places(index), [[0, sequence]])
    await cluster.requests[index]!.answer()
  }
  t.same(
    sent.map(({ state }) => state),
    ['done', 'done', 'done'],
  )
})

t.test('the first batch of an epoch goes alone: a partition takes any sequence for its first', async (t) => {
  const { cluster, send, places } = queueOf()
  const sent = [1, 2].map(() => follow(send(packOf(0, 5))))
  await settle()
  t.equal(cluster.requests.length, 1)
  await cluster.requests[0]!.answer({ 0: KafkaCode.notLeaderOrFollower })
  t.same([places(1), cluster.requests.length], [[[0, 0]], 2])
  await cluster.requests[1]!.answer()
  t.same(places(2), [[0, 5]])
  await cluster.requests[2]!.answer()
  t.same(
    sent.map(({ state }) => state),
    ['done', 'done'],
  )
})

t.test('a sequence is never used again', async (t) => {
  const { cluster, queue, send, places } = queueOf()
  const sent = follow(send(packOf(0, 5), packOf(1, 5)))
  await settle()
  await cluster.requests[0]!.answer({ 1: KafkaCode.messageTooLarge })
  t.equal(sent.state, 'kafka.rejected')
  t.match(queue.failure!.message, /a-1.*MESSAGE_TOO_LARGE \(10\)/)
  await t.rejects(send(packOf(0, 5)), { code: 'kafka.rejected' }, 'the transaction is of no use any more')
  t.equal(cluster.requests.length, 1)
  await queue.stop(new TidemarkError('kafka.transaction_aborted', { message: '' }))
  queue.reset({ producerId: 5n, epoch: 4 })
  const again = follow(send(packOf(0, 5)))
  await settle()
  t.same(places(1), [[0, 0]], 'a new epoch starts at 0')
  t.equal(cluster.requests[1]!.batches[0]!.epoch, 4)
  t.equal(cluster.added.length, 2, 'and its transaction has no partitions yet')
  await cluster.requests[1]!.answer()
  t.equal(again.state, 'done')
})

t.test('what was sent and given up needs a new epoch, what was not sent does not', async (t) => {
  const why = new TidemarkError('kafka.transaction_aborted', { message: '' })
  const { cluster, queue, send } = queueOf()
  const sent = follow(send(packOf(0, 5)))
  await settle()
  const stopped = queue.stop(why)
  await cluster.requests[0]!.answer()
  await stopped
  t.equal(sent.state, 'kafka.transaction_aborted')
  t.ok(queue.needsNewEpoch)
  const other = queueOf()
  other.cluster.leader = () => null
  const waiting = follow(other.send(packOf(0, 5)))
  await settle()
  await other.queue.stop(why)
  await settle()
  t.equal(waiting.state, 'kafka.transaction_aborted')
  t.notOk(other.queue.needsNewEpoch)
})

t.test('the set that is answered is the set that was sent', async (t) => {
  for (const how of [{ leave: 1 }, { invent: true }, { offset: -1n }]) {
    const { cluster, send } = queueOf()
    const sent = follow(send(packOf(0, 1), packOf(1, 1)))
    await settle()
    await cluster.requests[0]!.answer({}, how)
    t.equal(
      sent.state,
      'kafka.rejected',
      JSON.stringify(how, (_, value) => String(value)),
    )
  }
})

t.test('one pack of a partition in a request, at most so many requests under way', async (t) => {
  const fresh = queueOf()
  await warm(fresh, 0, 1)
  const { cluster, send, places } = fresh
  const sent = follow(send(...Array.from({ length: IN_FLIGHT_MAX + 5 }, () => packOf(0, 1)), packOf(1, 1)))
  await settle()
  t.same(places(0), [
    [0, 1],
    [1, 1],
  ])
  t.same(places(1), [[0, 2]])
  t.ok(cluster.requests.length >= 2 && cluster.requests.length <= IN_FLIGHT_MAX, `${cluster.requests.length} under way`)
  for (let i = 0; i < cluster.requests.length; i++) {
    t.equal(cluster.requests[i]!.batches[0]!.sequence, i + 1)
    await cluster.requests[i]!.answer()
  }
  t.equal(cluster.requests.length, IN_FLIGHT_MAX + 5)
  t.equal(sent.state, 'done')
})

t.test('nothing goes to a new leader while the old one has not answered', async (t) => {
  const fresh = queueOf()
  await warm(fresh, 0, 1)
  const { cluster, send, places } = fresh
  const sent = [follow(send(packOf(0, 1))), follow(send(packOf(1, 1)))]
  await settle()
  cluster.leaders.set('a-0', 2)
  sent.push(follow(send(packOf(0, 1))))
  await settle()
  t.equal(cluster.requests.length, 2)
  await cluster.requests[0]!.answer({ 0: KafkaCode.notLeaderOrFollower })
  t.same([cluster.requests[2]!.node, places(2)], [2, [[0, 1]]])
  await cluster.requests[2]!.answer()
  await settle()
  t.same([cluster.requests[3]!.node, places(3)], [2, [[0, 2]]])
  await cluster.requests[1]!.answer()
  await cluster.requests[3]!.answer()
  t.same(
    sent.map(({ state }) => state),
    ['done', 'done', 'done'],
  )
})

t.test('sequences of batches near the end', async (t) => {
  const fresh = queueOf({ firstSequence: 2 ** 31 - 7 })
  await warm(fresh, 0)
  const { cluster, send, places } = fresh
  const sent = follow(send(packOf(0, 4), packOf(0, 4), packOf(0, 4)))
  await settle()
  t.same([places(0), places(1), places(2)], [[[0, 2 ** 31 - 6]], [[0, 2 ** 31 - 2]], [[0, 2]]])
  for (const request of cluster.requests) await request.answer()
  t.equal(sent.state, 'done')
})

t.test('what does not heal', async (t) => {
  for (const [code, word] of [
    [KafkaCode.outOfOrderSequence, 'kafka.rejected'],
    [KafkaCode.unknownProducerId, 'kafka.rejected'],
    [KafkaCode.invalidProducerEpoch, 'kafka.epoch_refused'],
    [KafkaCode.producerFenced, 'kafka.epoch_refused'],
    [KafkaCode.topicAuthorizationFailed, 'kafka.permission'],
    [46, 'kafka.rejected'],
    [KafkaCode.messageTooLarge, 'kafka.rejected'],
    [KafkaCode.invalidRecord, 'kafka.record_refused'],
    [KafkaCode.policyViolation, 'kafka.record_refused'],
  ] as const) {
    const { cluster, send } = queueOf()
    const sent = follow(send(packOf(0, 1)))
    await settle()
    await cluster.requests[0]!.answer({ 0: code })
    t.equal(sent.state, word, codeName(code))
  }
  const { cluster, send } = queueOf({ retryMs: 1 })
  const sent = follow(send(packOf(0, 1)))
  await settle()
  await cluster.requests[0]!.lose()
  await until(() => sent.state !== 'under way', { what: 'the time for answers is over' })
  t.equal(sent.state, 'kafka.outcome_unknown', 'not answered in time')
})

t.test('without transactions nothing is added, and batches do not claim one', async (t) => {
  const { cluster, send } = queueOf({ transactionalId: null })
  const sent = follow(send(packOf(0, 1)))
  await settle()
  t.same(cluster.added, [])
  t.equal(cluster.requests[0]!.batches[0]!.bytes.readInt16BE(21), 0)
  await cluster.requests[0]!.answer()
  t.equal(sent.state, 'done')
})
