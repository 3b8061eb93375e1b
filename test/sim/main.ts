/** main.js FROM COUNT [PROFILE [ENOUGH]]: runs seeds and prints one JSON line: how many failed, and the first failures. */
import { PROFILES } from './profiles.js'
import { run } from './run.js'

const FAILURES_SHOWN_MAX = 5

const [from = '1', count = '200', only = '', enough = ''] = process.argv.slice(2)
const trace = process.env.TIDEMARK_SIM_TRACE === '1'
const failures: { seed: number; profile: string; why: string }[] = []
let commits = 0
let failed = 0
let seeds = 0
const last = Number(from) + Number(count) - 1
for (let seed = Number(from); seed <= last && (enough === '' || failed < Number(enough)); seed++) {
  const profile = only === '' ? PROFILES[seed % PROFILES.length]! : PROFILES.find((p) => p.name === only)
  if (profile === undefined) throw new Error(`there is no profile ${only}`)
  const outcome = await run(seed, profile, trace)
  seeds++
  commits += outcome.commits
  if (outcome.failure === null) continue
  failed++
  if (failures.length < FAILURES_SHOWN_MAX) failures.push({ seed, profile: profile.name, why: outcome.failure })
  if (trace) console.error(outcome.schedule.join('\n'))
}
console.log(JSON.stringify({ seeds, failed, commits, failures }))
process.exit(0)
