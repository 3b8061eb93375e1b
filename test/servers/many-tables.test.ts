/** A thousand tables: what is done once for each of them, or for all of them each time, must stay cheap. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const TABLES = 1000
/** 300 s were not enough when each table's first change read the whole catalog; this is ten times what it takes now. */
const FIRST_CHANGES_MS_MAX = 30_000
/** A checkpoint says of a table what a resume must know, and not much more. */
const TAG_BYTES_MAX = 200

const each = (statement: string) =>
  `do $do$ begin for i in 1..${TABLES} loop execute format($q$${statement}$q$, i); end loop; end $do$`

t.test('the first change of each of 1,000 tables arrives at once, on every start', async (t) => {
  const source = await createDatabase(t)
  await source.query(each('create table t%s (id int primary key, v text)'))
  const { file, path } = writePipeline(t, {
    source: {
      type: 'postgres',
      url: source.url,
      tables: 'public.t*',
      'scan.startup.mode': 'latest-offset',
      'heartbeat.interval': '500ms',
    },
    sink: { type: 'stdout' },
    pipeline: { name: source.name, state: '{{DIR}}/state.json' },
  })
  const run = startTidemark(t, ['sync', file])
  await run.line(/streaming/)
  const lines = (p: { stdout(): string }) => p.stdout().split('\n').length - 1
  for (const round of [1, 2]) {
    const process = round === 1 ? run : startTidemark(t, ['sync', file])
    const begun = performance.now()
    await source.query(each(`insert into t%s values (${round}, 'x')`))
    await until(() => lines(process) >= TABLES, {
      timeoutMs: FIRST_CHANGES_MS_MAX,
      what: `${lines(process)} of ${TABLES} changes: ${process.stderr()}`,
    })
    t.comment(`round ${round}: ${Math.round(performance.now() - begun)} ms`)
    process.signal('SIGTERM')
    t.equal((await process.exit()).code, 143, process.stderr())
  }
  const { tables } = JSON.parse(readFileSync(path('state.json'), 'utf8')) as {
    tables: Record<string, { tag?: string }>
  }
  const tags = Object.values(tables).map(({ tag }) => tag?.length ?? 0)
  t.equal(tags.length, TABLES)
  t.ok(Math.max(...tags) < TAG_BYTES_MAX, `${Math.max(...tags)} bytes`)
  await source.query(each('alter table t%s add w int'))
  const begun = performance.now()
  await source.query(each(`insert into t%s values (3, 'x', 1)`))
  const last = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(last.stdout.split('\n').length - 1, TABLES, last.stderr)
  t.comment(`new definitions: ${Math.round(performance.now() - begun)} ms`)
})
