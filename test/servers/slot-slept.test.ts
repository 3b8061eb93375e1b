/** A first start that sleeps before it makes its slot, while another process of the pipeline starts, and then wakes. */
import t from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'

for (const step of ['start.prepared', 'start.intent-committed', 'start.log-created'] as const) {
  t.test(`S3 asleep at ${step}: the slot of the successor stays`, async (t) => {
    const [source, target] = [await createDatabase(t), await createDatabase(t)]
    await source.query(
      'create table x (id int primary key, v text); insert into x select i, i from generate_series(1, 50) i',
    )
    const { file } = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.x' },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name },
    })
    const sleeper = startTidemark(t, ['sync', file], { failpoint: { step, action: 'stop' } })
    await sleeper.stopped()
    const successor = await runTidemark(t, ['sync', file, '--once'])
    t.equal(successor.code, 0, successor.stderr)
    const slot = async () =>
      (
        await source.query(
          `select confirmed_flush_lsn, catalog_xmin from pg_replication_slots where slot_name = 'tidemark_${source.name}'`,
        )
      )[0]
    const held = await slot()
    t.ok(held, 'the successor has a slot')
    await source.query('insert into x select i, i from generate_series(51, 100) i')
    sleeper.signal('SIGCONT')
    const woken = await sleeper.exit()
    t.not(woken.code, 0, woken.stderr)
    t.match(woken.stderr, /sink\.fenced|postgres\.slot:/)
    t.same(await slot(), held, 'as the successor left it')
    const last = await runTidemark(t, ['sync', file, '--until-caught-up'])
    t.equal(last.code, 0, last.stderr)
    const difference = await tableDifference({ db: source, table: 'public.x' }, { db: target, table: 'public.x' })
    t.equal(difference, null, describeDifference(difference))
  })
}
