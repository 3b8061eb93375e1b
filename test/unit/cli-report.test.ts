/** `--report`, signals and streams of the command line when things go wrong around a run. */
import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { processIo } from '../../cli/io.js'
import { BUILT_IN } from '../../config/registry.js'
import type { PipelineOptions, PipelineResult } from '../../core/pipeline.js'
import { type CliOptions, runCli, startCli } from '../support/cli.js'
import { fakeConnectors } from '../support/fake-connectors.js'
import { until } from '../support/until.js'

const FILE = 'source: {type: postgres, url: "postgres://h/d", tables: public.*}\nsink: {type: file, path: out}\n'
const DONE: PipelineResult = {
  outcome: 'done',
  position: '0/1',
  checkpoints: 1,
  restarts: 0,
  tables: [],
  snapshotAlreadyComplete: false,
}

/** Options with a pipeline that counts its runs. */
function options(t: Test, text = FILE): CliOptions & { runs: number } {
  const made = { ...fakeConnectors(), cwd: t.testdir({ 'p.yaml': text }), runs: 0 }
  const run = async () => {
    made.runs++
    return DONE
  }
  return Object.assign(made, { run })
}

const read = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>

t.test('a report that cannot be written is said before the run', async (t) => {
  const given = options(t)
  mkdirSync(join(given.cwd, 'folder'))
  symlinkSync('nowhere', join(given.cwd, 'dangling'))
  // Stands for devices too: a test that could replace one of the machine's own would, once the check is broken.
  t.equal(spawnSync('mkfifo', [join(given.cwd, 'pipe')]).status, 0)
  const cases: [string, RegExp][] = [
    ['', /is no path/],
    ['folder', /is a folder/],
    ['no/such/r.json', /cannot be written \(ENOENT\)/],
    ['p.yaml/r.json', /cannot be written \(ENOTDIR\)/],
    ['dangling', /is a link to nothing/],
    ['pipe', /is not a regular file/],
    ['p.yaml', /is the pipeline file/],
  ]
  for (const [path, why] of cases) {
    const got = await runCli(['sync', 'p.yaml', '--report', path], given)
    t.match(got, { code: 2, err: /^error cli\.report: the file of --report, / }, path)
    t.match(got.err, why, path)
  }
  t.equal(given.runs, 0)
  t.ok(lstatSync(join(given.cwd, 'pipe')).isFIFO())
  t.same(readdirSync(given.cwd).sort(), ['dangling', 'folder', 'p.yaml', 'pipe'], 'nothing half-written stays')
})

t.test('a link to a file stays, and the file gets the report', async (t) => {
  const given = options(t)
  mkdirSync(join(given.cwd, 'kept'))
  symlinkSync('kept/r.json', join(given.cwd, 'r.json'))
  t.equal((await runCli(['sync', 'p.yaml', '--report', 'kept/r.json'], given)).code, 0)
  t.equal((await runCli(['sync', 'p.yaml', '--report', 'r.json'], given)).code, 0)
  t.ok(lstatSync(join(given.cwd, 'r.json')).isSymbolicLink())
  t.match(read(join(given.cwd, 'kept/r.json')), { outcome: 'done' })
})

t.test('a report that fails at the end fails the command, not the message about it', async (t) => {
  const given = options(t)
  const path = join(given.cwd, 'r.json')
  const run = async () => {
    mkdirSync(path)
    return DONE
  }
  const got = await runCli(['sync', 'p.yaml', '--report', 'r.json'], { ...given, run })
  t.match(got, { code: 1, err: /error cli\.report: .* is a folder/ })
  t.match(got.err, 'done at position 0/1')
  t.same(readdirSync(given.cwd).sort(), ['p.yaml', 'r.json'])
})

t.test('a refused file has a report too, under the name that is known', async (t) => {
  const names: [string, string][] = [
    [`${FILE}pipeline: {name: shop, colour: red}\n`, 'shop'],
    [`${FILE}pipeline: {name: "#", colour: red}\n`, 'p'],
    ['source: [\n', 'p'],
  ]
  for (const [text, pipeline] of names) {
    const given = options(t, text)
    t.equal((await runCli(['sync', 'p.yaml', '--report', 'r.json'], given)).code, 2)
    t.match(read(join(given.cwd, 'r.json')), { pipeline, outcome: 'failed', error: { code: 'config.invalid' } })
  }
  const given = options(t)
  t.equal((await runCli(['sync', 'none.yaml', '--report', 'r.json'], given)).code, 2)
  t.match(read(join(given.cwd, 'r.json')), { pipeline: 'none', error: { code: 'config.unreadable' } })
})

t.test('a closed terminal stops at a checkpoint, with a report', async (t) => {
  const given = options(t)
  let started = false
  const run = async ({ signal }: PipelineOptions): Promise<PipelineResult> => {
    started = true
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    return { ...DONE, outcome: 'stopped' }
  }
  const session = startCli(['sync', 'p.yaml', '--report', 'r.json'], { ...given, run })
  await until(() => started)
  session.signal('SIGHUP')
  t.equal((await session.done).code, 129)
  t.match(read(join(given.cwd, 'r.json')), { outcome: 'stopped' })
  const seen: string[] = []
  const before = process.listenerCount('SIGHUP')
  const off = processIo().onSignal((name) => seen.push(name))
  process.emit('SIGHUP', 'SIGHUP')
  off()
  t.same(seen, ['SIGHUP'])
  t.equal(process.listenerCount('SIGHUP'), before)
})

t.test('stdout that takes no more is an error with a code', async (t) => {
  const full = Object.assign(new Error('write ENOSPC'), { code: 'ENOSPC' })
  for (const command of [['check', 'p.yaml'], ['schema']]) {
    const got = await runCli(command, { ...options(t), stdoutError: full })
    t.match(got, { code: 1, err: /^error sink\.stdout_failed: standard output takes no more \(ENOSPC\)\n {2}fix: / })
  }
  const closed = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
  t.match(await runCli(['check', 'p.yaml'], { ...options(t), stdoutError: closed }), { code: 0, err: '' })
})

t.test('leaving at a question is no failure of the program', async (t) => {
  for (const key of ['^C', '^D']) {
    const given = options(t)
    const dropped = await runCli(['drop', 'p.yaml'], { ...given, answers: [key], terminal: true })
    t.match(dropped, { code: 130, err: /\nleft at the question; nothing was changed\n$/ }, key)
    t.notMatch(dropped.err, 'error')
    const made = await runCli(['init', '--file', 'new.yaml'], { ...given, answers: ['', key], terminal: true })
    t.match(made, { code: 130, err: /\nleft at the question; nothing was changed\n$/ }, key)
    t.notOk(existsSync(join(given.cwd, 'new.yaml')))
  }
})

t.test('names that equal a password stay readable, and none can drive the terminal', async (t) => {
  const fakes = fakeConnectors()
  fakes.sourceFindings = [
    { level: 'info', subject: 'public.orders', message: 'orders \u001b[2Jhere', fix: 'DROP TABLE orders;' },
  ]
  const ranges = [{ hi: null, state: 'waiting' }]
  fakes.checkpoint = JSON.stringify({
    ...{ version: 1, pipeline: 'p', connector: 'postgres', phase: 'running', source: { timeline: 'orders' } },
    ...{
      position: '0/AB',
      ordinal: '1',
      cuts: [],
      tables: { 'public.orders': { key: ['id'], started: true, ranges } },
    },
  })
  const cwd = t.testdir({ 'p.yaml': FILE.replace('//h/d', '//u:orders@h/d') })
  const status = await runCli(['status', 'p.yaml'], { ...fakes, cwd })
  t.match(status.out, 'public.orders  waiting')
  t.match(status.out, 'info  public.orders  *** \\u001b[2Jhere\n    fix: DROP TABLE orders;')
  const json = await runCli(['status', 'p.yaml', '-o', 'json'], { ...fakes, cwd })
  t.match(JSON.parse(json.out), {
    checkpoint: { tables: [{ id: 'public.orders' }] },
    source: [{ message: /^\*\*\* / }],
  })
  const check = await runCli(['check', 'p.yaml', '-o', 'json'], { ...fakes, cwd })
  t.match(JSON.parse(check.out), { source: [{ subject: 'public.orders', message: /^\*\*\* / }] })
})

t.test('init writes nothing that sync would refuse', async (t) => {
  const cwd = t.testdir()
  const init = (...flags: string[]) =>
    runCli(['init', '--file', 'new.yaml', ...flags], { registry: BUILT_IN, cwd, env: {} })
  const cases: [string[], RegExp][] = [
    [['--source-url', 'mysql://x'], /source\.url: the url has the scheme mysql/],
    [['--source-url', 'postgres://h/d', '--tables', 'orders'], /table pattern "orders" has one part/],
    [['--source-url', 'postgres://h/a\nb'], /holds a line break/],
    [['--source-url', 'postgres://h/d', '--sink', 'stdout', '--sink-path', 'x'], /--sink-path is for the sink file/],
  ]
  for (const [flags, why] of cases) t.match(await init(...flags), { code: 2, err: why }, flags.join(' '))
  t.notOk(existsSync(join(cwd, 'new.yaml')))
  t.equal((await init('--source-url', 'postgres://me:p%40@h/d', '--tables', 'a.b')).code, 0)
  t.notMatch((await runCli(['sync', '--help'], { registry: BUILT_IN, cwd })).out, '[]')
})
