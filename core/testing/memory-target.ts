/** An exactly-once sink over tables in memory: what other parts are tested against, and itself held to the contract. */
import { TidemarkError } from '../errors.js'
import { type Change, type ChangeBatch, keyOf, keyText, type Row, type TableId } from '../model.js'
import type { Sink, SinkSession } from '../sink.js'

export class MemoryTarget {
  readonly tables = new Map<TableId, Map<string, Row>>()
  /** What a strict reader of the changelog would object to: an insert of a present row, an update of an absent one... */
  readonly complaints: string[] = []
  commits = 0
  #checkpoints = new Map<string, string>()
  readonly #epochs = new Map<string, number>()

  sink(): Sink {
    return {
      connector: 'memory-target',
      guarantee: 'exactly-once',
      completesMoves: true,
      open: async ({ pipeline, lastClaim, signal }) => {
        signal.throwIfAborted()
        if (lastClaim !== undefined && lastClaim !== `${this.#epochs.get(pipeline)}`) throw fenced()
        const epoch = (this.#epochs.get(pipeline) ?? 0) + 1
        this.#epochs.set(pipeline, epoch)
        return this.#session(pipeline, epoch)
      },
    }
  }

  rows(table: TableId): Row[] {
    return [...(this.tables.get(table)?.values() ?? [])]
  }

  #session(pipeline: string, epoch: number): SinkSession {
    let written: ChangeBatch[] = []
    let closed = false
    const owned = () => {
      if (!closed && epoch === this.#epochs.get(pipeline)) return
      throw fenced()
    }
    return {
      claim: `${epoch}`,
      checkpoint: this.#checkpoints.get(pipeline) ?? null,
      prepare: async () => {},
      write: async (batches, { signal }) => {
        signal.throwIfAborted()
        owned()
        written.push(...batches)
      },
      commit: async (checkpoint, { signal }) => {
        signal.throwIfAborted()
        owned()
        for (const batch of written) this.#apply(batch)
        written = []
        this.#checkpoints.set(pipeline, checkpoint)
        this.commits++
      },
      close: async () => {
        closed = true
      },
    }
  }

  #apply(batch: ChangeBatch): void {
    const { id } = batch.schema
    const rows = this.tables.get(id) ?? new Map<string, Row>()
    this.tables.set(id, rows)
    if (batch.kind === 'truncate') return rows.clear()
    for (const change of batch.changes) this.#change(rows, batch, change)
  }

  #change(rows: Map<string, Row>, { schema }: ChangeBatch, { op, before, after }: Change): void {
    const from = keyText(keyOf(schema, (before ?? after)!))
    const to = keyText(keyOf(schema, (after ?? before)!))
    const old = rows.get(from)
    const complain = (what: string) => this.complaints.push(`${op} of ${schema.id} ${from}: ${what}`)
    if (op === 'r' || op === 'c') {
      if (old) complain('the row is there already')
    } else if (!old) complain('there is no such row')
    if (to !== from && rows.has(to)) complain(`the row ${to} is there already`)
    rows.delete(from)
    if (op === 'd') return
    rows.set(
      to,
      after!.map((value, i) => (value === undefined ? old?.[i] : value)),
    )
  }
}

function fenced(): TidemarkError {
  return new TidemarkError('sink.fenced', { message: 'another session owns the target', fix: 'Run one.' })
}
