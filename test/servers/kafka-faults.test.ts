/**
 * S5, S9, T-K3 for whole pipelines into Kafka: lost answers and cut connections at every request, a transaction that the
 * coordinator ends, a broker that restarts between send and commit, an open transaction of somebody else. The process
 * itself goes on, and Java's consumer with read_committed sees each event once, keys in order.
 */
import t, { type Test } from 'tap'
import { startKafka, type TestKafka } from '../support/kafka.js'
import { connectKafka, numbered, openProducer } from '../support/kafka-packs.js'
import { judged, kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark } from '../support/process.js'
import { random, testSeed } from '../support/seed.js'
import { type ApiName, type Fate, KafkaProxy } from '../support/tcp-proxy.js'
import { until } from '../support/until.js'
import { createWriterTable, startWriter } from '../support/writer.js'

const KEYS = 1_000
const ROUNDS = 40
const MET_MS_MAX = 20_000
const TIMEOUT_MS = 2_000
const NOTHING_FOLLOWS_MS = 1_500
const ASKED_IN_EACH_TRANSACTION: readonly ApiName[] = ['Produce', 'EndTxn', 'AddPartitionsToTxn']
/** What a client asks once it has lost its connections. */
const ASKED_AFTERWARDS: readonly ApiName[] = ['Metadata', 'FindCoordinator', 'InitProducerId']

const { kafka, server } = await startKafka(t)

async function eachEventOnce(t: Test, source: TestDatabase, topic: string): Promise<void> {
  const { log } = await judged(kafka, topic, 'public.w', { key: ['id'], fullBefore: true })
  t.same(log.problems, [])
  t.same(log.differences('public.w', await source.query('SELECT id, n, name, note FROM public.w')), [])
}

/** A source with a writer at work, whose table is `public.w`. */
async function written(t: Test) {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const source = await createDatabase(t)
  const table = await createWriterTable(source, 'public.w', { keys: KEYS, identity: 'full' })
  return { seed, source, writer: startWriter(source, table, { seed, ratePerSecond: 200, prepared: true }) }
}

async function aborted(topic: string): Promise<number> {
  return (await kafka.count(topic, { isolation: 'read_uncommitted' })) - (await kafka.count(topic))
}

t.test('S5 S9: lost answers and cut connections, one after the other', async (t) => {
  const { seed, source, writer } = await written(t)
  const proxy = await KafkaProxy.start(t, kafka.bootstrap)
  const behind = { bootstrap: proxy.bootstrap } as TestKafka
  const pipeline = kafkaPipeline(t, { source, kafka: behind, name: source.name })
  const sync = startTidemark(t, ['sync', pipeline.file])
  // A start that meets a cluster out of order says so and ends.
  await sync.line(/(snapshot|streaming), /)
  const dice = random(seed)
  const met = new Map<string, number>()
  for (let round = 0; round < ROUNDS; round++) {
    const api = dice.pick(ASKED_IN_EACH_TRANSACTION)
    const fate = dice.pick<Fate>(['lose-answer', 'cut'])
    // Sometimes the second attempt fails as well, or what the client asks before it.
    if (dice.below(3) === 0) proxy.on(dice.pick(ASKED_AFTERWARDS), dice.pick<Fate>(['lose-answer', 'cut']))
    const meeting = proxy.on(api, fate, { times: 1 + dice.below(2) })
    let happened = false
    void meeting.met.then(() => {
      happened = true
    })
    await until(() => happened || !sync.running, { timeoutMs: MET_MS_MAX, what: `round ${round}: ${api} ${fate}` })
    t.ok(sync.running, `round ${round}: ${api} ${fate}\n${sync.stderr()}`)
    met.set(`${api} ${fate}`, (met.get(`${api} ${fate}`) ?? 0) + 1)
  }
  t.comment([...met].map(([what, times]) => `${what}: ${times}`).join(', '))
  proxy.clear()
  t.ok(sync.running, sync.stderr())
  await writer.stop()
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143, sync.stderr())
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  await eachEventOnce(t, source, `${source.name}.public.w`)
})

t.test(
  'T-K3: the coordinator ends a transaction whose owner sleeps, and the owner goes on when it wakes',
  async (t) => {
    const { source, writer } = await written(t)
    const topic = `${source.name}.public.w`
    const pipeline = kafkaPipeline(t, {
      source,
      kafka,
      name: source.name,
      sink: { 'properties.transaction.timeout.ms': TIMEOUT_MS },
    })
    const sync = startTidemark(t, ['sync', pipeline.file], {
      failpoint: { step: 'kafka.sent', nth: 3, action: 'stop' },
    })
    await sync.stopped()
    const cluster = await connectKafka(t, kafka.options())
    const { signal } = new AbortController()
    // Every transaction has a checkpoint in it.
    const checkpoints = `tidemark-checkpoint-${source.name}`
    const end = (isolation: 'committed' | 'uncommitted') => cluster.endOffset(checkpoints, 0, isolation, { signal })
    await until(async () => (await end('committed')) === (await end('uncommitted')), {
      timeoutMs: 30_000,
      what: 'the coordinator ended the transaction',
    })
    sync.signal('SIGCONT')
    await sync.line(/kafka\.transaction_timed_out.*|transaction\.timeout\.ms \(2000\)/)
    await writer.stop()
    sync.signal('SIGTERM')
    t.equal((await sync.exit()).code, 143, sync.stderr())
    const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(last.code, 0, last.stderr)
    t.ok((await aborted(checkpoints)) > 0, 'consumers that do not wait for commits saw the aborted records')
    await eachEventOnce(t, source, topic)
  },
)

t.test('a broker that restarts between send and commit: the transaction is committed as it was sent', async (t) => {
  const { source, writer } = await written(t)
  await writer.stop()
  const topic = `${source.name}.public.w`
  const pipeline = kafkaPipeline(t, { source, kafka, name: source.name })
  const sync = startTidemark(t, ['sync', pipeline.file], { failpoint: { step: 'kafka.sent', nth: 2, action: 'stop' } })
  await sync.stopped()
  const [node] = server.nodes
  await node!.stop()
  await node!.start()
  sync.signal('SIGCONT')
  await sync.line(/streaming, /, { timeoutMs: 60_000 })
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143, sync.stderr())
  t.equal(await aborted(topic), 0, 'nothing was sent a second time')
  await eachEventOnce(t, source, topic)
})

t.test('an open transaction of somebody else: in a data topic it is waited out by consumers only', async (t) => {
  const { source, writer } = await written(t)
  await writer.stop()
  const topic = `${source.name}.public.w`
  const pipeline = kafkaPipeline(t, { source, kafka, name: source.name })
  const first = await runTidemark(t, ['sync', pipeline.file, '--once'])
  t.equal(first.code, 0, first.stderr)
  const cluster = await connectKafka(t, kafka.options())
  const stranger = await openProducer(t, cluster)
  await stranger.send([numbered(topic, 0, 0, 2)])
  await source.query(`INSERT INTO public.w SELECT 100000 + i, 0, 'late' FROM generate_series(1, 50) i`)
  const second = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(second.code, 0, second.stderr)
  await stranger.abort()
  await eachEventOnce(t, source, topic)
})

t.test('S1 at-least-once: no checkpoint is written before what it speaks of is there', async (t) => {
  const source = await createDatabase(t)
  await createWriterTable(source, 'public.w', { keys: KEYS, identity: 'full' })
  const proxy = await KafkaProxy.start(t, kafka.bootstrap)
  const behind = { bootstrap: proxy.bootstrap } as TestKafka
  const sink = { delivery: 'at-least-once' }
  const pipeline = kafkaPipeline(t, { source, kafka: behind, name: source.name, sink })
  const sync = startTidemark(t, ['sync', pipeline.file])
  await sync.line(/streaming, /)
  const meeting = proxy.on('Produce', 'hold')
  await source.query(`INSERT INTO public.w SELECT 100000 + i, 0, 'held' FROM generate_series(1, 20) i`)
  await meeting.met
  const held = proxy.count('Produce')
  // Nothing may follow, which takes time to see.
  await until(() => proxy.count('Produce') > held, { timeoutMs: NOTHING_FOLLOWS_MS }).catch(() => {})
  await sync.kill()
  proxy.clear()
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  const records = await kafka.read(`${source.name}.public.w`)
  const ids = new Set(records.map(({ key }) => (JSON.parse(key!.toString()) as { id: number }).id))
  const rows = await source.query('SELECT id FROM public.w')
  t.same(
    rows.filter(({ id }) => !ids.has(Number(id))),
    [],
    'every row is in the topic',
  )
})
