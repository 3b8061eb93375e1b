/**
 * A transactional sink that judges every change as it becomes visible: a read or an insert only where nothing is, an update
 * only on the version it replaced, a delete only on the version it removed. Data and checkpoint appear together.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Change, ChangeBatch } from '../../core/model.js'
import type { Sink, SinkSession } from '../../core/sink.js'
import type { Ops } from './ops.js'
import type { Server, Stored } from './server.js'

export class SinkStore {
  readonly rows = new Map<number, { v: number; t: number | null }>()
  checkpoint: string | null = null
  epoch = 0
  commits = 0
  readonly #server: Server
  readonly #completes: boolean

  constructor(server: Server, completes: boolean) {
    this.#server = server
    this.#completes = completes
  }

  apply(batch: ChangeBatch): void {
    if (batch.kind === 'truncate') return this.rows.clear()
    for (const change of batch.changes) this.#change(change)
  }

  #change({ op, before, after }: Change): void {
    const key = Number((after ?? before)![0])
    const now = this.rows.get(key)
    switch (op) {
      case 'r':
      case 'c':
        if (now) throw new Error(`${op} of key ${key} which is present`)
        if (after![2] === undefined) throw new Error(`${op} of key ${key} lacks a value`)
        this.rows.set(key, { v: Number(after![1]), t: Number(after![2]) })
        return
      case 'u': {
        const from = before === null ? key : Number(before[0])
        const old = this.rows.get(from)
        const v = Number(after![1])
        if (!old) throw new Error(`update of key ${from} which is absent`)
        if (old.v !== this.#server.previous.get(v))
          throw new Error(`update of key ${from} to version ${v} on version ${old.v}`)
        if (from !== key) {
          if (now) throw new Error(`move of key ${from} to ${key} which is present`)
          if (!this.#completes) throw new Error(`a move with unsent values reached a sink that cannot complete it`)
          this.rows.delete(from)
        }
        this.rows.set(key, { v, t: after![2] === undefined ? old.t : Number(after![2]) })
        return
      }
      case 'd':
        if (!now) throw new Error(`delete of key ${key} which is absent`)
        this.rows.delete(key)
    }
  }

  /** The first difference from the source, or null. */
  difference(source: ReadonlyMap<number, Stored>): string | null {
    for (const [k, row] of source) {
      const mine = this.rows.get(k)
      if (mine?.v !== row.v || mine.t !== row.t)
        return `key ${k}: source ${JSON.stringify(row)}, sink ${JSON.stringify(mine ?? null)}`
    }
    for (const k of this.rows.keys()) if (!source.has(k)) return `key ${k}: only in the sink`
    return null
  }
}

export function simSink(
  store: SinkStore,
  ops: Ops,
  process: object,
  completes: boolean,
  violated: (error: Error) => void,
): Sink {
  return {
    connector: 'sim',
    guarantee: 'exactly-once',
    completesMoves: completes,
    async open(): Promise<SinkSession> {
      const epoch = await ops.wait('fence', process, () => ++store.epoch)
      let written: ChangeBatch[] = []
      return {
        checkpoint: store.checkpoint,
        async prepare() {},
        async write(batches) {
          await ops.wait('write', process, () => {})
          written.push(...batches)
        },
        async commit(checkpoint) {
          await ops.wait('commit', process, () => {
            if (store.epoch !== epoch) throw new TidemarkError('core.bug', { message: 'fenced' })
            try {
              for (const batch of written) store.apply(batch)
            } catch (error) {
              violated(error as Error)
            }
            written = []
            store.checkpoint = checkpoint
            store.commits++
          })
          // Committed, but the process may die before it hears of it.
          await ops.wait('commit-answer', process, () => {})
        },
        async close() {},
      }
    },
  }
}
