/** `--report` against what can be seen from outside: the bytes on stdout, the bytes that a folder's manifest commits. */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import t from 'tap'
import { committedRows } from '../support/committed-files.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, TIDEMARK_MAIN, writePipeline } from '../support/process.js'

interface ReportFile {
  readonly outcome: string
  readonly tables: Readonly<Record<string, { rows: number; events: number; bytes: number }>>
}

const SINKS = { stdout: { type: 'stdout' }, file: { type: 'file', path: '{{DIR}}/out' } } as const

for (const kind of ['stdout', 'file'] as const) {
  t.test(`${kind}: rows, and bytes as they were encoded`, async (t) => {
    const source = await createDatabase(t)
    await source.query(
      `create table a (id int primary key, v text); insert into a select g, repeat('é', g) from generate_series(1, 40) g;
       create table b (id int primary key); insert into b values (1), (2)`,
    )
    const pipeline = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.*' },
      sink: SINKS[kind],
      pipeline: { name: source.name },
    })
    const { code, stdout, stderr } = await runTidemark(t, [
      'sync',
      pipeline.file,
      '--once',
      '--report',
      pipeline.path('report.json'),
    ])
    t.equal(code, 0, stderr)
    const { outcome, tables } = JSON.parse(readFileSync(pipeline.path('report.json'), 'utf8')) as ReportFile
    t.equal(outcome, 'done')
    t.match(tables, { 'public.a': { rows: 40, events: 0 }, 'public.b': { rows: 2, events: 0 } })
    const lines = kind === 'stdout' ? stdout : committedRows(pipeline.path('out'))
    t.equal(tables['public.a']!.bytes + tables['public.b']!.bytes, Buffer.byteLength(lines))
    if (kind === 'file') await runTidemark(t, ['drop', pipeline.file, '--yes'])
  })
}

t.test('a full disk behind stdout is an error with a code and a report', async (t) => {
  const source = await createDatabase(t)
  await source.query('create table a (id int primary key); insert into a values (1)')
  const pipeline = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.*' },
    sink: SINKS.stdout,
    pipeline: { name: source.name },
  })
  const full = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(full))
  const report = pipeline.path('report.json')
  const args = [TIDEMARK_MAIN, 'sync', pipeline.file, '--once', '--report', report]
  const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' })
  t.equal(status, 1, stderr)
  t.match(stderr, /error sink\.stdout_failed: standard output takes no more \(ENOSPC\)\n/)
  t.match(JSON.parse(readFileSync(report, 'utf8')), { outcome: 'failed', error: { code: 'sink.stdout_failed' } })
})
