/**
 * Judges which snapshot rows are called the first and the last, by the order in which they became visible: one pair for the
 * snapshot and one for each table, nothing after the last, and no last missing, unless what was held back for it was
 * truncated away, was to be read again (after a restart, or for unsent values) and is gone, or is a table's without a key.
 */
import type { BatchMarks, ChangeBatch, SnapshotMark } from '../../core/model.js'

interface Seen {
  rows: number
  last: boolean
  /** Session that wrote the last row. */
  epoch: number
  /** Nothing but a truncate came after the last row. */
  truncated: boolean
  keyless: boolean
  over: boolean
}

const LAST = new Set<SnapshotMark>(['last', 'last_in_data_collection'])

export class MarksJudge {
  readonly #tables = new Map<string, Seen>()
  readonly #all: Seen = seen()
  readonly #rereads: boolean

  /** `rereads`: rows may be read again once their table's snapshot is over. */
  constructor(rereads: boolean) {
    this.#rereads = rereads
  }

  apply(batch: ChangeBatch, epoch: number): void {
    const { schema } = batch
    const { id } = schema
    const table = this.#tables.get(id) ?? seen()
    this.#tables.set(id, table)
    if (batch.kind === 'truncate') {
      table.truncated = true
      this.#all.truncated = true
      return
    }
    if (batch.origin.kind === 'log') {
      if (batch.marks !== undefined) throw new Error('a batch of the log has marks')
      return
    }
    const count = batch.changes.length
    for (let i = 0; i < count; i++) {
      const mark = markOf(batch.marks ?? {}, i, count)
      if (mark === 'incremental') {
        if (!this.#rereads || (!table.over && !table.last)) throw new Error(`${id}: a row is incremental`)
        continue
      }
      this.#row(id, table, mark)
      for (const of of [table, this.#all]) {
        of.epoch = epoch
        of.truncated = false
        of.keyless = schema.key.length === 0
      }
    }
  }

  #row(id: string, table: Seen, mark: SnapshotMark): void {
    const all = this.#all
    if (table.last || table.over) throw new Error(`${id}: row ${mark} follows the table's last`)
    const joined = all.over || all.last
    if (joined && (mark === 'first' || mark === 'last')) throw new Error(`${id}: ${mark} after the snapshot's last row`)
    if ((mark === 'first') !== (all.rows === 0) && !joined && !(mark === 'last' && all.rows === 0))
      throw new Error(`${id}: row ${all.rows + 1} of the snapshot is ${mark}`)
    const first = mark === 'first' || mark === 'first_in_data_collection'
    if (first !== (table.rows === 0) && !(table.rows === 0 && LAST.has(mark)))
      throw new Error(`${id}: row ${table.rows + 1} of the table is ${mark}`)
    table.rows++
    all.rows++
    // The first row of all may be the last of its table, and is then called the first.
    if (LAST.has(mark)) table.last = true
    if (mark === 'last') all.last = true
  }

  /** Called with each committed checkpoint: what it calls over has had its last row. */
  committed(checkpoint: string, epoch: number): void {
    const { marks, tables } = JSON.parse(checkpoint) as {
      marks?: string
      tables: Record<string, { marks?: string }>
    }
    for (const [id, saved] of Object.entries(tables)) {
      const table = this.#tables.get(id) ?? seen()
      this.#tables.set(id, table)
      if (saved.marks === 'over') this.#ends(id, table, epoch, table.rows === 1)
    }
    if (marks === 'over') this.#ends('snapshot', this.#all, epoch, false)
  }

  #ends(what: string, of: Seen, epoch: number, single: boolean): void {
    if (of.over) return
    of.over = true
    const excused = this.#rereads || of.truncated || of.epoch < epoch || (of === this.#all && of.keyless)
    if (of.rows > 0 && !of.last && !excused && !single) throw new Error(`${what}: no row was the last`)
  }

  /** Called when everything was read. */
  end(): void {
    for (const [id, { over }] of [...this.#tables, ['snapshot', this.#all] as const])
      if (!over) throw new Error(`${id}: the snapshot never ended`)
  }
}

function seen(): Seen {
  return { rows: 0, last: false, epoch: 0, truncated: false, keyless: false, over: false }
}

function markOf({ first, last, others = 'true' }: BatchMarks, i: number, count: number): SnapshotMark {
  return (i === count - 1 ? last : undefined) ?? (i === 0 ? first : undefined) ?? others
}
