import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { secondsLeft } from '../../cli/progress.js'
import { loadPipeline } from '../../config/pipeline-file.js'
import { TidemarkError } from '../../core/errors.js'
import { tableId } from '../../core/model.js'
import type { PipelineOptions, PipelineResult, Progress, TableProgress } from '../../core/pipeline.js'
import { runCli, startCli } from '../support/cli.js'
import { fakeConnectors } from '../support/fake-connectors.js'
import { schemaOf } from '../support/postgres-sink.js'
import { until } from '../support/until.js'

const FILE = `source:
  type: postgres
  url: postgres://me:topsecret@h/d
  tables: public.*
sink: {type: file, path: out}
`
const STDOUT = FILE.replace('{type: file, path: out}', '{type: stdout}')

function orders(more: Partial<TableProgress> = {}): TableProgress {
  const table = tableId('public', 'orders')
  const counts = { rows: 1234, events: 5, bytes: 9999, chunksDone: 2, chunksTotal: 4, rowsEstimated: 2468 }
  return { table, state: 'snapshot', ...counts, ...more }
}

function progress(more: Partial<Progress> = {}): Progress {
  return { phase: 'snapshot', tables: [orders()], lagMs: null, position: '0/1', checkpoints: 3, restarts: 0, ...more }
}

function result(more: Partial<PipelineResult> = {}): PipelineResult {
  const tables = [orders({ state: 'streaming' })]
  return {
    outcome: 'done',
    position: '0/2A',
    checkpoints: 7,
    restarts: 0,
    tables,
    snapshotAlreadyComplete: false,
    ...more,
  }
}

/** Runs until the signal says stop. */
async function untilStopped({ signal, onProgress }: PipelineOptions): Promise<PipelineResult> {
  onProgress?.(progress())
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  return result({ outcome: 'stopped' })
}

const folder = (t: Test, text = FILE) => t.testdir({ 'p.yaml': text })

t.test('help and usage', async (t) => {
  const options = { ...fakeConnectors(), cwd: t.testdir() }
  const help = await runCli(['--help'], options)
  t.equal(help.code, 0)
  t.equal(help.err, '')
  for (const command of ['sync', 'check', 'init', 'status', 'schema', 'drop', 'demo']) {
    t.match(help.out, new RegExp(`^  ${command}\\b`, 'm'))
    const own = await runCli([command, '--help'], options)
    t.equal(own.code, 0, command)
    t.match(own.out, new RegExp(`Examples?:\\n  tidemark ${command}`), `${command} has an example`)
  }
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  t.same(await runCli(['--version'], options), { code: 0, out: `${version}\n`, err: '', exits: [] })
  for (const argv of [
    ['snyc'],
    ['sync'],
    ['sync', 'p.yaml', '--onec'],
    ['sync', 'a', 'b'],
    ['sync', 'a', '--set', 'x'],
    ['sync', 'a', '--log-format', 'xml'],
  ]) {
    const wrong = await runCli(argv, options)
    t.equal(wrong.code, 2, argv.join(' '))
    t.match(wrong.err, /^error cli\.usage: .+\n(.*\n)* {2}fix: /)
    t.equal(wrong.out, '', 'stdout is data only')
  }
  const both = await runCli(['sync', 'p.yaml', '--once', '--until-caught-up'], options)
  t.equal(both.code, 2)
  t.match((await runCli(['sync', 'p.yaml', '--onec'], options)).err, '--once')
  t.equal((await runCli([], options)).code, 2)
})

t.test('a wrong file exits 2 and shows no secret', async (t) => {
  const cwd = folder(t, `${FILE}pipeline: {paralelism: \${N}}\n`)
  const options = { ...fakeConnectors(), cwd }
  const got = await runCli(
    ['sync', 'p.yaml', '--set', 'source.url=postgres://me:topsecret@h/d', '--set', 'source.x=1'],
    options,
  )
  t.equal(got.code, 2)
  t.match(got.err, /^error config\.invalid: p\.yaml has \d mistakes?\n {2}p\.yaml:6:/)
  t.notMatch(got.err, 'topsecret')
  t.equal((await runCli(['check', 'nope.yaml'], options)).code, 2)
})

t.test('sync runs the pipeline with the options of file and flags', async (t) => {
  const seen: PipelineOptions[] = []
  const run = async (options: PipelineOptions) => {
    seen.push(options)
    options.note?.('connected with topsecret')
    options.onProgress?.(progress())
    options.onProgress?.(progress({ phase: 'streaming', tables: [orders({ state: 'streaming' })], lagMs: 12 }))
    return result()
  }
  const cwd = folder(t, `${STDOUT}pipeline: {name: shop, checkpoint.interval: 2s, parallelism: 3, state: s.json}\n`)
  const options = { ...fakeConnectors(), cwd, run }
  const got = await runCli(
    ['sync', 'p.yaml', '--once', '--report', 'r.json', '--set', 'source.scan.startup.mode=snapshot'],
    options,
  )
  t.equal(got.code, 0)
  t.equal(got.out, '')
  t.match(seen[0], { name: 'shop', mode: 'snapshot', until: 'once', readers: 3, checkpointIntervalMs: 2000 })
  t.ok(seen[0]?.state)
  t.match(got.err, 'connected with ***\n')
  t.match(got.err, 'snapshot, 0 of 1 tables complete, 3 checkpoints\n')
  t.match(got.err, '  public.orders  2/4 chunks  1,234 rows  0 rows/s\n')
  t.match(got.err, 'streaming, 0 events/s, lag 12 ms, 3 checkpoints, position 0/1\n')
  t.match(
    got.err,
    /done: the sink equals the source at position 0\/2A: 1,234 rows, 5 events, 7 checkpoints in [\d.]+ s\n/,
  )
  const report = JSON.parse(readFileSync(join(cwd, 'r.json'), 'utf8')) as Record<string, number>
  t.match(report, {
    version: 1,
    pipeline: 'shop',
    outcome: 'done',
    checkpoints: 7,
    position: '0/2A',
    tables: { 'public.orders': { rows: 1234, events: 5, bytes: 9999 } },
  })
  t.notOk('error' in report)
  t.ok(report.seconds! >= 0 && report.cpuSeconds! > 0 && report.peakRssBytes! > 1_000_000)
  t.same(readdirSync(cwd).sort(), ['p.yaml', 'r.json'], 'nothing half-written stays')
  t.equal((await runCli(['sync', 'p.yaml', '--until-caught-up'], options)).code, 0)
  t.equal((await runCli(['sync', 'p.yaml'], options)).code, 0)
  t.same(
    seen.map((o) => o.until),
    ['once', 'caught-up', 'forever'],
  )
})

t.test('--once with nothing left to read says so', async (t) => {
  const options = { ...fakeConnectors(), cwd: folder(t), run: async () => result({ snapshotAlreadyComplete: true }) }
  const got = await runCli(['sync', 'p.yaml', '--once'], options)
  t.equal(got.code, 0)
  t.match(
    got.err,
    'the snapshot was already complete at position 0/2A: nothing to do. Changes since then come with --until',
  )
})

t.test('the end of a run names what the source holds, when a permanent slot exists', async (t) => {
  const fakes = fakeConnectors()
  fakes.sourceFindings = [{ level: 'info', subject: 'slot tidemark_p', message: 'holds 12 MiB of WAL' }]
  const run = async () => result()
  const kept = await runCli(['sync', 'p.yaml'], { ...fakes, cwd: folder(t), run })
  t.match(kept.err, 'info  slot tidemark_p  holds 12 MiB of WAL\nto remove it: tidemark drop p.yaml\n')
  const temporary = await runCli(['sync', 'p.yaml'], { ...fakes, cwd: folder(t, STDOUT), run })
  t.notMatch(temporary.err, 'tidemark drop')
  const failing = async () => Promise.reject(new TidemarkError('core.identity_changed', { message: 'm' }))
  const failed = await runCli(['sync', 'p.yaml'], { ...fakes, cwd: folder(t), run: failing })
  t.match(failed.err, 'to remove it: tidemark drop p.yaml\n', 'also when it fails')
  fakes.sourceFindings = [{ level: 'ok', subject: 'slot', message: 'tidemark_p does not exist yet' }]
  const early = await runCli(['sync', 'p.yaml'], { ...fakes, cwd: folder(t), run: failing })
  t.notMatch(early.err, 'tidemark drop', 'nothing to remove before there is a slot')
})

t.test('errors have code, place, fix; the stack only on request', async (t) => {
  const error = new TidemarkError('core.identity_changed', {
    message: 'another server, password topsecret',
    fix: 'Run: tidemark drop p.yaml',
    at: 'source.url',
    cause: new Error('inner topsecret'),
  })
  const cwd = folder(t, STDOUT)
  const options = { ...fakeConnectors(), cwd, run: () => Promise.reject(error) }
  const got = await runCli(['sync', 'p.yaml', '--report', 'r.json'], options)
  t.equal(got.code, 3)
  t.equal(
    got.err,
    'error core.identity_changed: another server, password ***\n  at: p.yaml:3:8 source.url\n  fix: Run: tidemark drop p.yaml\n',
  )
  t.match(JSON.parse(readFileSync(join(cwd, 'r.json'), 'utf8')), {
    outcome: 'failed',
    error: { code: 'core.identity_changed', message: 'another server, password ***', fix: 'Run: tidemark drop p.yaml' },
    position: null,
    tables: {},
  })
  const debug = await runCli(['sync', 'p.yaml'], { ...options, env: { TIDEMARK_DEBUG: '1' } })
  t.match(debug.err, /cli\.test\.ts/)
  t.match(debug.err, 'caused by: Error: inner ***')
  t.notMatch(debug.err, 'topsecret')
  const odd = await runCli(['sync', 'p.yaml'], {
    ...options,
    run: () => Promise.reject(new TypeError('x is not a function')),
  })
  t.equal(odd.code, 1)
  t.match(odd.err, 'error core.bug: x is not a function\n')
})

t.test('the first signal stops at a checkpoint, with the signal in the exit code', async (t) => {
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const cwd = folder(t, STDOUT)
    const session = startCli(['sync', 'p.yaml', '--report', 'r.json'], { ...fakeConnectors(), cwd, run: untilStopped })
    await until(() => session.err().includes('snapshot'))
    session.signal(name)
    const got = await session.done
    t.equal(got.code, code)
    t.same(got.exits, [])
    t.match(got.err, 'stopping at a checkpoint; once more to leave at once\n')
    t.match(got.err, /stopped at a checkpoint at position 0\/2A/)
    t.match(JSON.parse(readFileSync(join(cwd, 'r.json'), 'utf8')), { outcome: 'stopped', checkpoints: 7 })
  }
})

t.test('the second signal leaves at once, with a report', async (t) => {
  const cwd = folder(t, STDOUT)
  let finish = () => {}
  const run = async ({ onProgress }: PipelineOptions) => {
    onProgress?.(progress())
    await new Promise<void>((resolve) => {
      finish = resolve
    })
    return result()
  }
  const session = startCli(['sync', 'p.yaml', '--report', 'r.json'], { ...fakeConnectors(), cwd, run })
  await until(() => session.err().includes('snapshot'))
  session.signal('SIGTERM')
  t.notOk(existsSync(join(cwd, 'r.json')))
  session.signal('SIGINT')
  t.match(JSON.parse(readFileSync(join(cwd, 'r.json'), 'utf8')), {
    outcome: 'failed',
    error: { code: 'cli.left_at_once' },
    checkpoints: 3,
    tables: { 'public.orders': { rows: 1234 } },
  })
  finish()
  t.same((await session.done).exits, [130])
})

t.test('a closed stdout ends the run cleanly', async (t) => {
  const options = { ...fakeConnectors(), cwd: folder(t, STDOUT) }
  const session = startCli(['sync', 'p.yaml'], { ...options, run: untilStopped })
  await until(() => session.err().includes('snapshot'))
  session.closeStdout()
  t.match(await session.done, { code: 0 })
  const broken = async ({ signal }: PipelineOptions) => {
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    throw new Error('write EPIPE')
  }
  const second = startCli(['sync', 'p.yaml'], { ...options, run: broken })
  await new Promise(setImmediate)
  second.closeStdout()
  const got = await second.done
  t.equal(got.code, 0)
  t.notMatch(got.err, 'EPIPE')
})

t.test('JSON logs', async (t) => {
  const run = async ({ note, onProgress }: PipelineOptions) => {
    note?.('hello topsecret')
    onProgress?.(progress())
    throw new TidemarkError('core.identity_changed', { message: 'no topsecret', fix: 'f' })
  }
  const options = { ...fakeConnectors(), cwd: folder(t, `${STDOUT}pipeline: {local-time-zone: UTC}\n`), run }
  const got = await runCli(['sync', 'p.yaml', '--log-format', 'json'], options)
  t.equal(got.code, 3)
  const lines = got.err
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.match(lines, [
    { level: 'warn', msg: /local-time-zone has no effect/ },
    { level: 'info', msg: 'hello ***' },
    { level: 'info', progress: { phase: 'snapshot', checkpoints: 3 } },
    { level: 'error', msg: 'no ***', err: { code: 'core.identity_changed', fix: 'f' } },
  ])
  for (const line of lines) t.match(line.time, /^\d{4}-\d\d-\d\dT/)
})

t.test('a live view on a terminal, colours only where wanted', async (t) => {
  const run = async ({ note, onProgress }: PipelineOptions) => {
    onProgress?.(progress())
    note?.('a note')
    onProgress?.(progress({ phase: 'streaming' }))
    throw new TidemarkError('core.identity_changed', { message: 'm' })
  }
  const options = { ...fakeConnectors(), cwd: folder(t), run, terminal: true }
  const live = await runCli(['sync', 'p.yaml'], options)
  t.match(live.err, '\u001b[2A\r\u001b[0Ja note\n', 'a note is not overwritten')
  t.match(live.err, '\u001b[31merror\u001b[0m core.identity_changed')
  const plain = await runCli(['sync', 'p.yaml'], { ...options, env: { NO_COLOR: '1' } })
  t.notMatch(plain.err, '\u001b[31m')
  const dumb = await runCli(['sync', 'p.yaml'], { ...options, env: { TERM: 'dumb' } })
  t.notMatch(dumb.err, '\u001b')
})

t.test('time left', async (t) => {
  t.equal(secondsLeft(orders(), 617), 2)
  t.equal(secondsLeft(orders({ chunksTotal: null }), 617), 2)
  t.equal(secondsLeft(orders({ chunksTotal: null, rowsEstimated: null }), 617), null)
  t.equal(secondsLeft(orders(), 0), null)
})

t.test('check', async (t) => {
  const fakes = fakeConnectors()
  fakes.sourceFindings = [
    { level: 'ok', subject: 'wal_level', message: 'logical' },
    { level: 'problem', subject: 'public.orders', message: 'no key', fix: 'ALTER TABLE a;\nALTER TABLE b;' },
  ]
  const options = { ...fakes, cwd: folder(t) }
  const bad = await runCli(['check', 'p.yaml'], options)
  t.equal(bad.code, 3)
  t.match(bad.out, '  ok       wal_level      logical\n')
  t.match(bad.out, '  problem  public.orders  no key\n    fix: ALTER TABLE a;\n         ALTER TABLE b;\n')
  t.match(bad.out, 'guarantee: exactly-once: ')
  t.match(bad.out, 'not ready: 1 problem\n')
  const json = JSON.parse((await runCli(['check', 'p.yaml', '--output', 'json'], options)).out) as unknown
  t.match(json, {
    pipeline: 'p',
    guarantee: 'exactly-once',
    problems: 1,
    source: [{ subject: 'wal_level' }, {}],
    sink: [],
  })
  const good = fakeConnectors()
  t.match(await runCli(['check', 'p.yaml'], { ...good, cwd: folder(t) }), { code: 0, out: /\nready\n$/ })
  const state = `${STDOUT}pipeline: {state: s}\n`
  t.match((await runCli(['check', 'p.yaml'], { ...good, cwd: folder(t, state) })).out, 'guarantee: at-least-once: ')
  t.match((await runCli(['check', 'p.yaml'], { ...good, cwd: folder(t, STDOUT) })).out, 'guarantee: none: ')
})

t.test('check finds rules that apply to nothing, and tells the sink where rows come from', async (t) => {
  const fakes = fakeConnectors()
  fakes.tables = [schemaOf('users', { id: 'integer', email: 'text' }, ['id'])]
  const rules = `${FILE}transform:\n  - {source-table: public.usres, mask: {email: redact}}\n`
  const got = await runCli(['check', 'p.yaml'], { ...fakes, cwd: folder(t, rules) })
  t.equal(got.code, 3)
  t.match(got.out, /problem {2}p\.yaml:7:20 transform\[0\]\.source-table {2}.*"public\.usres", which no captured table/)
  t.match(got.out, 'Did you mean "public.users"?')
  t.match(fakes.checked, { source: { identity: { database: 'd' }, tables: ['public.users'] } })
})

t.test('options of the sink that do not fit the tables end check and sync before anything is made', async (t) => {
  const fakes = fakeConnectors()
  fakes.tables = [schemaOf('users', { id: 'integer' }, ['id'])]
  const mistake = (name: string) =>
    new TidemarkError('config.invalid', { message: `no column ${name}`, fix: 'Correct it.', at: 'sink.path' })
  let names = ['a']
  fakes.mistakes = () => (tables, complete) => (tables.length === 1 && complete ? names.map(mistake) : [])
  let runs = 0
  const options = { ...fakes, cwd: folder(t), run: async () => result({ checkpoints: ++runs }) }
  const checked = await runCli(['check', 'p.yaml'], options)
  t.equal(checked.code, 3)
  t.match(checked.out, /problem {2}p\.yaml:5:26 sink\.path {2}no column a \(config\.invalid\)\n.*fix: Correct it\./)
  const one = await runCli(['sync', 'p.yaml'], options)
  t.equal(one.code, 2)
  t.equal(one.err, 'error config.invalid: no column a\n  at: p.yaml:5:26 sink.path\n  fix: Correct it.\n')
  names = ['a', 'b']
  const two = await runCli(['sync', 'p.yaml', '--log-format', 'json'], options)
  t.match(two.err, /2 mistakes.*p\.yaml:5:26 sink\.path {2}no column a.*no column b/)
  t.equal(runs, 0, 'no run began')
  names = []
  t.equal((await runCli(['sync', 'p.yaml'], options)).code, 0)
  t.equal(runs, 1)
})

t.test('names with control characters stay on their line', async (t) => {
  const fakes = fakeConnectors()
  fakes.sourceFindings = [{ level: 'ok', subject: 'public."a\nb"', message: 'table public."a\nb\tc\u001b[2J"' }]
  const got = await runCli(['check', 'p.yaml'], { ...fakes, cwd: folder(t) })
  t.match(got.out, '  ok  public."a\\nb"  table public."a\\nb\\tc\\u001b[2J"\n')
})

t.test('status', async (t) => {
  const fakes = fakeConnectors()
  fakes.sourceFindings = [{ level: 'info', subject: 'slot', message: 'holds 1 MiB' }]
  const none = await runCli(['status', 'p.yaml'], { ...fakes, cwd: folder(t) })
  t.match(none, { code: 0, out: /checkpoint: none/ })
  const ranges = [
    { hi: ['before', 5], state: 'finished' },
    { hi: null, state: 'waiting' },
  ]
  fakes.checkpoint = JSON.stringify({
    ...{ version: 1, pipeline: 'p', connector: 'postgres', phase: 'running', source: {}, position: '0/AB' },
    ...{ ordinal: '1', cuts: [], tables: { 'public.orders': { key: ['id'], started: true, ranges } } },
  })
  const some = await runCli(['status', 'p.yaml'], { ...fakes, cwd: folder(t) })
  t.match(some.out, 'checkpoint: position 0/AB\n  public.orders  being read  1 range left\n')
  t.match(some.out, 'info  slot  holds 1 MiB')
  const json = JSON.parse(
    (await runCli(['status', 'p.yaml', '-o', 'json'], { ...fakes, cwd: folder(t) })).out,
  ) as unknown
  t.match(json, { pipeline: 'p', checkpoint: { position: '0/AB' }, source: [{ subject: 'slot' }] })
  const cwd = folder(t, `${STDOUT}pipeline: {state: s.json}\n`)
  writeFileSync(join(cwd, 's.json'), fakes.checkpoint)
  t.match((await runCli(['status', 'p.yaml'], { ...fakes, cwd })).out, 'position 0/AB', 'from the state file')
  writeFileSync(join(cwd, 's.json'), '{')
  t.match(await runCli(['status', 'p.yaml'], { ...fakes, cwd }), { code: 3, err: /^error core\.checkpoint_unreadable/ })
})

t.test('drop', async (t) => {
  const fakes = fakeConnectors()
  const cwd = folder(t, `${STDOUT}pipeline: {state: s.json}\n`)
  writeFileSync(join(cwd, 's.json'), '{}')
  t.match(await runCli(['drop', 'p.yaml'], { ...fakes, cwd }), {
    code: 2,
    err: /no terminal to ask on\n {2}fix: Add --yes/,
  })
  t.match(await runCli(['drop', 'p.yaml'], { ...fakes, cwd, answers: ['n'] }), { code: 1, err: /nothing was removed/ })
  t.same(fakes.calls, [])
  const yes = await runCli(['drop', 'p.yaml', '--yes'], { ...fakes, cwd })
  t.equal(yes.code, 0)
  t.match(yes.out, /^dropped slot tidemark_x\nremoved the state file .*s\.json\n$/)
  t.same(fakes.calls, ['source.drop', 'stdout.drop'])
  t.notOk(existsSync(join(cwd, 's.json')))
  t.match(await runCli(['drop', 'p.yaml'], { ...fakes, cwd, answers: ['y'] }), { code: 0 })
})

t.test('init', async (t) => {
  const fakes = fakeConnectors()
  const cwd = t.testdir()
  t.match(await runCli(['init'], { ...fakes, cwd }), { code: 2, err: /no terminal to ask on/ })
  const flags = [
    '--source-url',
    'postgres://me:hunter2@h:5433/shop',
    '--tables',
    'public.a,public.b',
    '--sink',
    'postgres',
  ]
  t.match(await runCli(['init', ...flags], { ...fakes, cwd }), { code: 2, err: /the sink postgres needs --sink-url/ })
  t.match(await runCli(['init', '--tables', 'a.b'], { ...fakes, cwd }), { code: 2, err: /--source-url is missing/ })
  const made = await runCli(['init', ...flags, '--sink-url', 'postgres://h/copy'], { ...fakes, cwd })
  t.equal(made.code, 0)
  const text = readFileSync(join(cwd, 'pipeline.yaml'), 'utf8')
  t.match(text, /^#.*\n?# yaml-language-server: \$schema=\.\//m)
  t.notMatch(text, 'hunter2')
  t.notMatch(made.err, 'hunter2')
  t.match(made.err, 'set SOURCE_PASSWORD')
  const loaded = loadPipeline({ file: 'pipeline.yaml', registry: fakes.registry, env: { SOURCE_PASSWORD: 'x' }, cwd })
  t.match(loaded.source.options, { url: 'postgres://me:x@h:5433/shop', tables: 'public.a,public.b' })
  t.match(loaded.sink.options, { url: 'postgres://h/copy' })
  const again = await runCli(['init', ...flags, '--sink-url', 'postgres://h/copy'], { ...fakes, cwd })
  t.match(again, { code: 2, err: /^error cli\.exists: pipeline\.yaml exists already/ })
  t.equal(readFileSync(join(cwd, 'pipeline.yaml'), 'utf8'), text, 'never overwritten')
  const answers = ['', 'shop.*', 'files', 'file', './o']
  const asked = await runCli(['init', '--file', 'asked.yaml'], { ...fakes, cwd, answers })
  t.equal(asked.code, 0)
  t.match(asked.err, 'next: tidemark check asked.yaml')
  const second = loadPipeline({ file: 'asked.yaml', registry: fakes.registry, env: {}, cwd })
  t.match(second.source.options, { url: 'postgres://postgres@localhost:5432/postgres', tables: 'shop.*' })
  t.match(second.sink.options, { path: './o' })
})

t.test('schema', async (t) => {
  const got = await runCli(['schema'], { ...fakeConnectors(), cwd: t.testdir() })
  t.equal(got.code, 0)
  t.match(JSON.parse(got.out), {
    properties: {
      source: { oneOf: [{ properties: { type: { const: 'postgres' }, tables: {} } }] },
      pipeline: {},
      route: {},
    },
    additionalProperties: false,
  })
})
