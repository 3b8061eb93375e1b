/** Counters of one run, per table and in all, for progress lines, reports and (later) exporters. */
import type { ChangeBatch, TableId } from './model.js'
import { changeCount } from './packed-rows.js'

export interface TableProgress {
  readonly table: TableId
  readonly state: 'waiting' | 'snapshot' | 'streaming'
  /** Snapshot rows of this run, from the source's side. */
  readonly rowsEstimated: number | null
  readonly chunksDone: number
  readonly chunksTotal: number | null
  /** Snapshot rows and log events handed to the sink in this run, and the bytes they became there (or came as, where nothing is encoded). */
  readonly rows: number
  readonly events: number
  readonly bytes: number
}

export interface Progress {
  readonly phase: 'starting' | 'snapshot' | 'streaming' | 'stopping'
  readonly tables: readonly TableProgress[]
  /** Milliseconds from commit in the source to visible in the sink, of the last committed transaction; null before one. */
  readonly lagMs: number | null
  readonly position: string | null
  readonly checkpoints: number
  /** Times the pipeline went back to its last checkpoint. */
  readonly restarts: number
}

export interface Count {
  rows: number
  events: number
  bytes: number
}

export class Metrics {
  readonly tables = new Map<TableId, Count>()
  checkpoints = 0
  restarts = 0
  lagMs: number | null = null
  position: string | null = null
  /** Commit time of the newest transaction written since the last commit, microseconds. */
  #newestUs = 0n

  /** `source` is the table's id before routes, `bytes` what the batch became in the sink. */
  wrote(source: TableId, batch: ChangeBatch, bytes: number): void {
    const count = this.tables.get(source) ?? { rows: 0, events: 0, bytes: 0 }
    this.tables.set(source, count)
    count.bytes += bytes
    if (batch.origin.kind === 'snapshot') {
      if (batch.kind === 'rows') count.rows += changeCount(batch)
      return
    }
    count.events += changeCount(batch)
    if (batch.origin.txn.tsUs > this.#newestUs) this.#newestUs = batch.origin.txn.tsUs
  }

  committed(position: string, nowMs: number): void {
    this.checkpoints++
    this.position = position
    if (this.#newestUs > 0n) this.lagMs = Math.max(0, nowMs - Number(this.#newestUs / 1000n))
    this.#newestUs = 0n
  }
}
