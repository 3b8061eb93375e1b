/**
 * A PostgreSQL-like server in memory: xids, snapshots, row and table locks that are held until a commit is visible, and a
 * log whose insert, flush and delivery points move apart. A commit may be delivered long before it is visible, two
 * commits may become visible in the other order, and a crash loses what was not flushed and hands its xids out again.
 */
import type { Random } from './random.js'

export interface Stored {
  readonly v: number
  /** A value that is stored out of line: updates do not send it. */
  readonly t: number
}

export type RowMessage =
  | { readonly op: 'c'; readonly k: number; readonly v: number; readonly t: number }
  | { readonly op: 'u'; readonly k: number; readonly v: number }
  | { readonly op: 'd'; readonly k: number; readonly v: number }
  | {
      readonly op: 'm'
      readonly from: number
      readonly to: number
      readonly v: number
      readonly t: number
      readonly unsent: boolean
    }
  | { readonly op: 't' }

export interface Txn {
  readonly id: number
  xid: number
  readonly overlay: Map<number, Stored | null>
  readonly messages: RowMessage[]
  state: 'active' | 'limbo' | 'visible'
  truncated: boolean
  /** Place of the commit record in the log. */
  end: number
}

export interface Snapshot {
  readonly xmin: number
  readonly xmax: number
  readonly xip: readonly number[]
  /** Insert position when it was taken. */
  readonly after: number
  readonly rows: ReadonlyMap<number, Stored>
}

export interface ServerProfile {
  readonly keys: number
  readonly truncate: boolean
  readonly truncates: number
  readonly moves: number
  readonly toast: boolean
  /** prefix: commits become visible in log order at once (windows); free: in any order, late. */
  readonly visibility: 'free' | 'prefix'
}

const TXN_MAX = 5

export class Server {
  readonly commits: Txn[] = []
  /** Which version each version replaced, for the changelog oracle. */
  readonly previous = new Map<number, number>()
  visible = new Map<number, Stored>()
  flushed = 0
  /** Log length: the insert position. */
  inserted = 0
  incarnation = 0
  begun = 0
  exclusive: Txn | null = null
  /** Chunk readers that hold the table's shared lock. */
  shared = 0
  readonly #r: Random
  readonly #p: ServerProfile
  readonly #base: Map<number, Stored>
  readonly #locks = new Map<number, Txn>()
  #txns = new Set<Txn>()
  #xid = 100
  #version = 1
  #logXids: number[] = []

  constructor(random: Random, profile: ServerProfile) {
    this.#r = random
    this.#p = profile
    for (let k = 0; k < profile.keys; k++)
      if (random.chance(0.6)) this.visible.set(k, { v: this.#version++, t: 100_000 + k })
    this.#base = new Map(this.visible)
  }

  get active(): Txn[] {
    return [...this.#txns].filter((t) => t.state === 'active')
  }

  get limbo(): Txn[] {
    return [...this.#txns].filter((t) => t.state === 'limbo')
  }

  begin(): void {
    if (this.#txns.size >= TXN_MAX) return
    this.begun++
    this.#txns.add({
      id: this.begun,
      xid: 0,
      overlay: new Map(),
      messages: [],
      state: 'active',
      truncated: false,
      end: 0,
    })
  }

  /** One statement of a running transaction, if its locks can be had. */
  statement(txn: Txn): void {
    if (this.exclusive !== null && this.exclusive !== txn) return
    if (this.#p.truncate && this.#r.chance(this.#p.truncates) && this.#canTruncate(txn)) return this.#truncate(txn)
    const k = this.#r.below(this.#p.keys)
    if (!this.#lock(txn, k)) return
    const row = this.#row(txn, k)
    this.#needXid(txn)
    const v = this.#version++
    if (row === null) {
      this.#write(txn, { op: 'c', k, v, t: 500_000 + v }, [[k, { v, t: 500_000 + v }]])
      return
    }
    this.previous.set(v, row.v)
    const dice = this.#r.next()
    const { moves } = this.#p
    if (dice < moves) this.#move(txn, k, row, v)
    else if (dice < moves + (1 - moves) * 0.7) this.#write(txn, { op: 'u', k, v }, [[k, { v, t: row.t }]])
    else this.#write(txn, { op: 'd', k, v: row.v }, [[k, null]])
  }

  #move(txn: Txn, from: number, row: Stored, v: number): void {
    const to = this.#r.below(this.#p.keys)
    if (to === from || !this.#lock(txn, to) || this.#row(txn, to) !== null) return
    const unsent = this.#p.toast && this.#r.chance(0.7)
    const t = unsent ? row.t : 500_000 + v
    this.#write(txn, { op: 'm', from, to, v, t, unsent }, [
      [from, null],
      [to, { v, t }],
    ])
  }

  #write(txn: Txn, message: RowMessage, rows: readonly [number, Stored | null][]): void {
    for (const [k, row] of rows) txn.overlay.set(k, row)
    txn.messages.push(message)
    this.#log(txn.xid)
  }

  #canTruncate(txn: Txn): boolean {
    return (
      this.exclusive === null && this.shared === 0 && [...this.#txns].every((o) => o === txn || o.messages.length === 0)
    )
  }

  #truncate(txn: Txn): void {
    this.#needXid(txn)
    this.exclusive = txn
    txn.truncated = true
    txn.overlay.clear()
    this.#write(txn, { op: 't' }, [])
  }

  commit(txn: Txn): void {
    if (txn.xid === 0) return this.#forget(txn)
    txn.state = 'limbo'
    txn.end = this.#log(txn.xid)
    this.commits.push(txn)
    if (this.#p.visibility === 'prefix') this.show(txn)
  }

  abort(txn: Txn): void {
    if (txn.xid !== 0) this.#log(txn.xid)
    this.#forget(txn)
  }

  show(txn: Txn): void {
    if (txn.truncated) this.visible = new Map()
    for (const [k, row] of txn.overlay) {
      if (row === null) this.visible.delete(k)
      else this.visible.set(k, row)
    }
    txn.state = 'visible'
    this.#forget(txn)
  }

  snapshot(): Snapshot {
    const xip = [...this.#txns].filter((t) => t.xid !== 0).map((t) => t.xid)
    const xmin = Math.min(this.#xid, ...xip)
    return { xmin, xmax: this.#xid, xip, after: this.inserted, rows: new Map(this.visible) }
  }

  flush(to = this.inserted): void {
    this.flushed = Math.max(this.flushed, Math.min(to, this.inserted))
  }

  /** A transactional message committed with a flush (1.10 e). */
  mark(): void {
    this.#log(0)
    this.flush()
  }

  /** A record of something else, which moves the log on. */
  noise(): void {
    this.#log(0)
  }

  /** The next commits that a reader which delivered `count` of them may get. */
  deliverable(count: number): Txn | null {
    const txn = this.commits[count]
    return txn !== undefined && txn.end <= this.flushed ? txn : null
  }

  crash(): void {
    this.inserted = this.flushed
    this.#logXids = this.#logXids.slice(0, this.flushed)
    const kept = this.commits.filter((t) => t.end <= this.flushed)
    this.commits.length = 0
    this.commits.push(...kept)
    this.#txns = new Set()
    this.#locks.clear()
    this.exclusive = null
    this.shared = 0
    this.incarnation++
    this.visible = new Map(this.#base)
    for (const txn of kept) this.show(txn)
    // Xids beyond what the surviving log knows are handed out again.
    this.#xid = 100
    for (const xid of this.#logXids) if (xid >= this.#xid) this.#xid = xid + 1
  }

  #row(txn: Txn, k: number): Stored | null {
    if (txn.overlay.has(k)) return txn.overlay.get(k)!
    return txn.truncated ? null : (this.visible.get(k) ?? null)
  }

  #lock(txn: Txn, k: number): boolean {
    const holder = this.#locks.get(k)
    if (holder !== undefined && holder !== txn) return false
    this.#locks.set(k, txn)
    return true
  }

  #needXid(txn: Txn): void {
    if (txn.xid === 0) txn.xid = this.#xid++
  }

  #log(xid: number): number {
    this.#logXids.push(xid)
    return ++this.inserted
  }

  #forget(txn: Txn): void {
    this.#txns.delete(txn)
    for (const [k, holder] of this.#locks) if (holder === txn) this.#locks.delete(k)
    if (this.exclusive === txn) this.exclusive = null
  }
}
