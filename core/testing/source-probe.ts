/** What source cases share: a source driven by hand, in the order the core drives it, and a log that is read in the background. */
import assert from 'node:assert/strict'
import type { KeyRange } from '../key.js'
import type { Change, Position, Row, TableSchema, TxnRef } from '../model.js'
import type { ChunkCut, ChunkEnd, ChunkLimit, ChunkRows, LogBatch, Source, SourceTable } from '../source.js'
import { type ContractCase, within } from './contract.js'
import type { SourceDatabase, SourceHarness } from './source-contract.js'

export const PIPELINE = 'contract'
export const EVERYTHING: KeyRange = { lo: null, hi: null }
export const NO_LIMIT: ChunkLimit = { rowsMax: 1_000_000, bytesMax: 1 << 30 }
const LOG_WAIT_MS = 20_000

export function sourceCase(
  name: string,
  body: (db: SourceDatabase, probe: (pipeline?: string) => Promise<Probe>) => Promise<void>,
): ContractCase<SourceHarness> {
  return {
    name,
    async run(harness) {
      const db = await harness.database()
      const probes: Probe[] = []
      try {
        await body(db, async (pipeline = PIPELINE) => {
          const probe = await Probe.open(db, pipeline, probes.length === 0)
          probes.push(probe)
          return probe
        })
      } finally {
        for (const probe of probes) await probe.close()
        await db.close()
      }
    },
  }
}

export interface Logged {
  readonly txn: TxnRef
  readonly change: Change
  readonly schema: TableSchema
}

/** A source after open(), and at most one log. */
export class Probe {
  readonly source: Source
  readonly table: SourceTable
  readonly identity: Readonly<Record<string, string>>
  readonly batches: LogBatch[] = []
  readonly #end = new AbortController()
  #tailing: Promise<void> = Promise.resolve()
  #failure: unknown = null
  #wake: () => void = () => {}

  private constructor(source: Source, table: SourceTable, identity: Readonly<Record<string, string>>) {
    this.source = source
    this.table = table
    this.identity = identity
  }

  static async open(db: SourceDatabase, pipeline: string, first: boolean): Promise<Probe> {
    const source = db.source(pipeline)
    const signal = new AbortController().signal
    const { tables, identity } = await source.open({
      pipeline,
      durable: true,
      fenced: true,
      first,
      known: new Map(),
      saved: null,
      signal,
      note: () => {},
    })
    assert.deepEqual(
      tables.map((t) => t.schema.id),
      [db.table],
    )
    return new Probe(source, tables[0]!, identity)
  }

  get signal(): AbortSignal {
    return this.#end.signal
  }

  /** A first start: a new log that is read from now on. */
  async begin(): Promise<Position> {
    await this.source.prepare(this)
    const position = await this.source.createLog(this)
    this.#read(position)
    return position
  }

  async resume(position: Position): Promise<void> {
    await this.source.prepare(this)
    await this.source.resumeLog(position, this)
    this.#read(position)
  }

  #read(position: Position): void {
    const tail = async () => {
      for await (const batch of this.source.tail(position, this)) {
        this.batches.push(batch)
        this.#wake()
      }
    }
    this.#tailing = tail().catch((thrown) => {
      if (!this.signal.aborted) this.#failure = thrown
      this.#wake()
    })
  }

  get changes(): Logged[] {
    return this.batches.flatMap(({ items }) =>
      items.flatMap((item) => {
        assert.equal(item.kind, 'rows')
        if (item.kind !== 'rows') return []
        return item.changes.map((change) => ({ txn: item.txn, change, schema: item.schema }))
      }),
    )
  }

  async until(what: string, met: () => boolean): Promise<void> {
    const waiting = async () => {
      while (!met()) {
        if (this.#failure) throw this.#failure
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
    await within(LOG_WAIT_MS, what, waiting(), true)
  }

  logged(count: number): Promise<void> {
    return this.until(`${count} changes in the log`, () => this.changes.length >= count)
  }

  /** Until the log holds everything committed before now. */
  async caughtUp(): Promise<void> {
    const target = await this.source.logEnd(this)
    await this.until(`the log reaches ${target}`, () => (this.batches.at(-1)?.ordinal ?? -1n) >= target)
  }

  async chunk(
    range = EVERYTHING,
    limit = NO_LIMIT,
  ): Promise<{ cut: ChunkCut; rows: Row[]; end: ChunkEnd; high: ChunkCut['cut'] | null }> {
    const session = await this.source.session(this)
    try {
      await session.lock(this.table, this)
      const cut = await session.cut(this.table, this)
      assert.ok(cut !== null, 'the definition did not change')
      const read = session.rows(this.table, range, limit, this)
      const batches: ChunkRows[] = []
      for await (const batch of read) batches.push(batch)
      const end = await read.end
      const high = cut.window ? await cut.window.high(this) : null
      await session.end()
      await this.source.durable(this)
      return { cut, rows: batches.flatMap((batch) => [...batch.rows]), end, high }
    } finally {
      await session.close()
    }
  }

  idOf(row: Row): number {
    return Number(row[this.table.schema.columns.findIndex((c) => c.name === 'id' || c.name === '_id')])
  }

  vOf(row: Row): string | null | undefined {
    const value = row[this.table.schema.columns.findIndex((c) => c.name === 'v')]
    return value === null || value === undefined ? value : String(value)
  }

  async close(): Promise<void> {
    this.#end.abort(new Error('the case is over'))
    await this.#tailing
    await this.source.close()
  }
}

/** Applies changes to rows as a strict reader would. */
export class Model {
  readonly rows = new Map<number, string | null>()
  readonly #probe: Probe

  constructor(probe: Probe, rows: readonly Row[] = []) {
    this.#probe = probe
    for (const row of rows) this.rows.set(probe.idOf(row), probe.vOf(row)!)
  }

  /** `strict`: the row must be there for u and d, and must not for r and c. */
  apply({ change: { op, before, after } }: Logged, strict = true): void {
    const from = this.#probe.idOf((before ?? after)!)
    const old = this.rows.get(from)
    if (strict) assert.equal(this.rows.has(from), op === 'u' || op === 'd', `${op} of ${from}`)
    this.rows.delete(from)
    if (op === 'd') return
    const v = this.#probe.vOf(after!)
    this.rows.set(this.#probe.idOf(after!), v === undefined ? old! : v)
  }

  async equals(db: SourceDatabase): Promise<void> {
    const source = (await db.rows()).map(({ id, v }) => [Number(id), v] as const)
    assert.deepEqual(new Map([...this.rows].sort(([a], [b]) => a - b)), new Map(source.sort(([a], [b]) => a - b)))
  }
}
