/**
 * A database of one table in memory and the source that captures it: a first thing to try a sink with, and the shortest
 * example of a source. Its log positions are exact cuts.
 */
import { positionCut } from '../cut.js'
import { TidemarkError } from '../errors.js'
import { inRange, type KeyOrder } from '../key.js'
import { type Change, keyOf, type Position, type Row, type TableSchema, type TxnRef } from '../model.js'
import type { ChunkEnd, ChunkRead, ChunkSession, LogBatch, Source, SourceTable } from '../source.js'

interface Transaction {
  readonly ref: TxnRef
  readonly changes: readonly Change[]
}

/** Larger transactions are delivered in parts. */
const CHANGES_PER_BATCH_MAX = 100
const ROWS_PER_BATCH_MAX = 10
const BYTES_PER_CHANGE = 100

const byNumber: KeyOrder = {
  located: false,
  compare: (a, b) => (BigInt(a[0] as string) < BigInt(b[0] as string) ? -1 : a[0] === b[0] ? 0 : 1),
}

export class MemoryDatabase {
  readonly schema: TableSchema
  readonly rows = new Map<string, Row>()
  /** Pipeline to how much of the log it has released. */
  readonly feeds = new Map<string, number>()
  readonly log: Transaction[] = []
  readonly #identity: string
  #waiting: (() => void)[] = []

  /** `schema`: a table whose key is one integer column, values as text. */
  constructor(schema: TableSchema, identity = 'memory') {
    this.schema = schema
    this.#identity = identity
  }

  /** One transaction. */
  commit(...changes: Change[]): void {
    const ordinal = BigInt(this.log.length + 1)
    const ref = { ordinal, previous: ordinal - 1n, tsUs: 1_700_000_000_000_000n + ordinal, xid: ordinal }
    for (const { before, after } of changes) {
      const old = this.rows.get(this.#key((before ?? after)!))
      this.rows.delete(this.#key((before ?? after)!))
      if (after)
        this.rows.set(
          this.#key(after),
          after.map((value, i) => (value === undefined ? old?.[i] : value)),
        )
    }
    this.log.push({ ref, changes })
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** Resolves when the log is longer than `count`, or at an abort. */
  async grown(count: number, signal: AbortSignal): Promise<void> {
    while (this.log.length <= count && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }

  source(pipeline: string): Source {
    const table: SourceTable = { schema: this.schema, order: byNumber, estimatedRows: null, estimatedBytes: null }
    let durable = true
    return {
      connector: 'memory',
      open: async ({ signal, ...context }) => {
        signal.throwIfAborted()
        durable = context.durable
        return { identity: { database: this.#identity }, tables: [table], server: 'memory' }
      },
      prepare: async () => {},
      createLog: async () => {
        if (durable) this.feeds.set(pipeline, this.log.length)
        return position(this.log.length, 0)
      },
      resumeLog: async (from) => this.#resume(pipeline, from),
      tail: (from, { signal }) => this.#tail(from, signal),
      release: (from) => void this.feeds.set(pipeline, Math.max(this.feeds.get(pipeline) ?? 0, parse(from)[0])),
      session: async () => this.#session(),
      refresh: async () => table,
      plan: async (_, range, rows, count) => {
        const keys = this.#sorted().map((row) => keyOf(this.schema, row))
        const inside = keys.filter((key) => inRange(byNumber, key, range))
        return inside.filter((_, i) => i > 0 && i % rows === 0).slice(0, count)
      },
      locate: async () => ({ below: [], notAbove: [] }),
      visible: async () => positionCut(BigInt(this.log.length)),
      durable: async () => {},
      logEnd: async () => BigInt(this.log.length),
      close: async () => {},
    }
  }

  #resume(pipeline: string, from: Position): void {
    const released = this.feeds.get(pipeline)
    if (released !== undefined && released <= parse(from)[0]) return
    throw new TidemarkError('x.memory.log_lost', {
      message: `the log of pipeline ${pipeline} after ${from} is gone`,
      fix: 'Start anew.',
    })
  }

  async *#tail(from: Position, signal: AbortSignal): AsyncGenerator<LogBatch> {
    let [count, inside] = parse(from)
    while (!signal.aborted) {
      const next = this.log[count]
      if (next === undefined) {
        await this.grown(count, signal)
        continue
      }
      const changes = next.changes.slice(inside, inside + CHANGES_PER_BATCH_MAX)
      inside += changes.length
      const whole = inside >= next.changes.length
      if (whole) [count, inside] = [count + 1, 0]
      const bytes = changes.length * BYTES_PER_CHANGE
      yield {
        items: [{ kind: 'rows', txn: next.ref, schema: this.schema, changes, bytes }],
        position: position(count, inside),
        ordinal: BigInt(count),
        midTransaction: !whole,
        bytes,
      }
    }
  }

  #session(): ChunkSession {
    let shown: Row[] = []
    const { schema } = this
    return {
      lock: async () => {},
      cut: async () => {
        shown = this.#sorted()
        const at = BigInt(this.log.length)
        return { cut: positionCut(at), tsUs: 1_700_000_000_000_000n + at, at, xid: at }
      },
      rows: (_, range, { rowsMax }) =>
        readOf(schema, shown, (row) => inRange(byNumber, keyOf(schema, row), range), rowsMax),
      keys: async (_, keys) => {
        const wanted = new Set(keys.map((key) => String(key[0])))
        const rows = shown.filter((row) => wanted.has(this.#key(row)))
        return rows.length === 0 ? [] : [{ schema, rows, bytes: rows.length * BYTES_PER_CHANGE }]
      },
      end: async () => {},
      close: async () => {},
    }
  }

  #key(row: Row): string {
    return String(row[this.schema.key[0]!])
  }

  #sorted(): Row[] {
    return [...this.rows.values()].sort((a, b) => byNumber.compare(keyOf(this.schema, a), keyOf(this.schema, b)))
  }
}

function readOf(schema: TableSchema, shown: readonly Row[], inside: (row: Row) => boolean, rowsMax: number): ChunkRead {
  const rows = shown.filter(inside)
  let stopped = false
  let resolve: (end: ChunkEnd) => void = () => {}
  const end = new Promise<ChunkEnd>((done) => {
    resolve = done
  })
  return {
    end,
    stop: () => {
      stopped = true
    },
    async *[Symbol.asyncIterator]() {
      let at = 0
      while (at < rows.length && at < rowsMax && !(stopped && at > 0)) {
        const piece = rows.slice(at, Math.min(at + ROWS_PER_BATCH_MAX, rowsMax))
        at += piece.length
        yield { schema, rows: piece, bytes: piece.length * BYTES_PER_CHANGE }
      }
      resolve({ upTo: at >= rows.length ? null : { key: keyOf(schema, rows[at - 1]!), side: 'after' } })
    },
  }
}

const position = (count: number, inside: number) => `${count}+${inside}` as Position
const parse = (text: Position) => text.split('+').map(Number) as [number, number]
