import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Changelog } from '../support/changelog.js'
import { committedRows } from '../support/committed-files.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { type PipelineFile, runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { random, testSeed } from '../support/seed.js'
import { createWriterTable, startWriter, type WriterTable } from '../support/writer.js'

const README = new URL('../../README.md', import.meta.url)
const KILLS = 6
/** Kills of a process that has copied the table. */
const LOG_KILLS = 2
const RUN_MS_MAX = 2_500

/** Runs the pipeline and kills it, again and again, while a writer works; then to the end. */
async function syncThroughKills(
  t: Test,
  source: TestDatabase,
  table: WriterTable,
  pipeline: PipelineFile,
): Promise<void> {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const numbers = random(seed)
  const writer = startWriter(source, table, { seed, ratePerSecond: 1_000, prepared: true })
  for (let i = 0; i < KILLS; i++) {
    const sync = startTidemark(t, ['sync', pipeline.file])
    // The last ones hit the log, however slow the machine is.
    if (i >= KILLS - LOG_KILLS) await sync.line(/streaming, /)
    // A random instant is the point here, so this is no wait for a condition.
    await new Promise((resolve) => setTimeout(resolve, numbers.below(RUN_MS_MAX)))
    t.ok(sync.running, `run ${i + 1} is there to be killed\n${sync.stderr()}`)
    await sync.kill()
  }
  await writer.stop()
  t.ok(writer.commits() > 100, `${writer.commits()} commits`)
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
}

const sourceOf = (db: TestDatabase) => ({
  type: 'postgres',
  url: db.url,
  tables: 'public.w',
  'scan.incremental.snapshot.chunk.size': 1_000,
})

for (const version of ['15', '18'] as const) {
  t.test(`PostgreSQL ${version}: killed at random instants under a writer, both sides are equal`, async (t) => {
    const [source, target] = [await createDatabase(t, { version }), await createDatabase(t, { version })]
    const table = await createWriterTable(source, 'public.w', { keys: 40_000 })
    const pipeline = writePipeline(t, {
      source: sourceOf(source),
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
    })
    await syncThroughKills(t, source, table, pipeline)
    const difference = await tableDifference({ db: source, table: table.name }, { db: target, table: table.name })
    t.equal(difference, null, describeDifference(difference))
  })

  t.test(`PostgreSQL ${version}: killed at random instants into files, every single change is right`, async (t) => {
    const source = await createDatabase(t, { version })
    const table = await createWriterTable(source, 'public.w', { keys: 40_000, identity: 'full' })
    const pipeline = writePipeline(t, {
      source: sourceOf(source),
      sink: { type: 'file', path: '{{DIR}}/out', 'file.size.max': '1mb' },
      pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
    })
    await syncThroughKills(t, source, table, pipeline)
    const rows = committedRows(pipeline.path('out'))
    const log = new Changelog({ 'public.w': { key: ['id'], fullBefore: true } }).addLines(rows)
    t.same(log.problems, [])
    const wanted = await source.query('SELECT id, n, name, note FROM public.w')
    t.same(log.differences('public.w', wanted), [])
    t.ok(log.events > wanted.length, `${log.events} events`)
    const [, line = ''] = /^node -e '(.*)' out$/m.exec(readFileSync(README, 'utf8')) ?? []
    const read = execFileSync(process.execPath, ['-e', line, pipeline.path('out')], { maxBuffer: 2 ** 30 })
    t.ok(read.equals(Buffer.from(rows)), "the README's line reads the committed rows")
  })
}
