/** Topics that are gone, were made anew, grew or are other ones than before: nothing goes on as if consumers had everything. */
import { setMaxListeners } from 'node:events'
import t from 'tap'
import { ITEMS, insert, item, log } from '../../core/testing/items.js'
import { sharedKafka } from '../support/kafka.js'
import { type OpenOptions, openSession } from '../support/kafka-session.js'

const kafka = await sharedKafka()
const { signal } = new AbortController()
setMaxListeners(0, signal)
let names = 0
const unique = (what: string) => `${what}_${process.pid}_${++names}`
const opened = (given: OpenOptions) => openSession(kafka, given)

async function written(pipeline: string, options: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const { session, topic } = await opened({ pipeline, options })
  await session.write([log([insert(item(1))])], { signal })
  await session.commit('one', { signal })
  await session.close()
  return topic
}

t.test('a topic that was deleted while the pipeline stood', async (t) => {
  const pipeline = unique('gone')
  const topic = await written(pipeline)
  await kafka.deleteTopic(topic)
  await t.rejects(opened({ pipeline }), {
    code: 'kafka.topic_missing',
    message: new RegExp(topic),
    at: /topic\.change/,
  })
  t.notOk((await kafka.topics()).includes(topic), 'a start that is refused makes nothing')
  const notes: string[] = []
  const anew = await opened({ pipeline, options: { 'topic.change': 'accept' }, notes })
  t.match(notes, [/its messages before are lost.*accept/])
  await anew.session.commit('two', { signal })
  await anew.session.close()
  const after = await opened({ pipeline })
  t.equal(after.session.checkpoint, 'two', 'its id is known from then on')
  await after.session.close()
})

t.test('a topic that was made anew while the pipeline stood, and its other partitions', async (t) => {
  const pipeline = unique('anew')
  const topic = await written(pipeline)
  await kafka.deleteTopic(topic)
  await kafka.createNamed(topic, { partitions: 5 })
  const options = { 'partition.count.change': 'keep' }
  const wanted = { code: 'kafka.topic_recreated', message: /5 partitions instead of 3/ }
  await t.rejects(opened({ pipeline, options }), wanted)
  const notes: string[] = []
  const anew = await opened({ pipeline, options: { ...options, 'topic.change': 'accept' }, notes })
  t.match(notes, [/deleted and made again.*accept/])
  const ids = Array.from({ length: 50 }, (_, i) => i + 1)
  await anew.session.write([log(ids.map((id) => insert(item(id))))], { signal })
  await anew.session.commit('two', { signal })
  await anew.session.close()
  t.equal(
    new Set((await kafka.read(topic)).map(({ partition }) => partition)).size,
    5,
    'keys go over all of the new one',
  )
  await (await opened({ pipeline })).session.close()
})

t.test('a topic of which nothing was written yet may be another one', async (t) => {
  const pipeline = unique('first')
  const topic = await written(pipeline)
  await kafka.deleteTopic(topic)
  const notes: string[] = []
  const again = await opened({ pipeline, first: new Set([ITEMS.id]), notes })
  t.same(notes, [])
  await again.session.close()
})

t.test('what happens to a topic while the pipeline runs', async (t) => {
  const options = { 'topic.check.interval': '100ms' }
  const change: Readonly<Record<string, (topic: string) => Promise<void>>> = {
    'kafka.topic_missing': (topic) => kafka.deleteTopic(topic),
    'kafka.topic_recreated': async (topic) => {
      await kafka.deleteTopic(topic)
      await kafka.createNamed(topic, { partitions: 3 })
    },
    'kafka.partitions_changed': (topic) => kafka.addPartitions(topic, 4),
  }
  for (const [code, happens] of Object.entries(change)) {
    const pipeline = unique('running')
    const { session, topic } = await opened({ pipeline, options })
    await session.write([log([insert(item(1))])], { signal })
    await session.commit('one', { signal })
    await happens(topic)
    const going = async () => {
      for (let i = 2; ; i++) {
        await session.write([log([insert(item(i))])], { signal })
        await session.commit(`${i}`, { signal })
      }
    }
    await t.rejects(going(), { code, message: new RegExp(topic), retriable: false })
    await session.close()
    await t.rejects(opened({ pipeline, options }), { code })
  }
})

t.test('another topic, format or strategy than before', async (t) => {
  const pipeline = unique('other')
  const topic = await written(pipeline)
  const prefix = { 'topic.prefix': `${pipeline}-new` }
  const format = { 'value.format': 'debezium-json' }
  const strategy = { 'partition.strategy': 'by-table' }
  await t.rejects(opened({ pipeline, options: prefix }), { code: 'kafka.topic_changed', message: /contract_items/ })
  t.notOk((await kafka.topics()).includes(topic.replace(pipeline, `${pipeline}-new`)))
  await t.rejects(opened({ pipeline, options: format }), { code: 'kafka.topic_changed', message: /row-json/ })
  await t.rejects(opened({ pipeline, options: strategy }), { code: 'kafka.partitions_changed', message: /hash-by-key/ })
  const notes: string[] = []
  const accept = { 'topic.change': 'accept', 'partition.count.change': 'accept' }
  const all = await opened({ pipeline, options: { ...prefix, ...format, ...strategy, ...accept }, notes })
  t.match(notes, [/another topic/, /value\.format/])
  await all.session.commit('two', { signal })
  await all.session.close()
  const after = await opened({ pipeline, options: { ...prefix, ...format, ...strategy } })
  await after.session.close()
})

t.test('a first start into a topic that holds messages says so', async (t) => {
  const topic = await written(unique('filled'))
  const notes: string[] = []
  const { session } = await opened({ pipeline: unique('filled'), options: { topic }, notes })
  await session.close()
  t.match(notes, [new RegExp(`${topic} holds messages already`)])
  const empty: string[] = []
  await (await opened({ pipeline: unique('filled'), notes: empty })).session.close()
  t.same(empty, [])
})
