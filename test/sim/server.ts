/**
 * A PostgreSQL-like server in memory: xids, snapshots, row and table locks that are held until a commit is visible, and a
 * log whose insert, flush and delivery points move apart. A commit may be delivered long before it is visible, two
 * commits may become visible in the other order, and a crash loses what was not flushed and hands its xids out again.
 */
import type { Random } from './random.js'
import {
  FIRST_TABLE,
  type RowMessage,
  SECOND_TABLE,
  type ServerProfile,
  type Snapshot,
  type Stored,
  type TableNumber,
  type Txn,
  tableOf,
} from './server-model.js'

/** Columns that a table may gain. */
const WIDTH_MAX = 8

export class Server {
  readonly commits: Txn[] = []
  /** Which version each version replaced, for the changelog oracle. */
  readonly previous = new Map<number, number>()
  /** How many added columns a version was written with; those columns hold values made from the version. */
  readonly widthOf = new Map<number, number>()
  visible = new Map<number, Stored>()
  flushed = 0
  /** Log length: the insert position. */
  inserted = 0
  incarnation = 0
  /** Who holds, or waits for, the exclusive lock of each table. */
  readonly exclusive: (Txn | null)[] = [null, null]
  readonly queued: ({ txn: Txn; what: 't' | 'a' } | null)[] = [null, null]
  /** Chunk readers that hold each table's shared lock. */
  shared = [0, 0]
  widths = [0, 0]
  /** How often each table got new storage. */
  readonly rewrites = [0, 0]
  readonly #published: boolean[]
  readonly #r: Random
  readonly #p: ServerProfile
  readonly #keys: number[] = []
  readonly #base: Map<number, Stored>
  readonly #locks = new Map<number, Txn>()
  #txns = new Set<Txn>()
  #begun = 0
  #xid = 100
  #version = 1
  #logXids: number[] = []

  constructor(random: Random, profile: ServerProfile) {
    this.#r = random
    this.#p = profile
    this.#published = [true, profile.wide]
    const second = profile.added || profile.wide
    for (let k = 0; k < profile.keys; k++) this.#keys.push(k, ...(second ? [SECOND_TABLE + k] : []))
    for (const k of this.#keys) {
      if (!random.chance(0.6)) continue
      this.visible.set(k, { v: this.#version, t: 100_000 + k })
      this.widthOf.set(this.#version++, 0)
    }
    this.#base = new Map(this.visible)
  }

  get active(): Txn[] {
    return [...this.#txns].filter((t) => t.state === 'active')
  }

  /** Commits that may become visible now. */
  get limbo(): Txn[] {
    const all = [...this.#txns].filter((t) => t.state === 'limbo')
    if (this.#p.visibility === 'free') return all
    return all.sort((a, b) => a.end - b.end).slice(0, 1)
  }

  begin(): void {
    if (this.#txns.size >= this.#p.txns) return
    this.#txns.add({
      id: ++this.#begun,
      xid: 0,
      blind: false,
      overlay: new Map(),
      touched: new Set(),
      truncated: new Set(),
      widths: new Map(),
      messages: [],
      state: 'active',
      end: 0,
    })
  }

  /** One statement of a running transaction, if its locks can be had. */
  statement(txn: Txn): void {
    this.#grant()
    if (this.queued.some((waiter) => waiter?.txn === txn)) return
    const k = this.#r.pick(this.#keys)
    const table = tableOf(k)
    const owner = this.exclusive[table] ?? this.queued[table]?.txn ?? txn
    if (owner !== txn) return
    const what = this.#definition(txn, table)
    if (what === null) return this.#row(txn, k, table)
    this.queued[table] = { txn, what }
    this.#grant()
  }

  #definition(txn: Txn, table: TableNumber): 't' | 'a' | null {
    const { truncates, alters } = this.#p
    if (truncates > 0 && this.#r.chance(truncates)) return 't'
    return alters > 0 && this.#width(txn, table) < WIDTH_MAX && this.#r.chance(alters) ? 'a' : null
  }

  /** Who waits for an exclusive lock gets it when nobody else has used the table. */
  #grant(): void {
    for (const table of [FIRST_TABLE, 1] as const) {
      const waiter = this.queued[table]
      if (!waiter || this.shared[table]! > 0) continue
      const { txn, what } = waiter
      if ([...this.#txns].some((o) => o !== txn && o.touched.has(table))) continue
      this.queued[table] = null
      this.exclusive[table] = txn
      this.#needXid(txn)
      if (what === 't') this.#truncate(txn, table)
      else this.#alter(txn, table)
    }
  }

  #row(txn: Txn, k: number, table: TableNumber): void {
    if (!this.#lock(txn, k)) return
    const row = this.#read(txn, k)
    this.#needXid(txn)
    const v = this.#version++
    const width = this.#width(txn, table)
    this.widthOf.set(v, width)
    const common = { table, width, k, v }
    if (row === null) {
      const fresh = { v, t: 500_000 + v }
      this.#write(txn, { op: 'c', ...common, t: fresh.t, old: null }, [[k, fresh]])
      return
    }
    this.previous.set(v, row.v)
    const dice = this.#r.next()
    const { moves } = this.#p
    if (dice < moves) this.#move(txn, k, row, common)
    else if (dice < moves + (1 - moves) * 0.7)
      this.#write(txn, { op: 'u', ...common, t: row.t, old: row }, [[k, { v, t: row.t }]])
    else this.#write(txn, { op: 'd', ...common, t: row.t, old: row }, [[k, null]])
  }

  #move(txn: Txn, from: number, row: Stored, common: { table: TableNumber; width: number; v: number }): void {
    const to = this.#r.pick(this.#keys)
    if (to === from || tableOf(to) !== common.table || !this.#lock(txn, to) || this.#read(txn, to) !== null) return
    const unsent = this.#p.toast && this.#r.chance(0.7)
    const t = unsent ? row.t : 500_000 + common.v
    this.#write(txn, { op: 'm', ...common, k: to, from, t, unsent, old: row }, [
      [from, null],
      [to, { v: common.v, t }],
    ])
  }

  #write(txn: Txn, message: RowMessage, rows: readonly [number, Stored | null][]): void {
    for (const [k, row] of rows) txn.overlay.set(k, row)
    txn.touched.add(message.table)
    // 1.10 j: a transaction that was under way when the table was published writes it past the log.
    if (this.#published[message.table] && !(message.table === 1 && txn.blind)) txn.messages.push(message)
    this.#log(txn.xid)
  }

  #truncate(txn: Txn, table: TableNumber): void {
    txn.truncated.add(table)
    for (const k of [...txn.overlay.keys()]) if (tableOf(k) === table) txn.overlay.delete(k)
    this.#write(txn, { op: 't', table, width: this.#width(txn, table) }, [])
  }

  /** A column with a default that has to be computed for every row: new storage, and nothing in the log. */
  #alter(txn: Txn, table: TableNumber): void {
    txn.widths.set(table, this.#width(txn, table) + 1)
    txn.touched.add(table)
    this.#log(txn.xid)
  }

  commit(txn: Txn): void {
    if (txn.xid === 0) return this.#forget(txn)
    txn.state = 'limbo'
    this.#unqueue(txn)
    txn.end = this.#log(txn.xid)
    this.commits.push(txn)
    if (this.#p.visibility === 'prefix') this.show(txn)
  }

  abort(txn: Txn): void {
    if (txn.xid !== 0) this.#log(txn.xid)
    this.#forget(txn)
  }

  show(txn: Txn): void {
    for (const k of [...this.visible.keys()]) if (txn.truncated.has(tableOf(k))) this.visible.delete(k)
    for (const [k, row] of txn.overlay) {
      if (row === null) this.visible.delete(k)
      else this.visible.set(k, row)
    }
    for (const table of new Set([...txn.truncated, ...txn.widths.keys()])) this.rewrites[table]!++
    for (const [table, width] of txn.widths) this.widths[table] = width
    txn.state = 'visible'
    this.#forget(txn)
  }

  snapshot(): Snapshot {
    const xip = [...this.#txns].filter((t) => t.xid !== 0).map((t) => t.xid)
    const unseen = [...this.#txns].filter((t) => t.state === 'limbo').map((t) => t.end - 1)
    return {
      xmin: Math.min(this.#xid, ...xip),
      xmax: this.#xid,
      xip,
      after: this.inserted,
      low: Math.min(this.inserted, ...unseen),
      rows: new Map(this.visible),
      widths: [...this.widths],
      rewrites: [...this.rewrites],
    }
  }

  /** Adds the second table to the publication, durably. */
  publish(): void {
    if (this.#published[1]) return
    this.#published[1] = true
    for (const txn of this.#txns) txn.blind = txn.xid !== 0
    this.mark()
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

  /** The next commit that a reader which delivered `count` of them may get. */
  deliverable(count: number): Txn | null {
    const txn = this.commits[count]
    return txn !== undefined && txn.end <= this.flushed ? txn : null
  }

  crash(): void {
    this.inserted = this.flushed
    this.#logXids = this.#logXids.slice(0, this.flushed)
    const kept = this.commits.filter((t) => t.end <= this.flushed)
    this.commits.splice(0, this.commits.length, ...kept)
    this.#txns = new Set()
    this.#locks.clear()
    this.exclusive.fill(null)
    this.queued.fill(null)
    this.shared = [0, 0]
    this.widths = [0, 0]
    this.incarnation++
    this.visible = new Map(this.#base)
    for (const txn of kept) this.show(txn)
    // Xids beyond what the surviving log knows are handed out again.
    this.#xid = 100
    for (const xid of this.#logXids) if (xid >= this.#xid) this.#xid = xid + 1
  }

  #read(txn: Txn, k: number): Stored | null {
    if (txn.overlay.has(k)) return txn.overlay.get(k)!
    return txn.truncated.has(tableOf(k)) ? null : (this.visible.get(k) ?? null)
  }

  #width(txn: Txn, table: TableNumber): number {
    return txn.widths.get(table) ?? this.widths[table]!
  }

  #lock(txn: Txn, k: number): boolean {
    const holder = this.#locks.get(k)
    if (holder !== undefined && holder !== txn) return false
    this.#locks.set(k, txn)
    txn.touched.add(tableOf(k))
    return true
  }

  #needXid(txn: Txn): void {
    if (txn.xid === 0) txn.xid = this.#xid++
  }

  #log(xid: number): number {
    this.#logXids.push(xid)
    return ++this.inserted
  }

  #unqueue(txn: Txn): void {
    this.queued.forEach((waiter, i) => {
      if (waiter?.txn === txn) this.queued[i] = null
    })
  }

  #forget(txn: Txn): void {
    this.#txns.delete(txn)
    this.#unqueue(txn)
    for (const [k, holder] of this.#locks) if (holder === txn) this.#locks.delete(k)
    this.exclusive.forEach((holder, i) => {
      if (holder === txn) this.exclusive[i] = null
    })
  }
}
