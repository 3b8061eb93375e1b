/**
 * T41, S1-S3, S9, T-K1, T-K2 for the kafka sink: SIGKILL at every named step, then resume; SIGSTOP at every step of a
 * transaction while a successor runs. Java's consumer with read_committed sees each event once, keys in order.
 */
import t, { type Test } from 'tap'
import { STEPS, type StepName } from '../../core/steps.js'
import { sharedKafka } from '../support/kafka.js'
import { judged, kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { type PipelineFile, runTidemark, startTidemark } from '../support/process.js'
import { testSeed } from '../support/seed.js'
import { createWriterTable, startWriter } from '../support/writer.js'

const KEYS = 3_000
const REACHED_MS_MAX = 30_000
const REMOVES = 'start.removed-forgotten'

const kafka = await sharedKafka()
const steps = STEPS.filter((name) => !/^(pg-sink|mysql-sink|file)\./.test(name) && name !== REMOVES)
const times = (step: StepName) =>
  /^kafka\.(before-send|sent|committed)|checkpoint\.before-commit/.test(step) ? [1, 3] : [1]

interface Case {
  readonly what: string
  readonly pipeline: PipelineFile
  readonly topic: string
}

async function requireEqual(t: Test, source: TestDatabase, { what, pipeline, topic }: Case): Promise<void> {
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, `${what}: ${last.stderr}`)
  const { log } = await judged(kafka, topic, 'public.w', { key: ['id'], fullBefore: true })
  t.same(log.problems, [], what)
  t.same(log.differences('public.w', await source.query('SELECT id, n, name, note FROM public.w')), [], what)
}

t.test('T41 T-K2: killed at every step, nothing is lost and nothing comes twice', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const source = await createDatabase(t)
  const table = await createWriterTable(source, 'public.w', { keys: KEYS, identity: 'full' })
  const writer = startWriter(source, table, { seed, ratePerSecond: 300, prepared: true })
  const cases: Case[] = []
  for (const step of steps) {
    for (const nth of times(step)) {
      const name = `${source.name}_${step.replace(/[^a-z]/g, '_')}_${nth}`.slice(-50)
      const pipeline = kafkaPipeline(t, { source, kafka, name })
      const what = `${step} ${nth}`
      const exit = await startTidemark(t, ['sync', pipeline.file], { failpoint: { step, nth } }).exit({
        timeoutMs: REACHED_MS_MAX,
      })
      t.equal(exit.signal, 'SIGKILL', `reached ${what}\n${exit.stderr}`)
      const again = await runTidemark(t, ['sync', pipeline.file, '--once'])
      t.equal(again.code, 0, `${what}: ${again.stderr}`)
      cases.push({ what, pipeline, topic: `${name}.public.w` })
    }
  }
  await writer.stop()
  for (const each of cases) await requireEqual(t, source, each)
})

t.test('S3 T-K1: an owner that slept at any step of its transaction writes nothing once it wakes', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const source = await createDatabase(t)
  const table = await createWriterTable(source, 'public.w', { keys: KEYS, identity: 'full' })
  const writer = startWriter(source, table, { seed, ratePerSecond: 300, prepared: true })
  const cases: Case[] = []
  const asleep = [
    'kafka.fenced',
    'kafka.claimed',
    'kafka.before-send',
    'kafka.sent',
    'kafka.committed',
    'checkpoint.before-write',
    'checkpoint.committed',
  ] as const
  for (const step of asleep) {
    for (const nth of times(step)) {
      const name = `${source.name}_z_${step.replace(/[^a-z]/g, '_')}_${nth}`.slice(-50)
      const pipeline = kafkaPipeline(t, { source, kafka, name })
      const what = `asleep at ${step} ${nth}`
      const zombie = startTidemark(t, ['sync', pipeline.file], { failpoint: { step, nth, action: 'stop' } })
      await zombie.stopped({ timeoutMs: REACHED_MS_MAX })
      const successor = await runTidemark(t, ['sync', pipeline.file, '--once'])
      t.equal(successor.code, 0, `${what}: ${successor.stderr}`)
      zombie.signal('SIGCONT')
      const woken = await zombie.exit({ timeoutMs: REACHED_MS_MAX })
      t.not(woken.code, 0, `${what}: ${woken.stderr}`)
      t.match(woken.stderr, /sink\.fenced|postgres\.slot:/, what)
      cases.push({ what, pipeline, topic: `${name}.public.w` })
    }
  }
  await writer.stop()
  for (const each of cases) await requireEqual(t, source, each)
})
