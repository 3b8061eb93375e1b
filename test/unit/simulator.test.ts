/** The production merger, scheduler and pipeline loop against seeded schedules. TIDEMARK_SIM_SEEDS=100000 is the long mode. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { build, runSeeds } from '../sim/build.js'

const SEEDS = Number(process.env.TIDEMARK_SIM_SEEDS ?? 2_400)
const FIRST = Number(process.env.TIDEMARK_SEED ?? 1)

t.test('no schedule loses, repeats or reorders a change', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-sim-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  build(folder, null)
  t.comment(`seeds ${FIRST} to ${FIRST + SEEDS - 1}; one again: TIDEMARK_SEED=n TIDEMARK_SIM_SEEDS=1`)
  const half = Math.ceil(SEEDS / 2)
  const results = await Promise.all([runSeeds(folder, FIRST, half), runSeeds(folder, FIRST + half, SEEDS - half)])
  for (const { failures, failed, commits } of results) {
    t.same(failures, [], `${failed} seeds failed`)
    t.ok(SEEDS < 100 || commits > SEEDS, `the sink committed ${commits} times`)
  }
})
