/** T41, T42, T46: SIGKILL at every named step, once early and once later, then resume; judged from outside. */
import t from 'tap'
import { STEPS, type StepName } from '../../core/steps.js'
import { Changelog } from '../support/changelog.js'
import { committedRows } from '../support/committed-files.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { testSeed } from '../support/seed.js'
import { createWriterTable, startWriter } from '../support/writer.js'

const KEYS = 6_000
const REACHED_MS_MAX = 30_000

const SINK_STEPS = { postgres: 'pg-sink.', file: 'file.', kafka: 'kafka.', mysql: 'mysql-sink.' }

const steps = (sink: 'postgres' | 'file') =>
  STEPS.filter((name) => Object.entries(SINK_STEPS).every(([other, own]) => other === sink || !name.startsWith(own)))

/** Reached only by a start without a table that the checkpoint has. */
const REMOVES = 'start.removed-forgotten'

/** Steps of a start happen once in a run. */
const times = (step: StepName) => (step.startsWith('start.') || /claimed|fenced/.test(step) ? [1] : [1, 3])

t.jobs = 2
for (const sink of ['postgres', 'file'] as const) {
  t.test(
    `T41 T42 T46 ${sink}: killed at every step, nothing is lost and nothing comes twice`,
    { buffered: true },
    async (t) => {
      const seed = testSeed()
      t.comment(`TIDEMARK_SEED=${seed}`)
      const source = await createDatabase(t, { version: '15' })
      const target = await createDatabase(t, { version: '15' })
      const table = await createWriterTable(source, 'public.w', { keys: KEYS, identity: 'full' })
      await source.query('create table public.removed (id int primary key)')
      const writer = startWriter(source, table, { seed, ratePerSecond: 300, prepared: true })
      const pipelines: { step: string; nth: number; schema: string; file: string; out: string }[] = []
      for (const step of steps(sink)) {
        for (const nth of times(step)) {
          const name = `${source.name}_${step.replace(/[^a-z]/g, '_')}_${nth}`.slice(-50)
          const schema = `s_${step.replace(/[^a-z]/g, '_')}_${nth}`
          const pipeline = writePipeline(t, {
            source: {
              type: 'postgres',
              url: source.url,
              tables: 'public.w',
              'scan.incremental.snapshot.chunk.size': 500,
            },
            sink:
              sink === 'postgres'
                ? { type: 'postgres', url: target.url, schema }
                : { type: 'file', path: '{{DIR}}/out' },
            pipeline: { name, 'checkpoint.interval': '50ms' },
          })
          if (step === REMOVES) {
            const both = await runTidemark(t, ['sync', pipeline.file, '--once', '--set', 'source.tables=public.*'])
            t.equal(both.code, 0, both.stderr)
          }
          const first = startTidemark(t, ['sync', pipeline.file], { failpoint: { step, nth } })
          const exit = await first.exit({ timeoutMs: REACHED_MS_MAX })
          t.equal(exit.signal, 'SIGKILL', `reached ${step} ${nth}\n${exit.stderr}`)
          const again = await runTidemark(t, ['sync', pipeline.file, '--once'])
          t.equal(again.code, 0, `${step} ${nth}: ${again.stderr}`)
          if (step === REMOVES) {
            const back = await runTidemark(t, ['sync', pipeline.file, '--once', '--set', 'source.tables=public.*'])
            t.equal(back.code, 0, `put back: ${back.stderr}`)
          }
          pipelines.push({ step, nth, schema, file: pipeline.file, out: pipeline.path('out') })
        }
      }
      await writer.stop()
      for (const { step, nth, schema, file, out } of pipelines) {
        const last = await runTidemark(t, ['sync', file, '--until-caught-up'])
        t.equal(last.code, 0, last.stderr)
        if (sink === 'postgres') {
          const difference = await tableDifference(
            { db: source, table: 'public.w' },
            { db: target, table: `${schema}.w` },
          )
          t.equal(difference, null, `${step} ${nth}: ${describeDifference(difference)}`)
        } else {
          const log = new Changelog({ 'public.w': { key: ['id'], fullBefore: true } }).addLines(committedRows(out))
          t.same(log.problems, [], `${step} ${nth}`)
          t.same(
            log.differences('public.w', await source.query('SELECT id, n, name, note FROM public.w')),
            [],
            `${step} ${nth}`,
          )
        }
      }
    },
  )
}
