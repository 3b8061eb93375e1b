/** Changes of a table without a key, one after the other: inserts append, others find the whole old row. */
import { assert } from '../../core/errors.js'
import type { FoldedChange } from '../table-fold.js'
import type { Applier } from './apply.js'
import type { TablePlan } from './plan.js'
import { rowMissing } from './refusal.js'
import type { SqlRow } from './values.js'

const COPY_ROWS_MIN = 50

export async function applyKeyless(
  applier: Applier,
  plan: TablePlan,
  changes: readonly FoldedChange<SqlRow>[],
): Promise<void> {
  let inserts: SqlRow[] = []
  const append = async () => {
    const rows = inserts
    inserts = []
    if (rows.length === 0) return
    if (rows.length >= COPY_ROWS_MIN && (await applier.insertByCopy(plan, rows))) return
    await applier.run(plan, plan.upsert(rows), { rows, retry: (some) => plan.upsert(some) })
  }
  for (const { op, before, after } of changes) {
    if (op === 'c' || op === 'r') {
      inserts.push(after!)
      continue
    }
    await append()
    assert(before !== null, `a change of ${plan.schema.id}, which has no key, lacks its old row`)
    const statement = op === 'd' ? plan.deleteWhole(before) : plan.updateWhole(before, after!)
    if ((await applier.run(plan, statement)) === 0) throw rowMissing(plan.name.sql, plan.keyOf(before))
  }
  await append()
}
