/**
 * What a run shows on stderr: a view that is drawn over itself on a terminal, plain lines elsewhere, fields in JSON
 * logs. Rates come from the last few seconds of samples.
 */
import type { Progress, TableProgress } from '../core/pipeline.js'
import { count, milliseconds, printable, seconds, table } from './format.js'
import type { Io } from './io.js'
import type { Log } from './log.js'

const RATE_WINDOW_MS = 10_000
const PLAIN_INTERVAL_MS = 5_000
const LIVE_INTERVAL_MS = 250
const LIVE_TABLES_MAX = 12
const COLUMNS_DEFAULT = 100

interface Sample {
  readonly atMs: number
  readonly rows: ReadonlyMap<string, number>
  readonly events: number
}

export interface ProgressView {
  update(progress: Progress): void
  /** Ends the view; what it showed last stays. */
  close(): void
  readonly last: Progress | null
}

export interface ViewOptions {
  /** True: rows go to stdout; on the same terminal they and a live view would overwrite each other. */
  readonly dataOnStdout: boolean
  readonly now?: () => number
}

export function progressView(io: Io, log: Log, { dataOnStdout, now = Date.now }: ViewOptions): ProgressView {
  const terminal = io.stderr.isTTY === true && io.env.TERM !== 'dumb' && !io.env.CI
  const live = log.format === 'text' && terminal && !(dataOnStdout && io.stdout.isTTY === true)
  return live ? new LiveView(io, log, now) : new PlainView(log, now)
}

/** Rates over the samples of the last RATE_WINDOW_MS. */
class Rates {
  #samples: Sample[] = []

  add(progress: Progress, atMs: number): void {
    const rows = new Map(progress.tables.map((t) => [t.table as string, t.rows]))
    this.#samples.push({ atMs, rows, events: progress.tables.reduce((sum, t) => sum + t.events, 0) })
    while (this.#samples.length > 2 && this.#samples[0]!.atMs < atMs - RATE_WINDOW_MS) this.#samples.shift()
  }

  rowsPerSecond(id: string): number {
    return this.#rate((sample) => sample.rows.get(id) ?? 0)
  }

  eventsPerSecond(): number {
    return this.#rate((sample) => sample.events)
  }

  #rate(value: (sample: Sample) => number): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (!first || !last || last.atMs <= first.atMs) return 0
    return Math.max(0, ((value(last) - value(first)) * 1000) / (last.atMs - first.atMs))
  }
}

/** Chunks say it best once all are planned; until then the server's estimate of rows. Null: unknown. */
export function secondsLeft(progress: TableProgress, rowsPerSecond: number): number | null {
  const { rows, rowsEstimated, chunksDone, chunksTotal } = progress
  if (rowsPerSecond <= 0) return null
  if (chunksTotal !== null && chunksDone > 0 && rows > 0) {
    return ((chunksTotal - chunksDone) * (rows / chunksDone)) / rowsPerSecond
  }
  return rowsEstimated === null || rowsEstimated <= rows ? null : (rowsEstimated - rows) / rowsPerSecond
}

function tableCells(progress: TableProgress, rowsPerSecond: number): string[] {
  const { table: id, state, rows, chunksDone, chunksTotal, events } = progress
  if (state === 'waiting') return [id, 'waiting', '', '', '']
  if (state === 'streaming') return [id, 'streaming', `${count(rows)} rows`, `${count(events)} events`, '']
  const left = secondsLeft(progress, rowsPerSecond)
  return [
    id,
    `${count(chunksDone)}/${chunksTotal === null ? '?' : count(chunksTotal)} chunks`,
    `${count(rows)} rows`,
    `${count(rowsPerSecond)} rows/s`,
    left === null ? '' : `ETA ${seconds(left)}`,
  ]
}

export function summary(progress: Progress, rates: { eventsPerSecond(): number }): string {
  const { phase, tables, lagMs, checkpoints, restarts, position } = progress
  const left = tables.filter((t) => t.state !== 'streaming').length
  const parts: string[] = [phase]
  if (phase === 'snapshot') parts.push(`${tables.length - left} of ${tables.length} tables complete`)
  if (phase === 'streaming') parts.push(`${count(rates.eventsPerSecond())} events/s`)
  if (lagMs !== null) parts.push(`lag ${milliseconds(lagMs)}`)
  parts.push(`${count(checkpoints)} checkpoints`)
  if (position !== null && phase !== 'snapshot') parts.push(`position ${position}`)
  if (restarts > 0) parts.push(`${restarts} restarts`)
  return parts.join(', ')
}

class PlainView implements ProgressView {
  last: Progress | null = null
  #rates = new Rates()
  #log: Log
  #now: () => number
  #printedMs = Number.NEGATIVE_INFINITY
  #phase = ''
  #complete = new Set<string>()

  constructor(log: Log, now: () => number) {
    this.#log = log
    this.#now = now
  }

  update(progress: Progress): void {
    this.last = progress
    const now = this.#now()
    this.#rates.add(progress, now)
    const due = now - this.#printedMs >= PLAIN_INTERVAL_MS || progress.phase !== this.#phase
    if (!due) return
    this.#printedMs = now
    this.#phase = progress.phase
    const line = summary(progress, this.#rates)
    this.#log.names(line, this.#log.format === 'json' ? { progress } : {})
    if (this.#log.format === 'json') return
    const rows = progress.tables.filter((t) => t.state === 'snapshot' || (t.rows > 0 && !this.#complete.has(t.table)))
    for (const t of progress.tables) if (t.state === 'streaming') this.#complete.add(t.table)
    for (const text of table(rows.map((t) => tableCells(t, this.#rates.rowsPerSecond(t.table))))) {
      this.#log.names(`  ${text.trimEnd()}`)
    }
  }

  close(): void {}
}

class LiveView implements ProgressView {
  last: Progress | null = null
  #rates = new Rates()
  #io: Io
  #log: Log
  #now: () => number
  #drawnMs = Number.NEGATIVE_INFINITY
  #lines: string[] = []

  constructor(io: Io, log: Log, now: () => number) {
    this.#io = io
    this.#log = log
    this.#now = now
    log.around = (write) => {
      this.#erase()
      write()
      this.#draw()
    }
  }

  update(progress: Progress): void {
    this.last = progress
    const now = this.#now()
    this.#rates.add(progress, now)
    if (now - this.#drawnMs < LIVE_INTERVAL_MS) return
    this.#drawnMs = now
    this.#erase()
    this.#compose(progress)
    this.#draw()
  }

  #compose(progress: Progress): void {
    const order = { snapshot: 0, waiting: 1, streaming: 2 }
    const tables = [...progress.tables].sort((a, b) => order[a.state] - order[b.state])
    const shown = tables.slice(0, LIVE_TABLES_MAX)
    const rows = table(shown.map((t) => tableCells(t, this.#rates.rowsPerSecond(t.table))))
    const more = tables.length - shown.length
    const width = (this.#io.stderr.columns ?? COLUMNS_DEFAULT) - 1
    this.#lines = [
      ...rows.map((line) => `  ${line}`.trimEnd()),
      ...(more > 0 ? [`  and ${more} more tables`] : []),
      summary(progress, this.#rates),
    ].map((line) => printable(line).slice(0, width))
  }

  #erase(): void {
    if (this.#lines.length > 0) this.#io.stderr.write(`\u001b[${this.#lines.length}A\r\u001b[0J`)
  }

  #draw(): void {
    if (this.#lines.length > 0) this.#io.stderr.write(`${this.#lines.join('\n')}\n`)
  }

  close(): void {
    if (this.last) {
      this.#erase()
      this.#compose(this.last)
      this.#draw()
    }
    this.#lines = []
    this.#log.around = (write) => write()
  }
}
