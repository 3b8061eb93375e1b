/**
 * The snapshot scheduler: N readers take waiting ranges, split large ones lazily, and read each under a cut of its
 * own while the log goes on. Order within one chunk, enforced here: lock, open in the merger (I4), snapshot, compare
 * with what was remembered, SELECT; rows leave only when the source has made durable what they show (I5, 1.10 e).
 */
import { type Clock, type Gate, Wake } from './clock.js'
import type { Bound } from './key.js'
import { finishQuestions, keyQuestions, located, planQuestions } from './locate.js'
import type { Merger } from './merger.js'
import { keyOf, type TableId } from './model.js'
import type { Range } from './range.js'
import type { ChunkCut, ChunkLimit, ChunkRead, ChunkRows, ChunkSession, Source, SourceTable } from './source.js'
import { step } from './steps.js'
import type { TableMerge } from './table-merge.js'

/** 1.10 i: chunk reading pauses while the log has still to pass this many cuts. */
export const UNRESOLVED_CUTS_MAX = 1_000
/** 1.10 g: one-row ranges read under one cut. */
export const SINGLE_KEYS_MAX = 10_000
/** Rows and bytes that one chunk aims at; about a second of reading. */
export const CHUNK_ROWS_DEFAULT = 100_000
export const CHUNK_BYTES_DEFAULT = 48 * 1024 * 1024
/** Held events of all open chunks; above it reads are cut short, and the log waits for their rows. */
export const HELD_BYTES_MAX = 32 * 1024 * 1024
/** I8: rows of windows that wait for the log; above it no further chunk is read. */
export const WINDOW_BYTES_MAX = 12 * 1024 * 1024
/** First and longest pause before another snapshot when a remembered transaction is not visible yet. */
const CUT_RETRY_MS = 2
const CUT_RETRY_MS_MAX = 50

export interface SnapshotOptions {
  readonly source: Source
  readonly merger: Merger
  readonly readers: number
  readonly chunkRows: number
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Waits until what was emitted may grow again. */
  readonly room: () => Promise<void> | undefined
  /** Held while a checkpoint asks where rows that were handed over end: none may follow meanwhile. */
  readonly rowsGate: Gate
  /** Held while a read asks where keys that the log brought lie: no more may come meanwhile. */
  readonly logGate: Gate
  /** A chunk finished or something else changed that a checkpoint should hold. */
  readonly changed: () => void
  readonly note: (line: string) => void
}

interface Taken {
  readonly chunk: ChunkCut
  /**
   * What the cut was compared with (1.10 d). The read is made from it: the table's own may have been replaced meanwhile by
   * the late answer to another reader.
   */
  readonly definition: SourceTable
}

export class SnapshotScheduler {
  readonly wake = new Wake()
  /** Tables whose chunks may be read now (1.10 j). */
  readonly #admitted = new Set<TableId>()
  readonly #o: SnapshotOptions
  readonly #planning = new Set<number>()
  readonly #taken = new Set<number>()
  readonly #reads = new Map<number, ChunkRead>()
  readonly #inFlight = new Map<TableId, number>()
  readonly chunks = new Map<TableId, number>()
  /** Chunks wait for the log to close windows. */
  #waitsForWindows = false
  /** Most reads of one table that were in flight at once. */
  readonly readsInFlightMax = new Map<TableId, number>()

  constructor(options: SnapshotOptions) {
    this.#o = options
  }

  /** Lets the chunks of a table be read. */
  admit(table: TableId): void {
    this.#admitted.add(table)
    this.wake.set()
  }

  /** The log moved on: chunks that waited for it may be read. */
  logMoved(): void {
    if (!this.#waitsForWindows || this.#o.merger.windowBytes >= WINDOW_BYTES_MAX) return
    this.#waitsForWindows = false
    this.wake.set()
  }

  /** Ends when the signal has aborted and every reader has closed its connection. */
  async run(fail: (error: unknown) => void): Promise<void> {
    await Promise.all(Array.from({ length: this.#o.readers }, () => this.#reader().catch(fail)))
  }

  /** I8: too much is held back, so reads end early at the last row read (1.10 d). */
  cutShort(): void {
    for (const read of this.#reads.values()) read.stop()
  }

  async #reader(): Promise<void> {
    const { signal, source } = this.#o
    let session: ChunkSession | null = null
    try {
      while (!signal.aborted) {
        const woken = this.wake.wait()
        const job = await this.#next()
        if (signal.aborted) return
        if (job === null) {
          // Nothing to read: the connection is given back and made anew when there is.
          await session?.close()
          session = null
          await woken
          continue
        }
        session ??= await source.session({ signal })
        try {
          await this.#read(session, job.table, job.ranges)
        } finally {
          for (const range of job.ranges) this.#taken.delete(range)
        }
        this.wake.set()
      }
    } finally {
      await session?.close()
    }
  }

  /** The next waiting range, or all one-row ranges of a table; plans ahead where a range is large. */
  async #next(): Promise<{ table: TableMerge; ranges: number[] } | null> {
    const { merger } = this.#o
    if (merger.unresolvedCuts >= UNRESOLVED_CUTS_MAX) return null
    this.#waitsForWindows = merger.windowBytes >= WINDOW_BYTES_MAX
    if (this.#waitsForWindows) return null
    for (const table of merger.tables.values()) {
      if (table.pure || !this.#admitted.has(table.table.schema.id)) continue
      const waiting = table.ranges.filter((r) => r.state === 'waiting' && !this.#taken.has(r.id))
      const singles = waiting.filter((r) => r.single !== null).slice(0, SINGLE_KEYS_MAX)
      if (singles.length > 0) return this.#take(table, singles)
      const ready = waiting.find((r) => r.planned && !this.#planning.has(r.id))
      if (ready) return this.#take(table, [ready])
      const large = waiting.find((r) => !r.planned && !this.#planning.has(r.id))
      if (large && (await this.#plan(table, large))) return this.#next()
    }
    return null
  }

  #take(table: TableMerge, ranges: readonly Range[]): { table: TableMerge; ranges: number[] } {
    for (const { id } of ranges) this.#taken.add(id)
    return { table, ranges: ranges.map((r) => r.id) }
  }

  /** Splits a waiting range a few chunks ahead; the rest is planned when those are taken. */
  async #plan(table: TableMerge, range: Range): Promise<boolean> {
    const { source, readers, signal } = this.#o
    if (table.table.schema.key.length === 0) {
      range.planned = true
      return true
    }
    this.#planning.add(range.id)
    try {
      const keys = await source.plan(table.table, range, this.#limit(table).rowsMax, readers * 2, { signal })
      const questions = () => planQuestions(table, keys)
      await located(source, questions, { signal }, () => table.split(range.id, keys))
    } finally {
      this.#planning.delete(range.id)
    }
    this.wake.set()
    return true
  }

  #limit(table: TableMerge): ChunkLimit {
    const { estimatedRows, estimatedBytes } = table.table
    const rowBytes = estimatedRows && estimatedBytes ? estimatedBytes / estimatedRows : 100
    const rows = Math.floor(CHUNK_BYTES_DEFAULT / Math.max(rowBytes, 1))
    return { rowsMax: Math.max(100, Math.min(this.#o.chunkRows, rows)), bytesMax: CHUNK_BYTES_DEFAULT }
  }

  async #read(session: ChunkSession, table: TableMerge, ids: readonly number[]): Promise<void> {
    const { signal } = this.#o
    await session.lock(table.table, { signal })
    step('chunk.locked')
    const open = ids.filter((id) => table.open(id))
    step('chunk.opened')
    try {
      const taken = open.length > 0 ? await this.#cut(session, table, open) : null
      if (taken === null) return
      step('chunk.cut')
      const durable = this.#o.source.durable({ signal })
      durable.catch(() => {})
      const single = table.range(open[0]!, 'open')?.single ?? null
      if (single !== null) await this.#keys(session, table, open, taken, durable)
      else await this.#rows(session, table, open[0]!, taken, durable)
      step('chunk.finished')
    } finally {
      await session.end()
      this.#o.changed()
    }
  }

  /** A cut that shows everything remembered, or null when the ranges were given up. */
  async #cut(session: ChunkSession, table: TableMerge, ids: readonly number[]): Promise<Taken | null> {
    const { signal, clock, merger, source } = this.#o
    for (let pause = CUT_RETRY_MS; ; pause = Math.min(pause * 2, CUT_RETRY_MS_MAX)) {
      const definition = table.table
      const chunk = await session.cut(definition, { signal })
      if (chunk === null) {
        for (const id of ids) merger.giveUp(table.table.schema.id, id)
        table.redefine(await source.refresh(table.table.schema.id, { signal }))
        return null
      }
      const verdicts = ids.map((id) => table.cut(id, chunk))
      if (verdicts.every((v) => v === 'gone')) return null
      if (!verdicts.includes('retry')) return { chunk, definition }
      if (merger.heldBytes > HELD_BYTES_MAX) {
        for (const id of ids) merger.giveUp(table.table.schema.id, id)
        return null
      }
      await clock.sleep(pause, signal)
      signal.throwIfAborted()
    }
  }

  async #rows(
    session: ChunkSession,
    table: TableMerge,
    id: number,
    { chunk, definition }: Taken,
    durable: Promise<void>,
  ): Promise<void> {
    const { merger, rowsGate, signal } = this.#o
    const name = table.table.schema.id
    const range = table.range(id, 'open')
    if (range === null) return
    const { lo, hi } = range
    const read = session.rows(definition, { lo, hi }, this.#limit(table), { signal })
    read.end.catch(() => {})
    const taken = read[Symbol.asyncIterator]()
    this.#began(name, id, read)
    try {
      await durable
      // Room comes before the rows: a read makes them when they are taken, and rows that wait are expensive.
      for (let kept = true; ; ) {
        if (kept) await this.#o.room()
        signal.throwIfAborted()
        const { done, value: rows } = await taken.next()
        if (done) break
        if (!kept) continue
        for (let held = rowsGate.wait(); held !== undefined; held = rowsGate.wait()) await held
        kept = merger.rows(name, id, rows, lastBound(rows))
        if (!kept) read.stop()
        step('chunk.rows')
      }
      const { upTo } = await read.end
      const window = chunk.window ? await chunk.window.high({ signal }) : null
      await this.#finish(table, [id], upTo, () => {
        // Nothing was read before the read ended early: the range waits again as a whole.
        if (upTo !== null && sameBound(upTo, lo)) merger.giveUp(name, id)
        else merger.finish(name, id, upTo, window)
      })
      this.chunks.set(name, (this.chunks.get(name) ?? 0) + 1)
    } finally {
      this.#reads.delete(id)
      this.#inFlight.set(name, (this.#inFlight.get(name) ?? 1) - 1)
    }
  }

  /** D5: ends reads once it is known where everything lies that the log brought meanwhile. */
  async #finish(table: TableMerge, ids: readonly number[], upTo: Bound | null, end: () => void): Promise<void> {
    const { source, logGate, signal } = this.#o
    const release = logGate.hold()
    try {
      await located(source, () => finishQuestions(table, ids, upTo), { signal }, end)
    } finally {
      release()
    }
  }

  #began(name: TableId, id: number, read: ChunkRead): void {
    this.#reads.set(id, read)
    const reads = (this.#inFlight.get(name) ?? 0) + 1
    this.#inFlight.set(name, reads)
    this.readsInFlightMax.set(name, Math.max(this.readsInFlightMax.get(name) ?? 0, reads))
  }

  /** 1.10 g: one-row ranges of one table under one cut. */
  async #keys(
    session: ChunkSession,
    table: TableMerge,
    ids: readonly number[],
    { chunk, definition }: Taken,
    durable: Promise<void>,
  ): Promise<void> {
    const { merger, source, signal } = this.#o
    const name = table.table.schema.id
    const keys = ids.map((id) => table.range(id, 'open')?.single ?? null).filter((key) => key !== null)
    const found = await session.keys(definition, keys, { signal })
    const window = chunk.window ? await chunk.window.high({ signal }) : null
    await session.end()
    await durable
    await this.#o.room()
    for (const rows of found) {
      for (const row of rows.rows) {
        const key = keyOf(rows.schema, row)
        await located(
          source,
          () => keyQuestions(table, [key]),
          { signal },
          () => {
            const range = table.find(key)
            const one = { schema: rows.schema, rows: [row], bytes: 0 }
            if (ids.includes(range.id)) merger.rows(name, range.id, one, range.hi)
          },
        )
      }
    }
    await this.#finish(table, ids, null, () => {
      for (const id of ids) merger.finish(name, id, null, window)
    })
  }
}

function lastBound(chunk: ChunkRows): Bound {
  const last = chunk.packed === undefined ? chunk.rows.at(-1)! : chunk.packed.last()
  return { key: keyOf(chunk.schema, last), side: 'after' }
}

/** True when a read that ended at `a` read nothing of a range that begins at `b`. */
function sameBound(a: Bound, b: Bound | null): boolean {
  if (b === null) return a.key.length === 0
  return a.side === b.side && a.key.length === b.key.length && a.key.every((v, i) => v === b.key[i])
}
