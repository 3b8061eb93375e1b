/** Every broken version of the core is caught by many seeds, so the simulator sees what each rule is for. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { build, runSeeds } from '../sim/build.js'
import { MUTATIONS } from '../sim/mutations.js'

/** As many seeds as the simulator's own test runs, and how many must fail; the rest need not run. */
const SEEDS_MAX = 2_400
const CAUGHT_MIN = 40

t.jobs = 2
for (const [i, mutation] of MUTATIONS.entries()) {
  t.test(`${mutation.rule}: ${mutation.what}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), `tidemark-mutant-${i}-`))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    build(folder, mutation)
    const { seeds, failed, failures } = await runSeeds(folder, 1, SEEDS_MAX, {
      profile: mutation.profile,
      enough: CAUGHT_MIN,
    })
    t.comment(`${failed} of ${seeds} seeds caught it, first: ${failures[0]?.seed} ${failures[0]?.why}`)
    t.ok(failed >= CAUGHT_MIN, `${failed} of ${seeds} seeds caught it`)
  })
}
