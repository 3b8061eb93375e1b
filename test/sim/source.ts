/** The Source interface over the simulated server: one message at a time, every step apart from every other. */
import { positionCut, xidCut } from '../../core/cut.js'
import { TidemarkError } from '../../core/errors.js'
import type { KeyOrder, KeyRange } from '../../core/key.js'
import { LocatedOrder, type Places } from '../../core/located-order.js'
import type { Change, Key, Position, Row, TableSchema, TxnRef } from '../../core/model.js'
import type {
  ChunkCut,
  ChunkEnd,
  ChunkRead,
  ChunkRows,
  ChunkSession,
  LogBatch,
  LogItem,
  Source,
  SourceTable,
} from '../../core/source.js'
import type { Ops } from './ops.js'
import type { Random } from './random.js'
import type { RowMessage, Server, Snapshot, Txn } from './server.js'

export interface SourceProfile {
  readonly located: boolean
  readonly keyless: boolean
  readonly windows: boolean
  readonly shortReads: number
}

const column = (name: string) =>
  ({
    name,
    type: {
      kind: 'int64',
      native: 'bigint',
      base: 'int8',
      precision: null,
      scale: null,
      length: null,
      element: null,
      labels: null,
      domain: null,
    },
    nullable: true,
    generated: false,
    defaultValue: null,
  }) as const

export const schema = {
  id: 'public.t',
  database: 'sim',
  namespace: 'public',
  name: 't',
  dialect: 'postgres',
  columns: [column('id'), column('v'), column('t')],
  key: [0],
  fingerprint: 'sim',
} as unknown as TableSchema

const numeric: KeyOrder = { located: false, compare: (a, b) => Number(a[0]) - Number(b[0]) }

function inRange(k: number, { lo, hi }: KeyRange): boolean {
  if (lo !== null && (lo.side === 'before' ? k < Number(lo.key[0]) : k <= Number(lo.key[0]))) return false
  return hi === null || (hi.side === 'before' ? k < Number(hi.key[0]) : k <= Number(hi.key[0]))
}

const rowOf = (k: number, { v, t }: { v: number; t: number }): Row => [`${k}`, `${v}`, `${t}`]

export class SimSource implements Source {
  readonly connector = 'sim'
  readonly #server: Server
  readonly #ops: Ops
  readonly #random: Random
  readonly #process: object
  readonly #profile: SourceProfile
  readonly #released: (count: number) => void
  #incarnation: number

  constructor(
    server: Server,
    ops: Ops,
    random: Random,
    process: object,
    profile: SourceProfile,
    released: (count: number) => void,
  ) {
    this.#server = server
    this.#ops = ops
    this.#random = random
    this.#process = process
    this.#profile = profile
    this.#released = released
    this.#incarnation = server.incarnation
  }

  #wait<T>(name: string, work: () => T, ready?: () => boolean): Promise<T> {
    const guarded = () => {
      if (this.#incarnation !== this.#server.incarnation) throw connectionLost()
      return work()
    }
    return this.#ops.wait(
      name,
      this.#process,
      guarded,
      () => this.#incarnation !== this.#server.incarnation || (ready?.() ?? true),
    )
  }

  async open() {
    await this.#ops.wait('open', this.#process, () => {})
    this.#incarnation = this.#server.incarnation
    const order = this.#profile.located ? new LocatedOrder() : numeric
    const table: SourceTable = { schema, order, estimatedRows: 10, estimatedBytes: 1000 }
    return { identity: { server: 'sim' }, tables: [table], server: 'sim' }
  }

  async prepare(): Promise<void> {}

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
    for (;;) {
      const more = () => this.#server.deliverable(count) !== null || this.#server.flushed > idle
      const batch = await this.#wait(
        'deliver',
        () => {
          const txn = this.#server.deliverable(count)
          if (txn === null) {
            idle = this.#server.flushed
            return this.#batch([], count, 0, idle)
          }
          const upTo = Math.min(txn.messages.length, inside + 1 + this.#random.below(2))
          const items = itemsOf(txn, txn.messages.slice(inside, upTo), this.#ref(txn, count))
          const whole = upTo === txn.messages.length && this.#random.chance(0.7)
          inside = upTo
          if (!whole && inside < txn.messages.length) return this.#batch(items, count, inside, this.#before(count))
          inside = 0
          count++
          return this.#batch(items, count, 0, txn.end)
        },
        more,
      )
      yield batch
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
      bytes: items.length * 10,
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
    return new SimSession(this.#server, this.#random, this.#profile, (name, work, ready) =>
      this.#wait(name, work, ready),
    )
  }

  async refresh(): Promise<SourceTable> {
    throw new Error('the simulated table keeps its definition')
  }

  plan(_table: SourceTable, range: KeyRange, _rows: number, count: number): Promise<Key[]> {
    return this.#wait('plan', () => {
      const keys = [2, 4, 6, 8].filter((k) => inRange(k, range) && this.#random.chance(0.6))
      return keys.slice(0, count).map((k) => [`${k}`])
    })
  }

  locate(_table: SourceTable, keys: readonly Key[], bounds: readonly Key[]): Promise<Places> {
    const all = [...keys, ...bounds].map((k) => Number(k[0]))
    const count = (fits: (b: number, k: number) => boolean) =>
      all.map((k) => bounds.filter((b) => fits(Number(b[0]), k)).length)
    return this.#wait('locate', () => ({ below: count((b, k) => b < k), notAbove: count((b, k) => b <= k) }))
  }

  visible() {
    return this.#wait('visible', () => cutOf(this.#server.snapshot(), this.#profile.windows))
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

  async close(): Promise<void> {}
}

export function cutOf(s: Snapshot, windows: boolean) {
  if (windows) return positionCut(BigInt(s.after))
  return xidCut({ xmin: BigInt(s.xmin), xmax: BigInt(s.xmax), xip: s.xip.map(BigInt) }, BigInt(s.after))
}

export function connectionLost(): TidemarkError {
  return new TidemarkError('core.log_ended', { message: 'the server went away', retriable: true })
}

function itemsOf(txn: Txn, messages: readonly RowMessage[], ref: TxnRef): LogItem[] {
  return messages.map((m): LogItem => {
    if (m.op === 't') return { kind: 'truncate', txn: ref, schemas: [schema], at: txn.end }
    return { kind: 'rows', txn: ref, schema, changes: [changeOf(m, txn.end)], bytes: 10 }
  })
}

function changeOf(m: Exclude<RowMessage, { op: 't' }>, at: number): Change {
  switch (m.op) {
    case 'c':
      return { op: 'c', before: null, after: rowOf(m.k, m), at }
    case 'u':
      return { op: 'u', before: null, after: [`${m.k}`, `${m.v}`, undefined], at }
    case 'd':
      return { op: 'd', before: [`${m.k}`, undefined, undefined], after: null, at }
    case 'm':
      return {
        op: 'u',
        before: [`${m.from}`, undefined, undefined],
        after: [`${m.to}`, `${m.v}`, m.unsent ? undefined : `${m.t}`],
        at,
      }
  }
}

type Wait = <T>(name: string, work: () => T, ready?: () => boolean) => Promise<T>

class SimSession implements ChunkSession {
  #held = false
  #snapshot: Snapshot | null = null
  #incarnation = -1
  readonly #server: Server
  readonly #random: Random
  readonly #profile: SourceProfile
  readonly #wait: Wait

  constructor(server: Server, random: Random, profile: SourceProfile, wait: Wait) {
    this.#server = server
    this.#random = random
    this.#profile = profile
    this.#wait = wait
  }

  lock(): Promise<void> {
    this.#release()
    const free = () => this.#server.exclusive === null
    return this.#wait('lock', () => this.#hold(), free)
  }

  #hold(): void {
    this.#held = true
    this.#incarnation = this.#server.incarnation
    this.#server.shared++
  }

  #release(): void {
    if (this.#held && this.#incarnation === this.#server.incarnation) this.#server.shared--
    this.#held = false
  }

  async cut(): Promise<ChunkCut> {
    if (this.#snapshot !== null) await this.lock()
    return await this.#wait('snapshot', () => {
      const s = this.#server.snapshot()
      this.#snapshot = s
      const base = { cut: cutOf(s, this.#profile.windows), tsUs: 0n, at: BigInt(s.after), xid: BigInt(s.xmax) }
      if (!this.#profile.windows) return base
      return { ...base, window: { high: () => this.#wait('high', () => positionCut(BigInt(this.#server.inserted))) } }
    })
  }

  rows(_table: SourceTable, range: KeyRange): ChunkRead {
    const all = [...this.#snapshot!.rows].filter(([k]) => inRange(k, range)).sort(([a], [b]) => a - b)
    let stopped = false
    let resolve: (end: ChunkEnd) => void = () => {}
    const end = new Promise<ChunkEnd>((r) => {
      resolve = r
    })
    const session = this
    return {
      end,
      stop: () => {
        stopped = true
      },
      async *[Symbol.asyncIterator]() {
        let at = 0
        while (at < all.length) {
          const piece = await session.#wait('rows', (): ChunkRows => {
            const size = 1 + session.#random.below(3)
            const rows = all.slice(at, at + size).map(([k, row]) => rowOf(k, row))
            at += rows.length
            return { schema, rows, bytes: 10 * rows.length }
          })
          yield piece
          if (
            at < all.length &&
            !session.#profile.keyless &&
            (stopped || session.#random.chance(session.#profile.shortReads))
          )
            break
        }
        session.#release()
        resolve({ upTo: at >= all.length ? null : at > 0 ? { key: [`${all[at - 1]![0]}`], side: 'after' } : range.lo })
      },
    }
  }

  keys(_table: SourceTable, keys: readonly Key[]): Promise<ChunkRows[]> {
    return this.#wait('keys', () => {
      const rows = keys.flatMap((key) => {
        const row = this.#snapshot!.rows.get(Number(key[0]))
        return row ? [rowOf(Number(key[0]), row)] : []
      })
      return [{ schema, rows, bytes: 10 }]
    })
  }

  async end(): Promise<void> {
    this.#release()
    this.#snapshot = null
  }

  async close(): Promise<void> {
    this.#release()
  }
}
