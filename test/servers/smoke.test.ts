/** The oldest and a middle server version: a sync with a writer, killed and resumed. */
import t from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { testSeed } from '../support/seed.js'
import { createWriterTable, startWriter } from '../support/writer.js'

for (const version of ['13', '14', '16', '17'] as const) {
  t.test(`PostgreSQL ${version}: snapshot, stream, kill, resume`, async (t) => {
    const seed = testSeed()
    t.comment(`TIDEMARK_SEED=${seed}`)
    const source = await createDatabase(t, { version })
    const target = await createDatabase(t, { version })
    const table = await createWriterTable(source, 'public.w', { keys: 10_000 })
    const writer = startWriter(source, table, { seed, ratePerSecond: 300, prepared: true })
    const pipeline = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.w', 'scan.incremental.snapshot.chunk.size': 1_000 },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name, 'checkpoint.interval': '100ms' },
    })
    const killed = await startTidemark(t, ['sync', pipeline.file], {
      failpoint: { step: 'chunk.finished', nth: 3 },
    }).exit()
    t.equal(killed.signal, 'SIGKILL')
    const once = await runTidemark(t, ['sync', pipeline.file, '--once'])
    t.equal(once.code, 0, once.stderr)
    await writer.stop()
    const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(last.code, 0, last.stderr)
    const difference = await tableDifference({ db: source, table: 'public.w' }, { db: target, table: 'public.w' })
    t.equal(difference, null, describeDifference(difference))
  })
}
