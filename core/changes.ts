/**
 * The stream door for callers with code of their own: `for await (const batch of changeStream(...))`. The caller is the
 * sink. A batch's checkpoint says exactly how far the stream got with it; the source forgets only what was committed
 * by batch.commit() (I1), and the next batch is made while the caller works on this one.
 */
import { TidemarkError } from './errors.js'
import type { ChangeBatch } from './model.js'
import { type PipelineOptions, runPipeline, type StateStore } from './pipeline.js'
import type { Sink, SinkSession } from './sink.js'

/** A batch closes at this size, so that memory and a caller's transaction stay small. */
const BATCH_BYTES_MAX = 1024 * 1024
/** Source transactions up to this size come in one batch. */
const TRANSACTION_BYTES_WHOLE = 8 * 1024 * 1024

export interface StreamBatch {
  readonly batches: readonly ChangeBatch[]
  /** Opaque. Save it with the work done for this batch and give it back as `from`. */
  readonly checkpoint: string
  /** Saves the checkpoint to `store` if there is one, then lets the source forget everything up to it. */
  commit(): Promise<void>
}

export interface StreamOptions
  extends Pick<PipelineOptions, 'name' | 'source' | 'transform' | 'mode' | 'until' | 'readers' | 'note'> {
  /** A checkpoint to go on from; null: a first start that will be continued; absent with no store: a temporary log feed. */
  readonly from?: string | null
  readonly store?: StateStore
  readonly signal?: AbortSignal
}

export async function* changeStream(options: StreamOptions): AsyncGenerator<StreamBatch, void, void> {
  const { from, store, signal: outer, ...rest } = options
  const stop = new AbortController()
  const signal = outer ? AbortSignal.any([outer, stop.signal]) : stop.signal
  const start = from !== undefined ? from : ((await store?.read()) ?? null)
  const door = new Door(start, from !== undefined || store !== undefined, store ?? null)
  const limits = { commitBytesMax: BATCH_BYTES_MAX, transactionBytesWhole: TRANSACTION_BYTES_WHOLE }
  const run = runPipeline({ ...rest, ...limits, sink: () => door, signal }).then(
    () => door.end(null),
    (thrown: Error) => door.end(thrown),
  )
  try {
    for (let batch = await door.next(); batch !== null; batch = await door.next()) yield batch
  } finally {
    stop.abort(new Error('the stream was left'))
    door.leave()
    await run
  }
}

interface Pending {
  readonly batch: StreamBatch
  /** Lets the pipeline go on. */
  readonly settle: (kept: void | 'not-durable') => void
}

/** A sink whose commit is the caller's: write() collects, commit() hands over and waits. */
class Door implements Sink, SinkSession {
  readonly connector = 'changes'
  readonly completesMoves = false
  readonly unfenced = true
  readonly guarantee: 'exactly-once' | 'none'
  readonly startsUnrecorded: boolean
  checkpoint: string | null
  readonly #store: StateStore | null
  #collected: ChangeBatch[] = []
  #offered: Pending | null = null
  #taken: Pending | null = null
  #over: { error: Error | null } | null = null
  #left = false
  #wake: (() => void) | null = null

  constructor(checkpoint: string | null, durable: boolean, store: StateStore | null) {
    this.checkpoint = checkpoint
    this.guarantee = durable ? 'exactly-once' : 'none'
    this.#store = store
    this.startsUnrecorded = store === null
  }

  // ---- the pipeline's side

  async open(): Promise<SinkSession> {
    if (this.#taken !== null || this.#offered !== null) {
      // The caller may have saved the batch it holds, so an attempt that failed under it cannot be repeated here.
      throw new TidemarkError('core.stream_broken', {
        message: 'the stream lost its source while a batch was being worked on',
        fix: 'Start the stream again from the last saved checkpoint.',
      })
    }
    this.#collected = []
    return this
  }

  async prepare(): Promise<void> {}

  async write(batches: readonly ChangeBatch[]): Promise<void> {
    this.#collected.push(...batches)
  }

  commit(checkpoint: string): Promise<void | 'not-durable'> {
    const batches = this.#collected
    this.#collected = []
    if (this.#left) return Promise.resolve('not-durable')
    return new Promise((resolve) => {
      let settled = false
      const settle = (kept: void | 'not-durable') => {
        if (settled) return
        settled = true
        this.#taken = null
        if (kept !== 'not-durable') this.checkpoint = checkpoint
        resolve(kept)
      }
      const commit = async () => {
        await this.#store?.write(checkpoint)
        settle()
      }
      const pending: Pending = { batch: { batches, checkpoint, commit }, settle }
      if (batches.length > 0) {
        this.#offered = pending
        this.#wake?.()
      } else if (this.#store) commit().catch((error: Error) => this.end(error))
      else settle('not-durable')
    })
  }

  async close(): Promise<void> {}

  // ---- the caller's side

  async next(): Promise<StreamBatch | null> {
    // Asking for more without a commit is allowed: the source then keeps what it has.
    this.#taken?.settle('not-durable')
    this.#taken = null
    while (this.#offered === null) {
      if (this.#over !== null) {
        if (this.#over.error !== null) throw this.#over.error
        return null
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#taken = this.#offered
    this.#offered = null
    return this.#taken.batch
  }

  end(error: Error | null): void {
    this.#over ??= { error }
    this.#wake?.()
  }

  leave(): void {
    this.#left = true
    this.#taken?.settle('not-durable')
    this.#offered?.settle('not-durable')
  }
}
