import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface Done {
  readonly status: number | null
  readonly text: string
  readonly last: string | undefined
}

async function script(
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  root = ROOT,
): Promise<Done> {
  const clean = Object.entries(process.env).filter(
    ([key]) => !/^(TAP|_TAPJS_|NODE_OPTIONS$|TIDEMARK_TEST_TOTALS)/.test(key),
  )
  const child = spawn(process.execPath, [`scripts/${name}`, ...args], {
    cwd: root,
    env: { ...Object.fromEntries(clean), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    out += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, text, last: out.trimEnd().split('\n').at(-1) }
}

t.test('the last line adds up what every suite counted', async (t) => {
  const file = join(t.testdir(), 'totals')
  const totals = (lines: object[], args: string[]) => {
    writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    return script('test-totals.mjs', [file, ...args])
  }
  const unit = { suite: 'unit', passed: 7, failed: 0 }
  const servers = { suite: 'servers', passed: 5, failed: 0 }
  t.match(await totals([unit, servers], ['unit', 'servers', '--']), { status: 0, last: '12 passed, 0 failed' })
  t.match(await totals([unit, { ...servers, failed: 2 }], ['unit', 'servers', '--']), {
    status: 1,
    last: '12 passed, 2 failed',
  })
  t.match(await totals([unit], ['unit', 'servers', '--']), { status: 1, last: '7 passed, 1 failed' })
  t.match(await totals([unit, { ...servers, passed: 0 }], ['unit', 'servers', '--']), {
    status: 1,
    last: '7 passed, 1 failed',
  })
  t.match(await totals([unit, servers], ['unit', 'servers', '--', 'npm ci']), {
    status: 1,
    last: '12 passed, 1 failed',
  })
  t.match(await totals([], ['--']), { status: 1, last: '0 passed, 0 failed' })
})

t.test('a run counts what ran, and a file without a test is a failure', async (t) => {
  const tests: Record<string, string> = {
    good: `import t from 'tap'\nt.ok(1)\nt.test('x', async (t) => t.ok(1))\nt.skip('later')\n`,
    bad: `import t from 'tap'\nt.test('x', async (t) => t.ok(0, 'the reason'))\n`,
    empty: `import 'tap'\n`,
    broken: `throw new Error('at load')\n`,
  }
  const folder = t.testdir()
  const run = async (...names: string[]) => {
    // A root of its own: tap keeps files in .tap of the folder it runs in, which two runs at once would take from each other.
    const root = join(folder, names.join('-'))
    mkdirSync(join(root, 'scripts'), { recursive: true })
    copyFileSync(join(ROOT, 'scripts/run-tap.mjs'), join(root, 'scripts/run-tap.mjs'))
    copyFileSync(join(ROOT, 'package.json'), join(root, 'package.json'))
    symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'))
    const files = names.map((name) => `${name}.test.mjs`)
    for (const name of names) if (tests[name]) writeFileSync(join(root, `${name}.test.mjs`), tests[name])
    const totals = join(root, 'totals')
    const done = await script('run-tap.mjs', ['mine', ...files], { TIDEMARK_TEST_TOTALS: totals }, root)
    return { ...done, counts: JSON.parse(readFileSync(totals, 'utf8')) }
  }
  const [good, bad, broken, absent] = await Promise.all([
    run('good', 'empty'),
    run('good', 'bad'),
    run('broken'),
    run('absent'),
  ])
  t.match(good, { status: 1, counts: { suite: 'mine', passed: 2, failed: 1 }, text: /empty\S* ran no test/ })
  t.match(bad, { status: 1, counts: { passed: 2, failed: 1 }, text: /the reason/ })
  t.match(broken, { status: 1, counts: { passed: 0, failed: 1 } })
  t.match(absent, { status: 1, counts: { passed: 0, failed: 1 } })
  t.match(await run('good'), { status: 0, counts: { passed: 2, failed: 0 }, last: /: 2 passed, 0 failed$/ })
})

t.test('another Node release is asked for by name', async (t) => {
  t.match(await script('run-unit-on-node.mjs', ['19']), { status: 2, text: /Usage: .*22\|24/ })
})
