/** The kafka source against a real broker: what is read, where it goes on, and what stops it rather than be skipped. */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { BUILT_IN } from '../../config/registry.js'
import { runPipeline } from '../../core/pipeline.js'
import { KafkaCluster } from '../../drivers/kafka.js'
import { runCli, startCli } from '../support/cli.js'
import { committedRows } from '../support/committed-files.js'
import { sharedKafka } from '../support/kafka.js'
import { fromKafka, type Put, put } from '../support/kafka-source.js'
import { type PipelineFile, runTidemark, startTidemark } from '../support/process.js'
import { until } from '../support/until.js'

const kafka = await sharedKafka()
const { signal } = new AbortController()

const event = (id: number, op = 'c', v = 'x'): Put => {
  const row = { id, v }
  const source = {
    connector: 'postgresql',
    db: 'shop',
    schema: 'public',
    table: 'items',
    ts_us: 1_700_000_000_000_000 + id,
  }
  const [before, after] = op === 'd' ? [row, null] : [null, row]
  return { key: JSON.stringify({ id }), value: JSON.stringify({ before, after, source, op }) }
}
const events = (from: number, count: number) => Array.from({ length: count }, (_, i) => event(from + i))

function toFile(t: Test, topics: string, more: Readonly<Record<string, unknown>> = {}): PipelineFile {
  return fromKafka(t, {
    kafka,
    name: `f_${topics.replace(/\W/g, '_')}`,
    source: { topics, ...more },
    sink: { type: 'file', path: '{{DIR}}/out', 'value.format': 'row-json' },
  })
}

const cli = (file: string, ...more: string[]) =>
  runCli(['sync', file, '--until-caught-up', ...more], { registry: BUILT_IN, run: runPipeline, cwd: '/' })

async function caughtUp(t: Test, { file }: PipelineFile): Promise<void> {
  const run = await cli(file)
  t.equal(run.code, 0, run.err)
}

/** Ids in the order in which they were committed. */
function ids(pipeline: PipelineFile): number[] {
  // Before the sink has claimed its folder there is none.
  if (!existsSync(pipeline.path('out/manifest'))) return []
  const lines = committedRows(pipeline.path('out')).trimEnd().split('\n')
  return lines.flatMap((line) => (line === '' ? [] : [(JSON.parse(line) as { id: number }).id]))
}
const sorted = (list: readonly number[]) => [...list].sort((a, b) => a - b)
const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

t.test('aborted transactions are not seen, and the position passes them', async (t) => {
  const topic = await kafka.createTopic()
  await put(kafka, { topic }, events(1, 3), 'commit')
  await put(kafka, { topic }, events(100, 3), 'abort')
  const pipeline = toFile(t, topic)
  await caughtUp(t, pipeline)
  t.same(ids(pipeline), [1, 2, 3])
  await put(kafka, { topic }, events(4, 1), 'commit')
  await put(kafka, { topic }, events(200, 3), 'abort')
  await caughtUp(t, pipeline)
  t.same(ids(pipeline), [1, 2, 3, 4])
  // Nothing but an aborted transaction lies behind: a run that waits for the end gets there.
  await put(kafka, { topic }, events(300, 3), 'abort')
  await caughtUp(t, pipeline)
  t.same(ids(pipeline), [1, 2, 3, 4])
})

t.test('killed and resumed, each event is there once, in the order of its partition', async (t) => {
  const topic = await kafka.createTopic({ partitions: 3 })
  for (let i = 0; i < 30; i++) await put(kafka, { topic, partition: i % 3 }, events(i * 400, 400))
  const pipeline = toFile(t, topic)
  for (const nth of [2, 4, 7]) {
    const failpoint = { step: 'checkpoint.before-commit', nth } as const
    const killed = await startTidemark(t, ['sync', pipeline.file], { failpoint }).exit()
    t.equal(killed.signal, 'SIGKILL', killed.stderr)
  }
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  const found = ids(pipeline)
  t.same(sorted(found), range(0, 12_000), 'each once')
  for (const partition of [0, 1, 2]) {
    const own = found.filter((id) => Math.floor(id / 400) % 3 === partition)
    t.same(own, sorted(own), `partition ${partition} is in order`)
  }
})

t.test('what retention removed stops the pipeline, with the offsets', async (t) => {
  const topic = await kafka.createTopic()
  await put(kafka, { topic }, events(1, 2))
  const pipeline = toFile(t, topic)
  await caughtUp(t, pipeline)
  const cluster = await KafkaCluster.connect(kafka.options(), { signal })
  t.teardown(() => cluster.close())
  await put(kafka, { topic }, events(3, 5))
  await kafka.deleteRecords(topic, 0, 6)
  t.equal(await cluster.startOffset(topic, 0, { signal }), 6n)
  const run = await cli(pipeline.file)
  t.equal(run.code, 3, run.err)
  t.match(run.err, /kafka\.offset_out_of_range/)
  t.match(
    run.err,
    new RegExp(`${topic}-0: offset 2 comes next, and the log now goes from 6 to 7: retention removed offsets 2 to 5`),
  )
  t.same(ids(pipeline), [1, 2], 'nothing was skipped')
})

t.test('a topic that was deleted and made again stops it, also while it runs', async (t) => {
  const topic = await kafka.createTopic()
  await put(kafka, { topic }, events(1, 3))
  const pipeline = toFile(t, topic)
  await caughtUp(t, pipeline)
  await kafka.deleteTopic(topic)
  await until(async () => !(await kafka.topics()).includes(topic), { what: 'the topic is gone' })
  const gone = await cli(pipeline.file)
  t.match(gone.err, /kafka\.topic_missing: topic .* does not exist any more/)
  await kafka.createNamed(topic, {})
  // Fewer than there were: only the id says why the offset is not there.
  await put(kafka, { topic }, events(11, 2))
  const again = await cli(pipeline.file)
  t.equal(again.code, 3)
  t.match(again.err, /kafka\.topic_recreated/)
  t.same(ids(pipeline), [1, 2, 3])

  const running = toFile(t, topic)
  const sync = startCli(['sync', running.file], { registry: BUILT_IN, run: runPipeline, cwd: '/' })
  await until(() => ids(running).length === 2, { what: 'two events' }).catch(async (error: Error) => {
    sync.signal('SIGINT')
    throw new Error(`${error.message}\n${(await sync.done).err}`)
  })
  await kafka.deleteTopic(topic)
  await until(async () => !(await kafka.topics()).includes(topic), { what: 'the topic is gone' })
  await kafka.createNamed(topic, {})
  await put(kafka, { topic }, events(21, 9))
  const ended = await sync.done
  t.match(ended.err, /kafka\.topic_(recreated|missing)/)
  t.same(ids(running), range(11, 2), 'nothing of the new topic was taken for the old one')
})

t.test('partitions and topics that come up while it runs are read from their beginning', async (t) => {
  const prefix = `new-${process.pid}-${Date.now()}`
  await kafka.createNamed(`${prefix}.a`, { partitions: 1 })
  await put(kafka, { topic: `${prefix}.a` }, events(1, 2))
  const pipeline = toFile(t, `${prefix}.*`, { 'scan.startup.mode': 'latest-offset' })
  const sync = startCli(['sync', pipeline.file], { registry: BUILT_IN, run: runPipeline, cwd: '/' })
  await until(() => /streaming/.test(sync.err()), { what: 'streaming' })
  await kafka.addPartitions(`${prefix}.a`, 2)
  await put(kafka, { topic: `${prefix}.a`, partition: 1 }, events(10, 2))
  await kafka.createNamed(`${prefix}.b`, { partitions: 1 })
  await put(kafka, { topic: `${prefix}.b` }, events(20, 2))
  await until(() => ids(pipeline).length === 4, { what: 'four events' }).catch(() => {})
  sync.signal('SIGINT')
  t.equal((await sync.done).code, 130)
  t.same(sorted(ids(pipeline)), [10, 11, 20, 21])
  await kafka.addPartitions(`${prefix}.a`, 3)
  await put(kafka, { topic: `${prefix}.a`, partition: 2 }, events(30, 1))
  await caughtUp(t, pipeline)
  t.same(sorted(ids(pipeline)), [10, 11, 20, 21, 30], 'and those that came up while it did not')
})

t.test('a first start begins where it is told to', async (t) => {
  const topic = await kafka.createTopic({ partitions: 2 })
  await put(kafka, { topic, partition: 0 }, events(1, 3))
  await put(kafka, { topic, partition: 1 }, events(11, 3))
  await sleep(2)
  const now = Date.now()
  await put(kafka, { topic, partition: 0 }, events(4, 1))
  const from = async (more: Readonly<Record<string, unknown>>) => {
    const pipeline = toFile(t, topic, more)
    await caughtUp(t, pipeline)
    return sorted(ids(pipeline))
  }
  t.same(await from({}), [1, 2, 3, 4, 11, 12, 13])
  t.same(await from({ 'scan.startup.mode': 'latest-offset' }), [])
  t.same(await from({ 'scan.startup.mode': 'timestamp', 'scan.startup.timestamp-millis': now }), [4])
  const offsets = {
    'scan.startup.mode': 'specific-offsets',
    'scan.startup.specific-offsets': 'partition:0,offset:2;partition:1,offset:3',
  }
  t.same(await from(offsets), [3, 4])
  const beyond = toFile(t, topic, { ...offsets, 'scan.startup.specific-offsets': 'partition:0,offset:99' })
  t.match(
    (await cli(beyond.file)).err,
    /kafka\.offset_out_of_range.*offset 99 comes next, and the log now goes from 0 to 4/,
  )
})

t.test('a message that cannot be read is named, or passed over', async (t) => {
  const topic = await kafka.createTopic()
  await put(kafka, { topic }, [
    event(1),
    { value: '{"before":null,"after":{"id":2' },
    event(3),
    event(1, 'd'),
    { key: '{"id":1}', value: null },
  ])
  const stopped = toFile(t, topic)
  const run = await cli(stopped.file)
  t.equal(run.code, 1)
  t.match(
    run.err,
    new RegExp(
      `kafka\\.bad_message: ${topic}-0, offset 1: the message cannot be read as debezium-json: it is JSON that ends too soon`,
    ),
  )
  const skipping = toFile(t, topic, { 'on.bad.message': 'skip' })
  await caughtUp(t, skipping)
  t.same(ids(skipping), [1, 3, 1])
})

t.test('check says what will be read, and when the format is another one', async (t) => {
  const topic = await kafka.createTopic({ config: { 'retention.ms': '3600000' } })
  await put(kafka, { topic }, events(1, 3))
  const check = async (more: Readonly<Record<string, unknown>>) =>
    runCli(['check', toFile(t, topic, more).file], { registry: BUILT_IN, run: runPipeline, cwd: '/' })
  const right = await check({})
  t.equal(right.code, 0, right.out + right.err)
  t.match(right.out, /3 messages read as debezium-json: table public\.items, key id, 2 columns/)
  t.match(right.out, /messages are kept for 1\.0 hours/)
  const wrong = await check({ 'value.format': 'canal-json' })
  t.equal(wrong.code, 3)
  t.match(wrong.out, /its messages are debezium-json, not canal-json/)
  const none = await check({ topics: `${topic}x` })
  t.match(none.out, /kafka\.no_topics/)
  t.match(none.out, new RegExp(`Did you mean "${topic}"`))
})
