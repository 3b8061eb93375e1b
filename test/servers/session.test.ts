/** Time limits that a role, database or server sets for everybody must not end Tidemark's sessions. */
import t from 'tap'
import { connectPg, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const LIMITS = ['statement_timeout', 'idle_session_timeout', 'transaction_timeout']

for (const version of ['13', '15', '18'] as const) {
  t.test(`time limits of the database are lifted, PostgreSQL ${version}`, async (t) => {
    const source = await createDatabase(t, { version })
    const target = await createDatabase(t, { version })
    // Opened before there are any limits, so that they do not end it.
    const observer = await source.connect()
    const known = await source.query('select name from pg_settings where name = any ($1)', [LIMITS])
    await source.query('create table t (id int primary key, v text)')
    await source.query(`insert into t select i, 'first' from generate_series(1, 300000) i`)
    for (const { name } of [source, target]) {
      for (const limit of known) await observer.query(`alter database ${name} set ${limit.name} = '200ms'`)
    }
    const connection = await connectPg(pgOptionsFromUrl(source.url), { signal: new AbortController().signal })
    for (const { name } of known) t.same(await connection.query(`show ${name}`), [['0']], `${name}`)
    await connection.close()

    const { file } = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.t' },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name },
    })
    const sync = startTidemark(t, ['sync', file])
    await until(
      async () =>
        (
          await observer.query(`select 1 from pg_stat_activity where datname = current_database() and state = 'idle'
            and application_name like 'tidemark%' and clock_timestamp() - state_change > interval '1 second'`)
        ).length > 0 || !sync.running,
      { what: 'a session has been idle for five times the limit' },
    )
    t.ok(sync.running, sync.stderr())
    t.notMatch(sync.stderr(), /timeout/)
    await sync.kill()
    const last = await runTidemark(t, ['sync', file, '--until-caught-up'])
    t.equal(last.code, 0, last.stderr)
    for (const { name } of [source, target]) {
      for (const limit of known) await observer.query(`alter database ${name} reset ${limit.name}`)
    }
    const difference = await tableDifference({ db: source, table: 'public.t' }, { db: target, table: 'public.t' })
    t.equal(difference, null, describeDifference(difference))
  })
}
