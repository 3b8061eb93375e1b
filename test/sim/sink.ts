/**
 * A transactional sink that judges every change as it becomes visible: a read or an insert only where nothing is, an update
 * or delete only on the version it replaced, every row in the shape of its own schema and with all that its writer
 * gave it. Data and checkpoint appear together.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Change, ChangeBatch, Row, TableSchema } from '../../core/model.js'
import type { Sink, SinkOpenContext, SinkSession } from '../../core/sink.js'
import type { MarksJudge } from './marks.js'
import type { Ops } from './ops.js'
import type { SimProcess } from './process.js'
import { addedValue, COLUMNS, tableNumber, widthOf } from './rows.js'
import type { Server } from './server.js'
import { type Stored, tableOf } from './server-model.js'

interface Kept {
  readonly v: number
  readonly t: number
}

export class SinkStore {
  readonly rows = new Map<number, Kept>()
  checkpoint: string | null = null
  epoch = 0
  commits = 0
  /** null: the sink does not ask which rows are the first and the last. */
  readonly marks: MarksJudge | null
  readonly #server: Server
  readonly #completes: boolean

  constructor(server: Server, completes: boolean, marks: MarksJudge | null) {
    this.marks = marks
    this.#server = server
    this.#completes = completes
  }

  /** How far into which transaction the committed data reaches. */
  get position(): { count: number; inside: number } {
    const { position } = JSON.parse(this.checkpoint ?? '{"position":""}') as { position: string }
    const [count = 0, inside = 0] = position === '' ? [] : position.split('+').map(Number)
    return { count, inside }
  }

  apply(batch: ChangeBatch): void {
    const { schema } = batch
    if (batch.kind === 'rows') for (const change of batch.changes) this.#change(change, schema)
    else for (const k of [...this.rows.keys()]) if (tableOf(k) === tableNumber(schema)) this.rows.delete(k)
  }

  #change(change: Change, schema: TableSchema): void {
    const { op, before, after, at } = change
    const key = Number((after ?? before)![0])
    const now = this.rows.get(key)
    if (after !== null) this.#shape(key, after, schema)
    switch (op) {
      case 'r':
      case 'c':
        if (now) throw new Error(`${op} of key ${key} which is present`)
        if (after![2] === undefined) throw new Error(`${op} of key ${key} lacks a value`)
        this.rows.set(key, { v: Number(after![1]), t: Number(after![2]) })
        return
      case 'u':
        return this.#update(change, key)
      case 'd':
        if (!now) throw new Error(`delete of key ${key} which is absent`)
        if (now.v !== at) throw new Error(`delete of version ${at} of key ${key} on version ${now.v}`)
        this.rows.delete(key)
    }
  }

  #update({ before, after }: Change, key: number): void {
    const from = before === null ? key : Number(before[0])
    const old = this.rows.get(from)
    const v = Number(after![1])
    if (!old) throw new Error(`update of key ${from} which is absent`)
    if (old.v !== this.#server.previous.get(v))
      throw new Error(`update of key ${from} to version ${v} on version ${old.v}`)
    if (from !== key) {
      if (this.rows.has(key)) throw new Error(`move of key ${from} to ${key} which is present`)
      if (!this.#completes && after![2] === undefined)
        throw new Error('a move with unsent values reached a sink that cannot complete it')
      this.rows.delete(from)
    }
    this.rows.set(key, { v, t: after![2] === undefined ? old.t : Number(after![2]) })
  }

  /** A row has the columns of its schema, and no value that its writer gave it is missing. */
  #shape(key: number, row: Row, schema: TableSchema): void {
    const v = Number(row[1])
    if (tableNumber(schema) !== tableOf(key)) throw new Error(`key ${key} came as a row of ${schema.id}`)
    if (row.length !== schema.columns.length) throw new Error(`key ${key}: ${row.length} values for another schema`)
    const width = this.#server.widthOf.get(v)!
    if (width > widthOf(schema)) throw new Error(`key ${key}: version ${v} lost ${width - widthOf(schema)} columns`)
    for (let i = 0; i < widthOf(schema); i++)
      if (row[COLUMNS + i] !== addedValue(this.#server, v, i))
        throw new Error(`key ${key}: a wrong value in column ${i}`)
  }

  /** The first difference from the source's tables that are captured, or null. */
  difference(source: ReadonlyMap<number, Stored>, tables: number): string | null {
    for (const [k, row] of source) {
      const mine = this.rows.get(k)
      if (tableOf(k) < tables && (mine?.v !== row.v || mine.t !== row.t))
        return `key ${k}: source ${JSON.stringify(row)}, sink ${JSON.stringify(mine ?? null)}`
    }
    for (const k of this.rows.keys()) if (!source.has(k)) return `key ${k}: only in the sink`
    return null
  }
}

export interface SinkOptions {
  readonly completes: boolean
  readonly violated: (error: Error) => void
  /** A truncate must be the only thing that its commit brings. */
  readonly truncatesAlone: boolean
  /** Called right after a commit with how far the one before reached into its transaction. */
  readonly committed: (before: number) => void
}

export function simSink(store: SinkStore, ops: Ops, process: SimProcess, options: SinkOptions): Sink {
  const { completes, violated, committed, truncatesAlone } = options
  const fenced = () => {
    // The first may go unheard where the source failed too; then the next attempt is told at its start.
    if (++process.fenced > 2) violated(new Error('a process goes on although it was fenced'))
    return new TidemarkError('sink.fenced', { message: 'another process owns the sink' })
  }
  const open = async ({ lastClaim }: SinkOpenContext): Promise<SinkSession> => {
    const epoch = await ops.wait('fence', process, () => {
      if (lastClaim !== undefined && Number(lastClaim) !== store.epoch) throw fenced()
      process.claimed = true
      return ++store.epoch
    })
    let written: ChangeBatch[] = []
    const commit = (checkpoint: string) => {
      if (store.epoch !== epoch) throw fenced()
      try {
        if (truncatesAlone && written.length > 1 && written.some(({ kind }) => kind === 'truncate'))
          throw new Error(`a truncate is committed with ${written.length - 1} other batches`)
        for (const batch of written) {
          store.apply(batch)
          store.marks?.apply(batch, epoch)
        }
        store.marks?.committed(checkpoint, epoch)
      } catch (error) {
        violated(error as Error)
      }
      written = []
      const { inside } = store.position
      store.checkpoint = checkpoint
      store.commits++
      committed(inside)
    }
    return {
      claim: `${epoch}`,
      checkpoint: store.checkpoint,
      async prepare() {},
      async write(batches) {
        await ops.wait('write', process, () => {})
        written.push(...batches)
      },
      async commit(checkpoint) {
        await ops.wait('commit', process, () => commit(checkpoint))
        // Committed, but the process may die before it hears of it.
        await ops.wait('commit-answer', process, () => {})
      },
      async close() {},
    }
  }
  const marksSnapshot = store.marks !== null
  const traits = {
    completesMoves: completes,
    keepsMoves: truncatesAlone,
    marksSnapshot,
    commitsTruncateAlone: truncatesAlone,
  }
  return { connector: 'sim', guarantee: 'exactly-once', ...traits, open }
}
