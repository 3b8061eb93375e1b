/** Runs a range of seeds and prints one JSON line: how many failed, and the first failures. */
import { PROFILES, run } from './run.js'

const [from = '1', count = '200', only = ''] = process.argv.slice(2)
const failures: { seed: number; profile: string; why: string }[] = []
let commits = 0
let failed = 0
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  const profiles = only === '' ? [PROFILES[seed % PROFILES.length]!] : PROFILES.filter((p) => p.name === only)
  for (const profile of profiles) {
    const outcome = await run(seed, profile, process.env.TIDEMARK_SIM_TRACE === '1')
    commits += outcome.commits
    if (outcome.failure === null) continue
    failed++
    if (failures.length < 5) failures.push({ seed, profile: profile.name, why: outcome.failure })
    if (process.env.TIDEMARK_SIM_TRACE === '1') console.error(outcome.schedule.join('\n'))
  }
}
console.log(JSON.stringify({ seeds: Number(count), failed, commits, failures }))
process.exit(0)
