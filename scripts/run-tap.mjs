// Runs tap on files and counts what really ran: node scripts/run-tap.mjs SUITE [--tap-option ...] FILE...
// Fails when nothing ran, even where tap is content. With TIDEMARK_TEST_TOTALS=FILE the counts are added to that file
// as one JSON line, so that .ci/run can add up every suite.
import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

// More files than cores: part of a file's time is waiting for processes that it started.
const JOBS = 3

const root = fileURLToPath(new URL('..', import.meta.url))
const [suite = '', ...args] = process.argv.slice(2)
if (suite === '' || args.every((arg) => arg.startsWith('-'))) {
  console.error('Usage: node scripts/run-tap.mjs SUITE [--tap-option ...] FILE...')
  process.exit(2)
}

process.exitCode = await run()

async function run() {
  const tap = spawn(
    process.execPath,
    [`${root}node_modules/tap/dist/esm/run.mjs`, '--reporter=tap', `--jobs=${JOBS}`, ...args],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  // A signal is tap's to handle: its children get it too, and what they counted is still reported.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => tap.kill(signal))
  const counts = { passed: 0, failed: 0, empty: [] }
  const ended = new Promise((resolve, reject) => {
    tap.once('error', reject)
    tap.once('close', (code) => resolve(code ?? 1))
  })
  await read(tap.stdout, counts)
  const status = await ended
  // A run that tap calls failed has a failure, whatever was counted.
  if (status !== 0 && counts.failed === 0) counts.failed = 1
  for (const file of counts.empty) console.log(`${suite}: ${file} ran no test`)
  counts.failed += counts.empty.length
  if (counts.passed + counts.failed === 0) {
    console.log(`${suite}: no test ran`)
    counts.failed = 1
  }
  const { passed, failed } = counts
  const { TIDEMARK_TEST_TOTALS } = process.env
  if (TIDEMARK_TEST_TOTALS) appendFileSync(TIDEMARK_TEST_TOTALS, `${JSON.stringify({ suite, passed, failed })}\n`)
  console.log(`${suite}, Node ${process.versions.node}: ${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

// Shows one line a file, every failure with its details, and comments; takes tap's own totals from its last lines.
// Todo and skipped tests count as neither.
async function read(stream, counts) {
  let failing = false
  for await (const line of createInterface({ input: stream })) {
    const totals = /^# \{ (.*) \}$/.exec(line)?.[1]
    if (totals !== undefined) {
      counts.passed = numberOf(totals, 'pass')
      counts.failed = numberOf(totals, 'fail')
    }
    const empty = /^ok \d+ - (\S+).* # SKIP no tests found/.exec(line)?.[1]
    if (empty) counts.empty.push(empty)
    const result = /^\s*(not )?ok\b/.exec(line)
    if (result) failing = result[1] !== undefined && !/# TODO/.test(line)
    else if (/^\s*# Subtest/.test(line)) failing = false
    if (failing || /^(ok|Bail out)/.test(line) || /^\s*# (?!Subtest|time|\{|No coverage)/.test(line)) console.log(line)
  }
}

function numberOf(totals, name) {
  return Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
}
