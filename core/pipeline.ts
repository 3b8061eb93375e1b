/**
 * Runs a pipeline until it is stopped, done or cannot go on. One attempt (run.ts) owns all memory; a retriable failure
 * throws it away and starts from the last committed checkpoint, which is also what a crash of the process or a restart
 * of the source's server does (1.10 e): there is only one way back.
 */
import { type Clock, systemClock } from './clock.js'
import { isAbort, TidemarkError, toError } from './errors.js'
import { Metrics, type Progress, type TableProgress } from './metrics.js'
import { PipelineRun, TRANSACTION_BYTES_WHOLE_MAX } from './run.js'
import type { Sink } from './sink.js'
import type { Source } from './source.js'
import { type Transform, unchanged } from './transform.js'

export type { Progress, TableProgress } from './metrics.js'

/** Where sinks without a checkpoint of their own keep one (`pipeline.state`). */
export interface StateStore {
  read(): Promise<string | null>
  /** Durable when it resolves. */
  write(checkpoint: string): Promise<void>
}

export interface PipelineOptions {
  readonly name: string
  /** Made anew for each attempt. */
  readonly source: () => Source
  readonly sink: () => Sink
  readonly transform?: Transform
  /** initial: existing rows, then changes. latest-offset: changes only. snapshot: existing rows, then done. */
  readonly mode?: 'initial' | 'latest-offset' | 'snapshot'
  /** once: done when the copy is complete and the sink equals the source at one position; after that it does nothing. caught-up: when it holds all that was committed. */
  readonly until?: 'forever' | 'once' | 'caught-up'
  /** Chunk readers; default PARALLEL_READERS_DEFAULT. */
  readonly readers?: number
  /** Rows that one chunk aims at. */
  readonly chunkRows?: number
  /** Longest time data waits for its commit; an idle sink commits at once. */
  readonly checkpointIntervalMs?: number
  /** Commit at the latest after this many bytes; default: only time and idleness count. */
  readonly commitBytesMax?: number
  /** Source transactions up to this many bytes are committed whole. */
  readonly transactionBytesWhole?: number
  readonly heartbeatIntervalMs?: number
  readonly state?: StateStore | null
  /** Abort: end at a checkpoint. */
  readonly signal: AbortSignal
  readonly onProgress?: (progress: Progress) => void
  readonly note?: (line: string) => void
  readonly clock?: Clock
}

export interface PipelineResult {
  /** done: `until` was reached. stopped: the signal ended it at a checkpoint. */
  readonly outcome: 'done' | 'stopped'
  readonly position: string | null
  readonly checkpoints: number
  readonly restarts: number
  readonly tables: readonly TableProgress[]
  /** True when `once` found nothing to read. */
  readonly snapshotAlreadyComplete: boolean
}

export const CHECKPOINT_INTERVAL_MS_DEFAULT = 1_000
export const HEARTBEAT_INTERVAL_MS_DEFAULT = 30_000
/** Parallel chunk readers; more only help on servers with many cores. */
export const PARALLEL_READERS_DEFAULT = 4
/** First and longest pause between attempts, and how long attempts may fail without a single commit. */
const RESTART_PAUSE_MS = 250
const RESTART_PAUSE_MS_MAX = 15_000
const RESTART_WITHOUT_PROGRESS_MS_MAX = 10 * 60_000
const PROGRESS_INTERVAL_MS = 500

export async function runPipeline(options: PipelineOptions): Promise<PipelineResult> {
  const clock = options.clock ?? systemClock
  const note = options.note ?? (() => {})
  const metrics = new Metrics()
  const settings = {
    ...options,
    clock,
    note,
    metrics,
    transform: options.transform ?? unchanged,
    mode: options.mode ?? 'initial',
    until: options.mode === 'snapshot' ? 'once' : (options.until ?? 'forever'),
    readers: options.readers ?? PARALLEL_READERS_DEFAULT,
    checkpointIntervalMs: options.checkpointIntervalMs ?? CHECKPOINT_INTERVAL_MS_DEFAULT,
    commitBytesMax: options.commitBytesMax ?? Number.POSITIVE_INFINITY,
    transactionBytesWhole: options.transactionBytesWhole ?? TRANSACTION_BYTES_WHOLE_MAX,
    heartbeatIntervalMs: options.heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS_DEFAULT,
    state: options.state ?? null,
  } as const
  let pause = RESTART_PAUSE_MS
  let failingSince: number | null = null
  let commits = 0
  let everStarted = false
  let run: PipelineRun | null = null
  let lastClaim: string | undefined
  const report = () => options.onProgress?.(run?.progress() ?? idleProgress(metrics))
  const ticker = options.onProgress ? setInterval(report, PROGRESS_INTERVAL_MS) : null
  try {
    for (;;) {
      run = new PipelineRun({ ...settings, lastClaim })
      try {
        const outcome = await run.run()
        report()
        return {
          outcome,
          position: metrics.position,
          checkpoints: metrics.checkpoints,
          restarts: metrics.restarts,
          tables: run.progress().tables,
          snapshotAlreadyComplete: run.snapshotAlreadyComplete,
        }
      } catch (thrown) {
        const error = toError(thrown)
        // Before it started a stop cuts whatever was being waited for, and that says so in words of its own.
        if (isAbort(thrown, options.signal) || (options.signal.aborted && !run.started)) return stopped(metrics, run)
        everStarted ||= run.started
        lastClaim = run.claim ?? lastClaim
        if (metrics.checkpoints > commits) {
          commits = metrics.checkpoints
          failingSince = null
          pause = RESTART_PAUSE_MS
        }
        failingSince ??= clock.now()
        const patient = clock.now() - failingSince < RESTART_WITHOUT_PROGRESS_MS_MAX
        const retriable = error instanceof TidemarkError && error.retriable
        // A user who starts a pipeline that cannot connect wants to know now; one that ran is worth waiting for.
        if (!retriable || !everStarted || !run.durable || !patient) throw error
        metrics.restarts++
        note(`${error.message}; trying again from the last checkpoint`)
        await clock.sleep(pause, options.signal)
        pause = Math.min(pause * 2, RESTART_PAUSE_MS_MAX)
        if (options.signal.aborted) return stopped(metrics, run)
      }
    }
  } finally {
    if (ticker) clearInterval(ticker)
  }
}

function stopped(metrics: Metrics, run: PipelineRun): PipelineResult {
  return {
    outcome: 'stopped',
    position: metrics.position,
    checkpoints: metrics.checkpoints,
    restarts: metrics.restarts,
    tables: run.progress().tables,
    snapshotAlreadyComplete: false,
  }
}

function idleProgress(metrics: Metrics): Progress {
  const { lagMs, position, checkpoints, restarts } = metrics
  return { phase: 'starting', tables: [], lagMs, position, checkpoints, restarts }
}
