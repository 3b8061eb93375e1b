/** The Source interface over the simulated server: one message at a time, every step apart from every other. */
import type { Cut } from '../../core/cut.js'
import { TidemarkError } from '../../core/errors.js'
import type { KeyRange } from '../../core/key.js'
import { LocatedOrder, type Places } from '../../core/located-order.js'
import type { Key, Position, TableId, TxnRef } from '../../core/model.js'
import type { ChunkSession, LogBatch, LogItem, Source, SourceTable } from '../../core/source.js'
import type { Ops } from './ops.js'
import type { SimProcess } from './process.js'
import type { Random } from './random.js'
import { cutOf, hints, inRange, itemsOf, numeric, type Shape, schemaOf, tableNumber } from './rows.js'
import type { Server } from './server.js'
import type { TableNumber, Txn } from './server-model.js'
import { SimSession } from './session.js'

export interface SourceProfile extends Shape {
  readonly located: boolean
  readonly visibility: 'free' | 'prefix' | 'ordered'
  readonly shortReads: number
}

export type Wait = <T>(name: string, work: () => T, ready?: () => boolean) => Promise<T>

export class SimSource implements Source {
  readonly connector = 'sim'
  readonly #server: Server
  readonly #ops: Ops
  readonly #random: Random
  readonly #process: SimProcess
  readonly #profile: SourceProfile
  readonly #released: (count: number) => void
  #connections = 0

  constructor(
    server: Server,
    ops: Ops,
    random: Random,
    process: SimProcess,
    profile: SourceProfile,
    released: (count: number) => void,
  ) {
    this.#server = server
    this.#ops = ops
    this.#random = random
    this.#process = process
    this.#profile = profile
    this.#released = released
    this.#connections = this.#epoch
  }

  /** Grows when the server restarts, or gives up the connections of this process. */
  get #epoch(): number {
    return this.#server.incarnation + this.#process.lost
  }

  #wait<T>(name: string, work: () => T, ready?: () => boolean): Promise<T> {
    const lost = () => this.#connections !== this.#epoch
    const guarded = () => {
      if (lost()) throw connectionLost()
      return work()
    }
    return this.#ops.wait(name, this.#process, guarded, () => lost() || (ready?.() ?? true))
  }

  async open() {
    await this.#ops.wait('open', this.#process, () => {})
    this.#connections = this.#epoch
    const numbers: TableNumber[] = this.#process.wide ? [0, 1] : [0]
    return { identity: { server: 'sim' }, tables: numbers.map((n) => this.#table(n)), server: 'sim' }
  }

  #table(number: TableNumber, order = this.#profile.located ? new LocatedOrder() : numeric): SourceTable {
    const schema = schemaOf(number, this.#server.widths[number]!, this.#profile.keyless)
    return { schema, order, estimatedRows: 10, estimatedBytes: 1000 }
  }

  prepare(): Promise<void> {
    return this.#wait('publish', () => {
      if (this.#process.wide) this.#server.publish()
    })
  }

  createLog(): Promise<Position> {
    // Like a slot: it begins at a flushed place behind which no older transaction is open or unseen.
    const quiet = () => this.#server.active.length === 0 && this.#server.limbo.length === 0
    const make = () => {
      this.#server.flush()
      return `${this.#server.commits.length}+0` as Position
    }
    return this.#wait('createLog', make, quiet)
  }

  async resumeLog(): Promise<void> {}

  async *tail(position: Position): AsyncGenerator<LogBatch> {
    let [count, inside] = position.split('+').map(Number) as [number, number]
    let idle = -1
    const next = () => {
      const txn = this.#server.deliverable(count)
      if (txn === null) {
        idle = this.#server.flushed
        return this.#batch([], count, 0, idle)
      }
      let upTo = Math.min(txn.messages.length, inside + 1 + this.#random.below(2))
      // A truncate is alone in its batch.
      if (upTo === inside + 2 && txn.messages.slice(inside, upTo).some(({ op }) => op === 't')) upTo--
      const items = itemsOf(this.#server, txn.messages.slice(inside, upTo), this.#ref(txn, count), this.#profile)
      const whole = upTo === txn.messages.length && this.#random.chance(0.7)
      inside = upTo
      if (!whole && inside < txn.messages.length) return this.#batch(items, count, inside, this.#before(count))
      inside = 0
      count++
      return this.#batch(items, count, 0, txn.end)
    }
    for (;;) {
      const more = () => this.#server.deliverable(count) !== null || this.#server.flushed > idle
      yield await this.#wait('deliver', next, more)
    }
  }

  /** What is known to have been delivered before the transaction: never less than was said once. */
  #before(count: number): number {
    return count === 0 ? 0 : this.#server.commits[count - 1]!.end
  }

  #batch(items: LogItem[], count: number, inside: number, ordinal: number): LogBatch {
    return {
      items,
      position: `${count}+${inside}` as Position,
      ordinal: BigInt(ordinal),
      midTransaction: inside > 0,
      bytes: items.length * this.#profile.rowBytes,
    }
  }

  #ref(txn: Txn, count: number): TxnRef {
    return {
      ordinal: BigInt(txn.end),
      previous: BigInt(this.#before(count)),
      tsUs: BigInt(txn.id),
      xid: BigInt(txn.xid),
    }
  }

  release(position: Position): void {
    this.#released(Number(position.split('+')[0]))
  }

  async session(): Promise<ChunkSession> {
    await this.#wait('connect', () => {})
    const wait: Wait = (name, work, ready) => this.#wait(name, work, ready)
    const session = new SimSession(this.#server, this.#random, this.#profile, wait)
    this.#process.sessions.add(session)
    return session
  }

  /** The answer travels: it may be old when it arrives. */
  async refresh(id: TableId): Promise<SourceTable> {
    const number = id === 'public.u' ? 1 : 0
    const table = await this.#wait('refresh', () => this.#table(number))
    await this.#wait('refresh-answer', () => {})
    return table
  }

  plan(table: SourceTable, range: KeyRange, _rows: number, count: number): Promise<Key[]> {
    return this.#wait('plan', () => {
      const keys = hints(tableNumber(table.schema)).filter((k) => inRange(k, range) && this.#random.chance(0.6))
      return keys.slice(0, count).map((k) => [`${k}`])
    })
  }

  locate(_table: SourceTable, keys: readonly Key[], bounds: readonly Key[]): Promise<Places> {
    const all = [...keys, ...bounds].map((k) => Number(k[0]))
    const count = (fits: (b: number, k: number) => boolean) =>
      all.map((k) => bounds.filter((b) => fits(Number(b[0]), k)).length)
    return this.#wait('locate', () => ({ below: count((b, k) => b < k), notAbove: count((b, k) => b <= k) }))
  }

  visible(): Promise<Cut> {
    return this.#wait('visible', () => cutOf(this.#server.snapshot(), this.#profile.visibility !== 'free'))
  }

  durable(): Promise<void> {
    return this.#wait('durable', () => this.#server.mark())
  }

  logEnd(): Promise<bigint> {
    return this.#wait('logEnd', () => {
      const end = this.#server.inserted
      this.#server.mark()
      return BigInt(end)
    })
  }

  /** 1.10 j: what was under way when the table was published is over and visible. */
  async admit(): Promise<void> {
    const older = await this.#wait('bar', () => new Set(this.#server.snapshot().xip))
    await this.#wait(
      'admit',
      () => {},
      () => !this.#server.snapshot().xip.some((xid) => older.has(xid)),
    )
  }

  async close(): Promise<void> {
    for (const session of this.#process.sessions) session.drop()
    this.#process.sessions.clear()
  }
}

export function connectionLost(): TidemarkError {
  return new TidemarkError('core.log_ended', { message: 'the server went away', retriable: true })
}
