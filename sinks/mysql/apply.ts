/**
 * Writes batches into targets inside the session's open transaction. Changes of a table are folded and written when
 * the call ends, when its schema changes, or when a change cannot be folded onto them. Statements are bounded in bytes.
 */
import type { ChangeBatch, Row, TableId, TableSchema } from '../../core/model.js'
import type { MysqlConnection } from '../../drivers/mysql.js'
import { Fold, type FoldedChange } from '../table-fold.js'
import type { Statement, TablePlan } from './plan.js'
import { isBadRow, refused, rowMissing, rowTooLong } from './refusal.js'

/** A character of a statement takes up to three bytes. */
const STATEMENT_CHARS_MAX = 1024 * 1024
const BYTES_PER_CHAR = 3
const PACKET_SLACK_BYTES = 1024
/** The optimizer gives up on long lists of keys and reads the whole table. */
const KEYS_PER_STATEMENT_MAX = 1_000
const UPDATES_PER_TEXT_MAX = 500

interface Pending {
  readonly plan: TablePlan
  readonly fold: Fold<Row>
  /** Without a key nothing can be folded. */
  readonly keyless: FoldedChange<Row>[]
}

/** Text made of rows, each of which can be tried by itself. */
type Make = (rows: readonly Row[]) => string

export class Applier {
  readonly #connection: MysqlConnection
  readonly #packetBytes: number
  readonly #charsMax: number
  /** Checks the target and makes its plan when a schema is new. */
  readonly #planFor: (schema: TableSchema) => Promise<TablePlan>
  readonly #pending = new Map<TableId, Pending>()

  constructor(connection: MysqlConnection, packetBytes: number, planFor: (schema: TableSchema) => Promise<TablePlan>) {
    this.#connection = connection
    this.#packetBytes = packetBytes
    this.#charsMax = Math.min(STATEMENT_CHARS_MAX, Math.floor((packetBytes - PACKET_SLACK_BYTES) / BYTES_PER_CHAR))
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
        pending = { plan, fold: new Fold(plan.keyText), keyless: [] }
        this.#pending.set(schema.id, pending)
      }
      if (batch.kind === 'truncate') await this.#truncate(pending)
      else for (const change of batch.changes) await this.#add(pending, change)
    }
    // One order for all writers of a target, so that they cannot lock each other out.
    for (const id of [...this.#pending.keys()].sort()) await this.#flush(this.#pending.get(id)!)
    this.#pending.clear()
  }

  async #add(pending: Pending, change: FoldedChange<Row>): Promise<void> {
    const { plan, fold } = pending
    if (plan.keyless) {
      pending.keyless.push(change)
      return
    }
    let added = fold.add(change)
    if (added === false) {
      await this.#flush(pending)
      added = fold.add(change)
    }
    if (added === 'missing') throw rowMissing(plan.name.sql, plan.keyOf(change.before ?? change.after!))
  }

  /** TRUNCATE TABLE would commit what is open. */
  async #truncate({ plan, fold, keyless }: Pending): Promise<void> {
    fold.take()
    keyless.length = 0
    await this.#run(plan, `DELETE FROM ${plan.name.sql}`)
  }

  async #flush({ plan, fold, keyless }: Pending): Promise<void> {
    if (keyless.length > 0) await this.#applyKeyless(plan, keyless.splice(0))
    if (fold.empty) return
    const { moves, deletes, patches, upserts } = fold.take()
    await this.#update(plan, moves)
    const rows = sorted(plan, upserts)
    const gone = plan.replaces ? [...deletes, ...upserts] : deletes
    await this.#pieces(
      plan,
      plan.deleteStatement,
      sorted(plan, gone),
      (row) => plan.deleted(row),
      KEYS_PER_STATEMENT_MAX,
    )
    await this.#update(
      plan,
      sorted(plan, patches).map((row) => ({ from: row, row })),
    )
    await this.#upsert(plan, rows)
  }

  #upsert(plan: TablePlan, rows: readonly Row[]): Promise<void> {
    return this.#pieces(plan, plan.upsertStatement, rows, (row) => plan.values(row), Number.POSITIVE_INFINITY)
  }

  /** Changes of a table without a key, one after the other: inserts append, others find the whole old row. */
  async #applyKeyless(plan: TablePlan, changes: readonly FoldedChange<Row>[]): Promise<void> {
    const inserts: Row[] = []
    for (const { op, before, after } of changes) {
      if (op === 'c' || op === 'r') {
        inserts.push(after!)
        continue
      }
      await this.#upsert(plan, inserts.splice(0))
      const old = before!
      const make = () => (op === 'd' ? plan.deleteWhole(old) : plan.updateWhole(old, after!))
      const [count] = await this.#run(plan, make(), { rows: [old], make })
      if (count === 0) throw rowMissing(plan.name.sql, plan.keyOf(old))
    }
    await this.#upsert(plan, inserts)
  }

  /** Each row in a statement of its own, many of them in one text. */
  async #update(plan: TablePlan, updates: readonly { readonly from: Row; readonly row: Row }[]): Promise<void> {
    for (let first = 0; first < updates.length; ) {
      const some: (typeof updates)[number][] = []
      const texts: string[] = []
      for (let chars = 0; first < updates.length && some.length < UPDATES_PER_TEXT_MAX; first++) {
        const update = updates[first]!
        const text = plan.update(update.from, update.row)
        if (texts.length > 0 && chars + text.length > this.#charsMax) break
        chars += text.length
        texts.push(text)
        some.push(update)
      }
      const rows = some.map(({ from }) => from)
      const make: Make = (suspects) =>
        some
          .filter(({ from }) => suspects.includes(from))
          .map((u) => plan.update(u.from, u.row))
          .join('; ')
      const counts = await this.#run(plan, texts.join('; '), { rows, make })
      const missing = counts.indexOf(0)
      if (missing >= 0) throw rowMissing(plan.name.sql, plan.keyOf(rows[missing]!))
    }
  }

  async #pieces(
    plan: TablePlan,
    { head, separator, tail }: Statement,
    rows: readonly Row[],
    piece: (row: Row) => string,
    rowsMax: number,
  ): Promise<void> {
    const make: Make = (some) => head + some.map(piece).join(separator) + tail
    for (let first = 0; first < rows.length; ) {
      const from = first
      let text = head
      for (; first < rows.length && first - from < rowsMax; first++) {
        const next = piece(rows[first]!)
        if (first > from && text.length + next.length + tail.length > this.#charsMax) break
        text += first > from ? separator + next : next
      }
      await this.#run(plan, text + tail, { rows: rows.slice(from, first), make })
    }
  }

  /** How many rows each statement touched; a refusal names the row where `among` lets it be found. */
  async #run(
    plan: TablePlan,
    sql: string,
    among?: { readonly rows: readonly Row[]; readonly make: Make },
  ): Promise<number[]> {
    const limit = this.#packetBytes - PACKET_SLACK_BYTES
    if (sql.length * BYTES_PER_CHAR > limit && Buffer.byteLength(sql) > limit) {
      const row = among?.rows.length === 1 ? plan.keyOf(among.rows[0]!) : 'unknown key'
      throw rowTooLong(plan.name.sql, row, Buffer.byteLength(sql), this.#packetBytes)
    }
    try {
      return await this.#connection.run(sql)
    } catch (error) {
      const row = among && isBadRow(error) ? await this.#blame(among.rows, among.make) : null
      throw refused(error, plan.name.sql, row === null ? null : plan.keyOf(row))
    }
  }

  /** Looks for the row that is refused by itself, in transactions that are rolled back. The caller's is lost anyway. */
  async #blame(rows: readonly Row[], make: Make): Promise<Row | null> {
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

  async #isRefused(sql: string): Promise<boolean> {
    await this.#connection.query('START TRANSACTION')
    try {
      await this.#connection.run(sql)
      return false
    } catch (error) {
      if (!isBadRow(error)) throw error
      return true
    } finally {
      await this.#connection.query('ROLLBACK')
    }
  }
}

/** Rows are locked in one order by every writer; shorter texts first keeps integers in their index's order. */
function sorted(plan: TablePlan, rows: readonly Row[]): readonly Row[] {
  if (rows.length < 2) return rows
  const keyed = rows.map((row) => ({ text: plan.keyText(row), row }))
  keyed.sort((a, b) => a.text.length - b.text.length || (a.text < b.text ? -1 : 1))
  return keyed.map(({ row }) => row)
}
