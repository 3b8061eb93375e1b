/** The kafka sink against a real broker, judged by Java's consumer: the contract, topics and partitions, large records, ownership. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import type { TableSchema } from '../../core/model.js'
import { type CommittedEvent, type Contents, sinkContract } from '../../core/testing/index.js'
import { ITEMS, insert, item, log, read, snapshot } from '../../core/testing/items.js'
import { kafkaSink } from '../../sinks/kafka/index.js'
import { type JudgedRecord, sharedKafka, type TestKafka } from '../support/kafka.js'
import { judged, kafkaPipeline, parsedSinkOptions } from '../support/kafka-sink.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark } from '../support/process.js'
import { testSeed } from '../support/seed.js'

const kafka = await sharedKafka()
const { signal } = new AbortController()
const note = () => {}
let names = 0
const unique = (what: string) => `${what}_${process.pid}_${++names}`

// ---- the contract

/** Integers beyond doubles stand as digits in the value, so they are read as text. */
function eventOf({ value }: JudgedRecord, schema: TableSchema): CommittedEvent {
  const event = JSON.parse(value!.toString().replace(/"id":(-?\d+)/, '"id":"$1"')) as Record<string, string | null>
  const op = event.__op as CommittedEvent['op']
  const row = schema.columns.map(({ name }) => (name in event ? (event[name] as string | null) : undefined))
  return { op, key: op === 't' ? [] : [String(event.id)], row: op === 'd' || op === 't' ? null : row }
}

async function contents(of: TestKafka, topic: string, schema: TableSchema): Promise<Contents> {
  const records = await of.read(topic)
  return { kind: 'events', events: records.filter(({ value }) => value !== null).map((r) => eventOf(r, schema)) }
}

for (const delivery of ['exactly-once', 'at-least-once'] as const) {
  t.test(`sink kafka, ${delivery}`, async (t) => {
    sinkContract((name, body) => t.test(name, body), {
      guarantee: delivery,
      async target() {
        const prefix = unique('contract')
        const options = parsedSinkOptions(kafka, {
          delivery,
          'value.format': 'row-json',
          'topic.template': `${prefix}.{table}`,
          'topic.creation.default.partitions': 1,
        })
        return {
          sink: (pipeline) => kafkaSink.create(options, { pipeline: `${prefix}-${pipeline}` }),
          contents: (schema) => contents(kafka, `${prefix}.${schema.name}`, schema),
          close: async () => {},
        }
      },
    })
  })
}

// ---- one session

interface OpenOptions {
  readonly pipeline?: string
  readonly lastClaim?: string
  readonly options?: Readonly<Record<string, unknown>>
}

async function opened({ pipeline = unique('p'), lastClaim, options = {} }: OpenOptions = {}) {
  const sink = kafkaSink.create(parsedSinkOptions(kafka, { 'value.format': 'row-json', ...options }), { pipeline })
  const session = await sink.open({ pipeline, signal, note, ...(lastClaim === undefined ? {} : { lastClaim }) })
  const first = new Set(session.checkpoint === null ? [ITEMS.id] : [])
  try {
    await session.prepare([ITEMS], { first, source: { identity: {}, tables: [] }, signal })
  } catch (error) {
    await session.close()
    throw error
  }
  return { session, pipeline, topic: `${pipeline}.public.contract_items` }
}

t.test('a long checkpoint comes back whole, in both sets of parts', async (t) => {
  const pipeline = unique('long')
  for (const [round, size] of [10, 900_000, 2_000_000, 450_000, 10].entries()) {
    const text = JSON.stringify({ round, filler: 'ü'.repeat(size / 2) })
    const { session } = await opened({ pipeline })
    await session.commit(text, { signal })
    await session.close()
    const again = await opened({ pipeline })
    t.equal(again.session.checkpoint === text, true, `${size} characters`)
    await again.session.close()
  }
})

t.test('a successor fences; the claim of a living owner is kept', async (t) => {
  const first = await opened()
  await first.session.write([snapshot([read(item(1))])], { signal })
  await first.session.commit('one', { signal })
  const claim = first.session.claim!
  const second = await opened({ pipeline: first.pipeline })
  t.equal(second.session.checkpoint, 'one')
  await first.session.write([log([insert(item(2))])], { signal })
  await t.rejects(first.session.commit('two', { signal }))
  await first.session.close()
  await t.rejects(opened({ pipeline: first.pipeline, lastClaim: claim }), { code: 'sink.fenced' })
  await second.session.write([log([insert(item(3))])], { signal })
  await second.session.commit('three', { signal })
  await second.session.close()
  const third = await opened({ pipeline: first.pipeline, lastClaim: second.session.claim! })
  t.equal(third.session.checkpoint, 'three', 'its own claim may go on')
  await third.session.close()
  const keys = (await kafka.read(first.topic)).map(({ key }) => key!.toString())
  t.same(keys.sort(), ['{"id":1}', '{"id":3}'])
})

t.test('what cannot hold a checkpoint is refused', async (t) => {
  const two = await kafka.createTopic({ partitions: 2, config: { 'cleanup.policy': 'compact' } })
  await t.rejects(opened({ options: { 'checkpoint.topic': two } }), { code: 'kafka.checkpoint_topic' })
  const deleting = await kafka.createTopic({ config: { 'cleanup.policy': 'delete' } })
  await t.rejects(opened({ options: { 'checkpoint.topic': deleting } }), { code: 'kafka.checkpoint_topic' })
  const shared = await kafka.createTopic({ config: { 'cleanup.policy': 'compact' } })
  const first = await opened({ options: { 'checkpoint.topic': shared } })
  await first.session.close()
  await t.rejects(opened({ options: { 'checkpoint.topic': shared } }), { code: 'kafka.checkpoint_topic' })
})

t.test('partitions: keys as Java spreads them, and a changed count', async (t) => {
  const topic = await kafka.createTopic({ partitions: 7 })
  const options = { topic }
  const { session, pipeline } = await opened({ options })
  const ids = Array.from({ length: 200 }, (_, i) => i + 1)
  await session.write([snapshot(ids.map((id) => read(item(id))))], { signal })
  await session.commit('one', { signal })
  await session.close()
  const records = await kafka.read(topic)
  t.equal(records.length, ids.length)
  const wanted = await kafka.partitions(
    records.map(({ key }) => key!),
    7,
  )
  t.same(
    records.map(({ partition }) => partition),
    wanted,
  )
  await kafka.addPartitions(topic, 9)
  await t.rejects(opened({ pipeline, options }), { code: 'kafka.partitions_changed' })
  const kept = await opened({ pipeline, options: { ...options, 'partition.count.change': 'keep' } })
  await kept.session.write([log(ids.map((id) => insert(item(id))))], { signal })
  await kept.session.commit('two', { signal })
  await kept.session.close()
  t.same(new Set((await kafka.read(topic)).map(({ partition }) => partition)), new Set([0, 1, 2, 3, 4, 5, 6]))
  const accepted = await opened({ pipeline, options: { ...options, 'partition.count.change': 'accept' } })
  await accepted.session.write([log(ids.map((id) => insert(item(id))))], { signal })
  await accepted.session.commit('three', { signal })
  await accepted.session.close()
  t.ok((await kafka.read(topic)).some(({ partition }) => partition > 6))
})

t.test('records over the limit: stop, dead letter, claim check, or small enough when compressed', async (t) => {
  const large = (id: number) => insert(item(id, 'x'.repeat(20_000), createHash('sha256').update(`${id}`).digest('hex')))
  const limited = () => kafka.createTopic({ config: { 'max.message.bytes': '10000' } })

  const stops = await opened({ options: { topic: await limited() } })
  await t.rejects(stops.session.write([log([insert(item(1)), large(2)])], { signal }), {
    code: 'kafka.record_too_large',
    message: /public\.contract_items.*"id":2/,
  })
  await stops.session.close()

  const [topic, dead] = [await limited(), await kafka.createTopic()]
  const options = { topic, 'message.too.large': 'dead-letter', 'dead.letter.topic': dead }
  const letters = await opened({ options })
  await letters.session.write([log([insert(item(1)), large(2), insert(item(3))])], { signal })
  await letters.session.commit('one', { signal })
  await letters.session.close()
  t.same(
    (await kafka.read(topic)).map(({ key }) => key!.toString()),
    ['{"id":1}', '{"id":3}'],
  )
  const [letter, ...rest] = await kafka.read(dead)
  t.equal(rest.length, 0)
  t.equal(letter!.key!.toString(), '{"id":2}')
  const headers = new Map(letter!.headers.map(([name, value]) => [name, value?.toString()]))
  t.equal(headers.get('__connect.errors.topic'), topic)
  t.match(headers.get('__connect.errors.exception.message'), /max|takes/)

  const claims = await limited()
  const path = t.testdir()
  const checked = await opened({
    options: { topic: claims, 'message.too.large': 'claim-check', 'claim.check.path': path },
  })
  await checked.session.write([log([large(2)])], { signal })
  await checked.session.commit('one', { signal })
  await checked.session.close()
  const [reference] = await kafka.read(claims)
  const { claimCheck } = JSON.parse(reference!.value!.toString()) as {
    claimCheck: { file: string; bytes: number; sha256: string }
  }
  const value = readFileSync(claimCheck.file)
  t.equal(value.length, claimCheck.bytes)
  t.equal(createHash('sha256').update(value).digest('hex'), claimCheck.sha256)
  t.equal(JSON.parse(value.toString()).id, 2)

  const small = await limited()
  const packed = await opened({ options: { topic: small, 'properties.compression.type': 'gzip' } })
  await packed.session.write([log([insert(item(1)), large(2), insert(item(3))])], { signal })
  await packed.session.commit('one', { signal })
  await packed.session.close()
  t.equal((await kafka.read(small)).length, 3)
})

t.test('a pipeline from PostgreSQL: once, again, dropped', async (t) => {
  t.comment(`TIDEMARK_SEED=${testSeed()}`)
  const source = await createDatabase(t)
  await source.query(
    `create table w (id int primary key, name text); insert into w select i, 'name ' || i from generate_series(1, 5000) i`,
  )
  const { file } = kafkaPipeline(t, { source, kafka, name: source.name })
  const topic = `${source.name}.public.w`
  const check = await runTidemark(t, ['check', file])
  t.equal(check.code, 0, check.stdout)
  t.match(check.stdout, /guarantee: exactly-once/)
  t.match(check.stdout, new RegExp(`goes to topic ${topic}, which will be made`))
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  await source.query(
    `update w set name = 'new' where id = 1; delete from w where id = 2; update w set id = 6000 where id = 3`,
  )
  const more = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(more.code, 0, more.stderr)
  const { log, records } = await judged(kafka, topic, 'public.w', { key: ['id'] })
  t.same(log.problems, [])
  t.same(log.differences('public.w', await source.query('select id::text, name from w')), [])
  t.equal(records.filter(({ value }) => value === null).length, 2, 'tombstones of a delete and a key change')
  const status = await runTidemark(t, ['status', file])
  t.equal(status.code, 0, status.stderr)
  const drop = await runTidemark(t, ['drop', file, '--yes'])
  t.match(drop.stdout + drop.stderr, /checkpoint in topic tidemark-checkpoint-/)
  const anew = await runTidemark(t, ['sync', file, '--once'])
  t.equal(anew.code, 0, anew.stderr)
  t.equal((await kafka.read(topic)).filter(({ value }) => value !== null).length, 5000 + 4 + 4999)
})

t.test('transaction metadata counts over a checkpoint inside the transaction and another process', async (t) => {
  const pipeline = unique('txn')
  const options = { 'value.format': 'debezium-json', 'provide.transaction.metadata': true }
  const part = log([insert(item(1)), insert(item(2))])
  const first = await opened({ pipeline, options })
  await first.session.write([part], { signal })
  await first.session.commit('one', { signal, midTransaction: true })
  await first.session.close()
  const second = await opened({ pipeline, options })
  await second.session.write([{ ...log([insert(item(3))]), origin: part.origin }], { signal })
  await second.session.commit('two', { signal, midTransaction: false })
  await second.session.close()
  const messages = (await kafka.read(`${pipeline}.transaction`)).map(({ value }) => JSON.parse(value!.toString()))
  t.match(messages, [
    { status: 'BEGIN', event_count: null },
    { status: 'END', event_count: 3, data_collections: [{ data_collection: 'public.contract_items', event_count: 3 }] },
  ])
  t.equal(messages[0].id, messages[1].id)
  const orders = (await kafka.read(second.topic)).map(
    ({ value }) => JSON.parse(value!.toString()).transaction.total_order,
  )
  t.same(orders.sort(), [1, 2, 3])
})
