/** One owner of a pipeline, also when its transactional id or delivery changes; judged by Java's consumer. */
import { setMaxListeners } from 'node:events'
import t from 'tap'
import { insert, item, log } from '../../core/testing/items.js'
import { sharedKafka } from '../support/kafka.js'
import { type OpenOptions, openSession } from '../support/kafka-session.js'

const kafka = await sharedKafka()
const { signal } = new AbortController()
setMaxListeners(0, signal)
let names = 0
const unique = (what: string) => `${what}_${process.pid}_${++names}`
const opened = (given: OpenOptions) => openSession(kafka, given)
const keysOf = async (topic: string) => (await kafka.read(topic)).map(({ key }) => key!.toString()).sort()

const successors = [
  { what: 'another transactional id', options: { 'transactional.id': `other-${process.pid}` } },
  { what: 'at-least-once', options: { delivery: 'at-least-once' } },
]
for (const { what, options } of successors) {
  t.test(`a successor with ${what} fences the owner before it reads back`, async (t) => {
    const pipeline = unique('owner')
    const first = await opened({ pipeline })
    await first.session.write([log([insert(item(1))])], { signal })
    await first.session.commit('one', { signal })
    const claim = first.session.claim!
    const second = await opened({ pipeline, options })
    t.equal(second.session.checkpoint, 'one')
    await first.session.write([log([insert(item(2))])], { signal })
    await t.rejects(first.session.commit('two', { signal }), { code: 'sink.fenced' })
    await first.session.close()
    await t.rejects(opened({ pipeline, lastClaim: claim }), { code: 'sink.fenced' }, 'nor does it come back')
    await second.session.write([log([insert(item(3))])], { signal })
    await second.session.commit('three', { signal })
    await second.session.close()
    t.same(await keysOf(first.topic), ['{"id":1}', '{"id":3}'])
    const third = await opened({ pipeline })
    t.equal(third.session.checkpoint, 'three', 'a new start under the first id may')
    await third.session.close()
  })
}

t.test('an owner that goes on stops at a claim under another id, and does not fence it', async (t) => {
  const pipeline = unique('owner')
  const options = { 'transactional.id': `${pipeline}-b` }
  const first = await opened({ pipeline })
  const claim = first.session.claim!
  await first.session.close()
  const second = await opened({ pipeline, options })
  await t.rejects(opened({ pipeline, lastClaim: claim }), { code: 'sink.fenced', message: new RegExp(`${pipeline}-b`) })
  await second.session.commit('two', { signal })
  await second.session.close()
})

t.test('of many that start at once under ids of their own, one is left', async (t) => {
  const pipeline = unique('owner')
  const starts = await Promise.allSettled(
    Array.from({ length: 6 }, (_, i) => opened({ pipeline, options: { 'transactional.id': `${pipeline}-${i}` } })),
  )
  const commits = await Promise.allSettled(
    starts.map(async (start, i) => {
      if (start.status === 'rejected') throw start.reason
      const { session } = start.value
      await session.write([log([insert(item(i))])], { signal })
      await session.commit(`${i}`, { signal })
      await session.write([log([insert(item(10 + i))])], { signal })
      await session.commit(`again ${i}`, { signal })
    }),
  )
  for (const start of starts) if (start.status === 'fulfilled') await start.value.session.close()
  const left = commits.filter(({ status }) => status === 'fulfilled')
  t.equal(left.length, 1, commits.map((c) => (c.status === 'rejected' ? String(c.reason) : 'left')).join('\n'))
  const last = await opened({ pipeline })
  t.match(last.session.checkpoint, /^again/)
  await last.session.close()
  t.equal((await kafka.read(last.topic)).length, 2)
})
