/**
 * Writes batches into targets inside the session's open transaction. Changes of a table are folded and written when
 * the call ends, when its schema changes, or when a change cannot be folded onto them. Tables that only the server
 * can fold (their keys may be equal under different texts) are written in runs that need no folding.
 */
import type { Change, ChangeBatch, TableId, TableSchema } from '../../core/model.js'
import { type PgConnection, sqlState } from '../../drivers/postgres.js'
import { copyIn } from '../../drivers/postgres-copy.js'
import { Fold, type FoldedChange, type Move } from '../table-fold.js'
import { applyKeyless } from './keyless.js'
import type { Statement, TablePlan } from './plan.js'
import { isBadRow, refused, rowMissing, rowsSwallowed, UNIQUE_VIOLATION } from './refusal.js'
import { copyText, type SqlRow } from './values.js'

/** Below this, a COPY with its savepoint costs more than a statement. */
const COPY_ROWS_MIN = 200
/** After a COPY met an existing key, so many writes of the table go without. */
const COPY_PAUSE_WRITES = 100

interface Pending {
  readonly plan: TablePlan
  readonly fold: Fold<SqlRow>
  /** Without a key nothing can be folded. */
  readonly keyless: FoldedChange<SqlRow>[]
  /** Without keyText: what the changes added so far are. */
  run: 'insert' | 'delete' | null
}

export class Applier {
  readonly #connection: PgConnection
  /** Checks the target and makes its plan when a schema is new. */
  readonly #planFor: (schema: TableSchema) => Promise<TablePlan>
  readonly #pending = new Map<TableId, Pending>()
  readonly #copyPaused = new Map<TableId, number>()

  constructor(connection: PgConnection, planFor: (schema: TableSchema) => Promise<TablePlan>) {
    this.#connection = connection
    this.#planFor = planFor
  }

  async apply(batches: readonly ChangeBatch[]): Promise<void> {
    for (const batch of batches) {
      const { schema } = batch
      let pending = this.#pending.get(schema.id)
      if (pending !== undefined && pending.plan.schema.fingerprint !== schema.fingerprint) {
        await this.#flush(pending)
        pending = undefined
      }
      if (pending === undefined) {
        const plan = await this.#planFor(schema)
        let unique = 0
        pending = { plan, fold: new Fold(plan.keyText ?? (() => String(unique++))), keyless: [], run: null }
        this.#pending.set(schema.id, pending)
      }
      if (batch.kind === 'truncate') await this.#truncate(pending)
      else for (const change of batch.changes) await this.#add(pending, textOf(pending.plan, change))
    }
    // One order for all writers of a target, so that they cannot lock each other out.
    for (const id of [...this.#pending.keys()].sort()) await this.#flush(this.#pending.get(id)!)
    this.#pending.clear()
  }

  async #add(pending: Pending, change: FoldedChange<SqlRow>): Promise<void> {
    const { plan, fold } = pending
    if (plan.keyless) {
      pending.keyless.push(change)
      return
    }
    if (plan.keyText === null) await this.#keepRun(pending, change)
    let added = fold.add(change)
    if (added === false) {
      await this.#flush(pending)
      added = fold.add(change)
    }
    if (added === 'missing') throw rowMissing(plan.name.sql, plan.keyOf(change.before ?? change.after!))
  }

  /** Inserts of one run have different keys, deletes may repeat one; anything else is written alone. */
  async #keepRun(pending: Pending, { op }: FoldedChange<SqlRow>): Promise<void> {
    const run = op === 'c' ? 'insert' : op === 'd' ? 'delete' : null
    if (!pending.fold.empty && (run === null || run !== pending.run)) await this.#flush(pending)
    pending.run = run
  }

  async #truncate(pending: Pending): Promise<void> {
    pending.fold.take()
    pending.keyless.length = 0
    await this.run(pending.plan, { sql: `TRUNCATE ${pending.plan.name.sql}`, params: [] })
  }

  async #flush({ plan, fold, keyless }: Pending): Promise<void> {
    if (keyless.length > 0) await applyKeyless(this, plan, keyless.splice(0))
    if (fold.empty) return
    const { moves, deletes, patches, upserts, onlyInserts } = fold.take()
    for (const group of sameShape(moves, (move) => move.row)) await this.#move(plan, group)
    if (deletes.length > 0) await this.run(plan, plan.delete(sorted(plan, deletes)))
    for (const group of sameShape(patches, (row) => row)) await this.#patch(plan, sorted(plan, group))
    if (upserts.length === 0) return
    if (onlyInserts && upserts.length >= COPY_ROWS_MIN && (await this.insertByCopy(plan, upserts))) return
    const rows = sorted(plan, upserts)
    const count = await this.run(plan, plan.upsert(rows), { rows, retry: (some) => plan.upsert(some) })
    if (plan.upsertCounts && count !== rows.length) throw rowsSwallowed(plan.name.sql, rows.length - count)
  }

  async #move(plan: TablePlan, moves: readonly Move<SqlRow>[]): Promise<void> {
    const from = moves.map((m) => m.from)
    const rows = moves.map((m) => m.row)
    const count = await this.run(plan, plan.update(from, rows))
    if (count !== moves.length) await this.#reportMissing(plan, from, rows)
  }

  async #patch(plan: TablePlan, rows: readonly SqlRow[]): Promise<void> {
    const count = await this.run(plan, plan.update(rows, rows), { rows, retry: (some) => plan.update(some, some) })
    if (count !== rows.length) await this.#reportMissing(plan, rows, rows)
  }

  /** After the update the rows that were there have the keys of `rows`. */
  async #reportMissing(plan: TablePlan, from: readonly SqlRow[], rows: readonly SqlRow[]): Promise<never> {
    for (let i = 0; i < rows.length; i++) {
      const { sql, params } = plan.missing([rows[i]!])
      const missing = await this.#connection.query(sql, params)
      if (missing.length > 0) throw rowMissing(plan.name.sql, plan.keyOf(from[i]!))
    }
    throw rowMissing(plan.name.sql, plan.keyOf(from[0]!))
  }

  /** False: a key was there already and nothing was written. */
  async insertByCopy(plan: TablePlan, rows: readonly SqlRow[]): Promise<boolean> {
    const paused = this.#copyPaused.get(plan.schema.id) ?? 0
    if (paused > 0) {
      this.#copyPaused.set(plan.schema.id, paused - 1)
      return false
    }
    await this.#connection.query('SAVEPOINT tidemark_copy')
    try {
      const count = await copyIn(this.#connection, plan.copySql, [copyText(rows)])
      if (count !== rows.length) throw rowsSwallowed(plan.name.sql, rows.length - count)
    } catch (error) {
      if (sqlState(error) !== UNIQUE_VIOLATION) throw refused(error, plan.name.sql, null)
      await this.#connection.query('ROLLBACK TO SAVEPOINT tidemark_copy')
      this.#copyPaused.set(plan.schema.id, COPY_PAUSE_WRITES)
      return false
    }
    await this.#connection.query('RELEASE SAVEPOINT tidemark_copy')
    return true
  }

  /** Runs a statement and returns how many rows it touched; a refusal names the row where `among` lets it be found. */
  async run(
    plan: TablePlan,
    { sql, params }: Statement,
    among?: { readonly rows: readonly SqlRow[]; readonly retry: (rows: readonly SqlRow[]) => Statement },
  ): Promise<number> {
    try {
      return (await this.#connection.run(sql, params)).count
    } catch (error) {
      const row = among && isBadRow(error) ? await this.#blame(among.rows, among.retry) : null
      throw refused(error, plan.name.sql, row === null ? null : plan.keyOf(row))
    }
  }

  /** Looks for the row that is refused by itself, in transactions that are rolled back. The caller's is lost anyway. */
  async #blame(rows: readonly SqlRow[], make: (rows: readonly SqlRow[]) => Statement): Promise<SqlRow | null> {
    try {
      await this.#connection.query('ROLLBACK')
      let suspects = rows
      while (suspects.length > 1) {
        const half = suspects.slice(0, suspects.length >> 1)
        suspects = (await this.#isRefused(make(half))) ? half : suspects.slice(half.length)
      }
      return (await this.#isRefused(make(suspects))) ? suspects[0]! : null
    } catch {
      // The refusal itself is what matters; it is thrown by the caller.
      return null
    }
  }

  async #isRefused({ sql, params }: Statement): Promise<boolean> {
    await this.#connection.query('BEGIN')
    try {
      await this.#connection.run(sql, params)
      return false
    } catch (error) {
      if (!isBadRow(error)) throw error
      return true
    } finally {
      await this.#connection.query('ROLLBACK')
    }
  }
}

function textOf(plan: TablePlan, change: Change): FoldedChange<SqlRow> {
  if (plan.schema.dialect === 'postgres') return change as FoldedChange<SqlRow>
  const { op, before, after } = change
  return { op, before: before && plan.read(before), after: after && plan.read(after) }
}

/** Rows that lack the same values can share a statement. */
function sameShape<T>(items: readonly T[], rowOf: (item: T) => SqlRow): T[][] {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const shape = rowOf(item)
      .map((value) => (value === undefined ? '-' : '+'))
      .join('')
    const group = groups.get(shape)
    if (group) group.push(item)
    else groups.set(shape, [item])
  }
  return [...groups.values()]
}

/** Rows are locked in one order by every writer; shorter texts first keeps integers in their index's order. */
function sorted(plan: TablePlan, rows: readonly SqlRow[]): readonly SqlRow[] {
  const { keyText } = plan
  if (keyText === null || rows.length < 2) return rows
  const keyed = rows.map((row) => ({ text: keyText(row), row }))
  keyed.sort((a, b) => a.text.length - b.text.length || (a.text < b.text ? -1 : 1))
  return keyed.map(({ row }) => row)
}
