/** Compacted topics take no message without a key: that stops the pipeline with what to do, and is said before. */
import { setMaxListeners } from 'node:events'
import t from 'tap'
import { ITEMS, insert, item, log, truncate } from '../../core/testing/items.js'
import { sharedKafka } from '../support/kafka.js'
import { openSession } from '../support/kafka-session.js'
import { kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark } from '../support/process.js'

const kafka = await sharedKafka()
const { signal } = new AbortController()
setMaxListeners(0, signal)
const COMPACT = { 'topic.creation.config': { 'cleanup.policy': 'compact' } }
let names = 0
const unique = () => `compacted_${process.pid}_${++names}`

t.test('a truncate stops it, names table, topic and option, and can be left out', async (t) => {
  const pipeline = unique()
  const notes: string[] = []
  const first = await openSession(kafka, { pipeline, options: COMPACT, notes })
  t.match(notes, [/is compacted.*TRUNCATE stops/])
  await first.session.write([log([insert(item(1))])], { signal })
  await first.session.commit('one', { signal })
  const stopped = async () => {
    await first.session.write([truncate()], { signal })
    await first.session.commit('two', { signal })
  }
  const message = new RegExp(`${ITEMS.id}.*${first.topic}`)
  const at = 'sink.truncate.partitions'
  await t.rejects(stopped(), { code: 'kafka.record_refused', retriable: false, message, at })
  await first.session.close()
  const quiet: string[] = []
  const options = { ...COMPACT, 'truncate.partitions': 'none' }
  const second = await openSession(kafka, { pipeline, options, notes: quiet })
  await second.session.write([truncate(), log([insert(item(2))])], { signal })
  await second.session.commit('two', { signal })
  await second.session.close()
  t.same(quiet, [])
  t.equal((await kafka.read(first.topic)).length, 2)
})

t.test('a table without a key is refused by check and at the start, before a topic is made', async (t) => {
  const source = await createDatabase(t)
  await source.query(
    'create table w (a int); alter table w replica identity full; insert into w values (1); create table k (a int primary key)',
  )
  const { file } = kafkaPipeline(t, {
    source,
    kafka,
    name: source.name,
    tables: 'public.*',
    from: { 'no-primary-key': 'full-row' },
    sink: COMPACT,
  })
  const check = await runTidemark(t, ['check', file])
  t.equal(check.code, 3)
  t.match(check.stdout, /table public\.w goes to topic .*public\.w, which is compacted/)
  t.match(check.stdout, /topic .*public\.k is compacted.*a TRUNCATE stops/)
  const sync = await runTidemark(t, ['sync', file, '--once'])
  t.equal(sync.code, 1)
  t.match(sync.stderr, /kafka\.record_refused: table public\.w goes to topic/)
  t.notOk((await kafka.topics()).includes(`${source.name}.public.w`))
  const keyed = await runTidemark(t, ['sync', file, '--once', '--set', 'sink.message.key.columns=public.w:a'])
  t.equal(keyed.code, 0, keyed.stderr)
})
