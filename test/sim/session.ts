/**
 * One connection that reads chunks. Its read runs ahead of the consumer into a buffer and gives the table's lock back when
 * it ends, which may be long before its rows are taken; somebody who waits for that lock makes it end early.
 */
import { positionCut } from '../../core/cut.js'
import type { KeyRange } from '../../core/key.js'
import type { Key } from '../../core/model.js'
import type { ChunkCut, ChunkEnd, ChunkRead, ChunkRows, ChunkSession, SourceTable } from '../../core/source.js'
import type { Random } from './random.js'
import { cutOf, inRange, rowOf, schemaOf, tableNumber, widthOf } from './rows.js'
import type { Server } from './server.js'
import { type Snapshot, type Stored, type TableNumber, tableOf } from './server-model.js'
import type { SourceProfile, Wait } from './source.js'

export class SimSession implements ChunkSession {
  #locked: TableNumber | null = null
  #incarnation = -1
  #snapshot: Snapshot | null = null
  #read: Read | null = null

  constructor(
    readonly server: Server,
    readonly random: Random,
    readonly profile: SourceProfile,
    readonly wait: Wait,
  ) {}

  lock({ schema }: SourceTable): Promise<void> {
    this.unlock()
    const table = tableNumber(schema)
    const free = () => this.server.exclusive[table] === null && this.server.queued[table] === null
    const hold = () => {
      this.#locked = table
      this.#incarnation = this.server.incarnation
      this.server.shared[table]!++
    }
    return this.wait('lock', hold, free)
  }

  unlock(): void {
    if (this.#locked !== null && this.#incarnation === this.server.incarnation) this.server.shared[this.#locked]!--
    this.#locked = null
  }

  async cut(table: SourceTable): Promise<ChunkCut | null> {
    if (this.#snapshot !== null) await this.lock(table)
    const windows = this.profile.visibility !== 'free'
    const s = await this.wait('snapshot', () => this.server.snapshot())
    this.#snapshot = s
    const number = tableNumber(table.schema)
    const planned = widthOf(table.schema)
    const same = await this.wait('check', () => this.server.widths[number] === planned)
    if (!same) {
      this.unlock()
      return null
    }
    const base = { cut: cutOf(s, windows), tsUs: 0n, at: BigInt(s.after), xid: BigInt(s.xmax) }
    if (!windows) return base
    return { ...base, window: { high: () => this.wait('high', () => positionCut(BigInt(this.server.inserted))) } }
  }

  rows(table: SourceTable, range: KeyRange): ChunkRead {
    this.#read = new Read(this, table, range, this.#snapshot!)
    return this.#read
  }

  keys(table: SourceTable, keys: readonly Key[]): Promise<ChunkRows[]> {
    return this.wait('keys', () => {
      const stored = this.stored(table, this.#snapshot!)
      const found = keys.flatMap((key) => stored.filter(([k]) => k === Number(key[0])))
      return [this.chunk(table, found)]
    })
  }

  /** What a SELECT finds now under the snapshot: nothing in storage that is younger than it (1.10 d). */
  stored({ schema }: SourceTable, s: Snapshot): [number, Stored][] {
    const table = tableNumber(schema)
    if (this.server.rewrites[table] !== s.rewrites[table]) return []
    return [...s.rows].filter(([k]) => tableOf(k) === table)
  }

  chunk({ schema }: SourceTable, stored: readonly [number, Stored][]): ChunkRows {
    const rows = stored.map(([k, { v, t }]) => rowOf(this.server, widthOf(schema), k, v, t))
    const { keyless, rowBytes } = this.profile
    return { schema: schemaOf(tableNumber(schema), widthOf(schema), keyless), rows, bytes: rowBytes * rows.length }
  }

  async end(): Promise<void> {
    this.drop()
  }

  async close(): Promise<void> {
    this.drop()
  }

  /** The connection is gone, or its transaction is over. */
  drop(): void {
    this.#read?.abandon()
    this.#read = null
    this.unlock()
    this.#snapshot = null
  }
}

class Read implements ChunkRead {
  readonly end: Promise<ChunkEnd>
  readonly #session: SimSession
  readonly #table: SourceTable
  readonly #buffer: ChunkRows[] = []
  #stopped = false
  #abandoned = false
  #over: ChunkEnd | Error | null = null
  #settle: { resolve: (end: ChunkEnd) => void; reject: (error: unknown) => void } | null = null

  constructor(session: SimSession, table: SourceTable, range: KeyRange, snapshot: Snapshot) {
    this.#session = session
    this.#table = table
    this.end = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#fetch(range, snapshot).then(
      (end) => this.#finish(end),
      (error: Error) => this.#finish(error),
    )
  }

  stop(): void {
    this.#stopped = true
  }

  abandon(): void {
    this.#abandoned = true
  }

  #finish(over: ChunkEnd | Error): void {
    if (!this.#abandoned) this.#session.unlock()
    this.#over = over
  }

  async #fetch(range: KeyRange, snapshot: Snapshot): Promise<ChunkEnd> {
    const { random, server, profile, wait } = this.#session
    const number = tableNumber(this.#table.schema)
    const all = await wait('select', () =>
      this.#session
        .stored(this.#table, snapshot)
        .filter(([k]) => inRange(k, range))
        .sort(([a], [b]) => a - b),
    )
    let at = 0
    while (at < all.length && !this.#abandoned) {
      const wanted = server.queued[number] !== null && random.chance(0.5)
      if (!profile.keyless && (this.#stopped || wanted || random.chance(profile.shortReads))) break
      await wait('fetch', () => {
        const piece = all.slice(at, at + 1 + random.below(3))
        at += piece.length
        this.#buffer.push(this.#session.chunk(this.#table, piece))
      })
    }
    if (at >= all.length) return { upTo: null }
    if (at === 0) return { upTo: range.lo ?? { key: [], side: 'before' } }
    return { upTo: { key: [`${all[at - 1]![0]}`], side: 'after' } }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChunkRows> {
    const ready = () => this.#buffer.length > 0 || this.#over !== null
    for (;;) {
      const rows = await this.#session.wait('rows', () => this.#buffer.shift(), ready)
      if (rows === undefined) break
      yield rows
    }
    if (this.#over instanceof Error) {
      this.#settle!.reject(this.#over)
      throw this.#over
    }
    this.#settle!.resolve(this.#over!)
  }
}
