// Adds up what run-tap.mjs counted: node scripts/test-totals.mjs FILE SUITE... -- [FAILED COMMAND]...
// Every named suite must have run; every failed command counts as a failure unless its suite counted one already.
import { readFileSync } from 'node:fs'

const [file = '', ...rest] = process.argv.slice(2)
const split = rest.indexOf('--')
const suites = split < 0 ? rest : rest.slice(0, split)
const broken = split < 0 ? [] : rest.slice(split + 1)

const counts = readFileSync(file, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line))

let passed = 0
let failed = 0
for (const count of counts) {
  passed += count.passed
  failed += count.failed
  console.log(`${count.suite}: ${count.passed} passed, ${count.failed} failed`)
}
for (const suite of suites) {
  const ran = counts.some((count) => count.suite === suite && count.passed + count.failed > 0)
  if (ran) continue
  console.log(`${suite}: did not run`)
  failed += 1
}
for (const command of broken) console.log(`failed: ${command}`)
if (broken.length > 0 && failed === 0) failed = broken.length
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 && passed > 0 ? 0 : 1)
