/** Every broken version of the core is caught by many seeds, so the simulator sees what each rule is for. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { build, runSeeds } from '../sim/build.js'
import { MUTATIONS } from '../sim/mutations.js'

/** Seeds tried, a part of those of the simulator's own test, and how many must fail. */
const SEEDS_DEFAULT = 800
const CAUGHT_MIN = 20

t.jobs = 2
for (const [i, mutation] of MUTATIONS.entries()) {
  t.test(`${mutation.rule}: ${mutation.what}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), `tidemark-mutant-${i}-`))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    build(folder, mutation)
    const seeds = mutation.seeds ?? SEEDS_DEFAULT
    const { failed, failures } = await runSeeds(folder, 1, seeds, mutation.profile)
    t.ok(failed >= CAUGHT_MIN, `${failed} of ${seeds} seeds caught it, first: ${failures[0]?.why}`)
  })
}
