/**
 * What the log does not say of a table: that it was dropped and made again, that ALTER TABLE changed the rows it has, that
 * a name belongs to another column, that it was out of the publication for a while. The catalog is read together with a
 * log position and judged against what was known before once the log has passed that position (1.10 d); what is known
 * goes into the checkpoint as the table's tag.
 */
import type { ColumnType, TableId } from '../../core/model.js'
import type { LogBatch } from '../../core/source.js'
import type { PgConnection } from '../../drivers/postgres.js'
import { askRows } from './old-rows.js'
import { attachedChange, doubts, partitionChanges, settled, unloggedChange } from './storage-change.js'
import {
  addedColumns,
  changedColumns,
  keyChange,
  labelsChange,
  nameChange,
  nowPublishing,
  publicationChange,
  rewrittenError,
  tableRecreated,
  wasMoved,
  wasRewritten,
} from './table-change.js'
import { type Captured, type SeenTable, type TableTag, type TagOptions, TagReader, typeOf } from './table-tag.js'

/** A look at a table that the log has yet to pass. */
interface Pending {
  readonly at: bigint
  /** Looks that began later win. */
  readonly turn: number
  /** null: the table is gone. */
  readonly seen: SeenTable | null
}

export interface WatchOptions extends TagOptions {
  readonly ignoreRewrites: boolean
  readonly ignorePartitions: boolean
  /** A connection for questions that may take long. */
  readonly connect: () => Promise<PgConnection>
  readonly note: (line: string) => void
}

export class TableWatch {
  readonly #connection: PgConnection
  readonly #reader: TagReader
  readonly #o: WatchOptions
  readonly #tables: readonly Captured[]
  readonly #known = new Map<TableId, TableTag>()
  readonly #texts = new WeakMap<TableTag, string>()
  /**
   * The first look and the last, in this order: a later one does not put off what the first has seen, or a run that is
   * caught up would end before it is judged.
   */
  readonly #pending = new Map<TableId, readonly [first: Pending] | readonly [first: Pending, last: Pending]>()
  /** Tables that are gone, so that it is said once. */
  readonly #gone = new Set<TableId>()
  /** Where the last look at all tables is judged. */
  #looked: bigint | null = null
  #turn = 0

  constructor(connection: PgConnection, tables: readonly Captured[], options: WatchOptions) {
    this.#connection = connection
    this.#reader = new TagReader(connection, options)
    this.#tables = tables
    this.#o = options
  }

  /** What checkpoints keep; null before the table was looked at. */
  tag(id: TableId): string | null {
    const tag = this.#known.get(id)
    if (tag === undefined) return null
    // Asked for by every checkpoint.
    const text = this.#texts.get(tag) ?? JSON.stringify(tag)
    this.#texts.set(tag, text)
    return text
  }

  /** The name that a column had when it was known last, where it has another one now. */
  formerName(id: TableId, name: string): string | undefined {
    const known = this.#known.get(id)
    const now = this.#now(id)
    if (!known || !now) return undefined
    const place = Object.keys(now.names).find((n) => now.names[n] === name)
    const former = place === undefined ? undefined : known.names[place]
    return former === name ? undefined : former
  }

  /** The column of this name was there when the table was known last, maybe under another one. */
  knew(id: TableId, name: string): boolean {
    const known = this.#known.get(id)
    const names = (this.#now(id) ?? known)?.names ?? {}
    return Object.keys(names).some((place) => names[place] === name && known?.names[place] !== undefined)
  }

  /**
   * What older rows hold in a column that was added since the table was copied; undefined: it was not, nobody can tell, or
   * targets need nothing of it. `missing`: what the catalog says of rows without it.
   */
  filled(id: TableId, name: string, missing: string | undefined): string | null | undefined {
    const known = this.#known.get(id)
    if (known === undefined || this.#o.ignoreRewrites) return undefined
    const now = this.#now(id) ?? known
    const place = Object.keys(now.names).find((n) => now.names[n] === name)
    // A column that the last look did not see is newer than that.
    if (place === undefined) return missing
    if (!addedColumns(known, now).includes(place)) return undefined
    // A rewrite puts the value into the rows, and the catalog forgets it. Of partitions it does so one by one.
    return missing ?? (wasMoved(known, now) ? undefined : null)
  }

  /** A type of the table's columns that may be gone by now; null: it was never seen. */
  typeOf(id: TableId, oid: number): ColumnType | null {
    const known = this.#known.get(id)
    return known === undefined ? null : typeOf(known, oid)
  }

  /** A resume: what the checkpoint knew. What no later piece of the log can put right is an error at once. */
  async resume(known: ReadonlyMap<TableId, string | null>): Promise<void> {
    for (const [id, text] of known) if (text !== null) this.#known.set(id, JSON.parse(text) as TableTag)
    await this.look()
    for (const [id, [{ seen }]] of this.#pending) {
      const before = this.#known.get(id)
      if (seen === null) continue
      if (before === undefined) {
        this.#known.set(id, seen.tag)
        continue
      }
      this.#known.set(id, this.#sameTable(id, before, seen.tag))
      // Before the sink sees the new columns and labels: what it advises would hide that they are other ones.
      const changed = nameChange(id, before, seen.tag) ?? labelsChange(id, before, seen)
      if (changed !== null && !this.#o.ignoreRewrites) throw changed
    }
  }

  /** A first start: whatever happened to the tables before this is in the rows that will be read. */
  async begin(): Promise<void> {
    const { tables } = await this.#reader.read(this.#tables)
    for (const [id, { tag }] of tables) this.#known.set(id, tag)
    this.#pending.clear()
    this.#looked = null
  }

  /** Tables that were added have joined the publication by now: from here on they may not leave it. */
  async joined(): Promise<void> {
    const added = this.#tables.filter(({ id }) => this.#known.get(id)?.published === null)
    if (added.length === 0) return
    const { tables } = await this.#reader.read(added)
    for (const [id, { tag }] of tables) {
      this.#known.set(id, tag)
      this.#pending.delete(id)
    }
  }

  /** Reads the catalog, unless what was read last still waits for the log. */
  async look(): Promise<void> {
    if (this.#looked !== null) return
    this.#looked = await this.#read(this.#tables)
  }

  /**
   * Looks at the one table whose new definition the log has come to. Throws when its columns have changed names among
   * each other: not even the next row can be written then.
   */
  async lookAt(id: TableId): Promise<void> {
    await this.#read(this.#tables.filter((table) => table.id === id))
    const before = this.#known.get(id)
    const now = this.#now(id)
    if (!before || !now) return
    this.#sameTable(id, before, now)
    const moved = nameChange(id, before, now)
    if (moved !== null && !this.#o.ignoreRewrites) throw moved
  }

  async #read(tables: readonly Captured[]): Promise<bigint> {
    const turn = ++this.#turn
    const { at, tables: found } = await this.#reader.read(tables)
    for (const { id } of tables) {
      const seen = await this.#asked(id, found.get(id) ?? null)
      const [first, last = first] = this.#pending.get(id) ?? []
      if ((last?.turn ?? 0) > turn) continue
      this.#pending.set(id, first === undefined ? [{ at, turn, seen }] : [first, { at, turn, seen }])
    }
    return at
  }

  /** With what only rows can tell of what has changed. */
  async #asked(id: TableId, seen: SeenTable | null): Promise<SeenTable | null> {
    const before = this.#known.get(id)
    const open = before && seen ? doubts(before, seen.tag) : []
    if (seen === null || open.length === 0) return seen
    return { ...seen, answers: await askRows(this.#connection, this.#o.connect, open) }
  }

  /** Called with every batch before it is passed on. Throws when rows that were copied are not what they were any more. */
  passed({ ordinal, items }: LogBatch): void {
    for (const item of items) {
      if (item.kind !== 'truncate') continue
      for (const { id } of item.schemas) {
        const tag = this.#known.get(id)
        // A look of before may show it already or not.
        if (tag?.at !== undefined) this.#known.set(id, { ...tag, truncated: `${item.txn.xid}` })
      }
    }
    const reached = (at: bigint) => ordinal >= at - 1n
    for (const [id, looks] of this.#pending) {
      const left = looks.filter(({ at }) => !reached(at))
      if (left.length === looks.length) continue
      if (left[0] === undefined) this.#pending.delete(id)
      else this.#pending.set(id, [left[0]])
      for (const look of looks) if (!left.includes(look)) this.#pass(id, look)
    }
    if (this.#looked !== null && reached(this.#looked)) this.#looked = null
  }

  #pass(id: TableId, { seen }: Pending): void {
    if (seen !== null) this.#judge(id, seen)
    else if (!this.#gone.has(id)) {
      this.#gone.add(id)
      this.#o.note(`table ${id} was dropped; what was copied of it stays`)
    }
  }

  /** As it was seen last, where the log has yet to come to that. */
  #now(id: TableId): TableTag | undefined {
    return this.#pending.get(id)?.at(-1)?.seen?.tag
  }

  #judge(id: TableId, now: SeenTable): void {
    const known = this.#known.get(id)
    if (known === undefined) {
      this.#known.set(id, now.tag)
      return
    }
    const before = this.#sameTable(id, known, now.tag)
    this.#refuse(id, nameChange(id, before, now.tag))
    this.#refuse(id, labelsChange(id, before, now))
    this.#refuse(id, wasRewritten(before, now.tag) ? rewrittenError(id, before, now.tag) : null)
    this.#storage(id, before, now)
    for (const line of changedColumns(before, now.tag)) this.#o.note(`table ${id}: ${line}`)
    const added = this.#o.ignoreRewrites ? [] : addedColumns(before, now.tag)
    const tag = settled(before, now)
    this.#known.set(id, {
      ...tag,
      // Without a key the server takes inserts only, until there is one again.
      key: tag.key ?? before.key ?? null,
      ...(added.length > 0 ? { added: added.join(' ') } : {}),
    })
  }

  #storage(id: TableId, before: TableTag, now: SeenTable): void {
    this.#refuse(id, unloggedChange(id, before, now))
    this.#refuse(id, attachedChange(id, before, now.tag))
    const { error, notes } = partitionChanges(id, before, now, this.#connection.options.user)
    for (const line of notes) this.#o.note(`table ${id}: ${line}`)
    if (error === null) return
    if (!this.#o.ignorePartitions) throw error
    this.#o.note(`${error.message}; ignored, as table.partitions says`)
  }

  /** What was known, with what may have become known only now. Throws for what makes the copy another table's. */
  #sameTable(id: TableId, before: TableTag, now: TableTag): TableTag {
    if (before.oid !== now.oid) throw tableRecreated(id)
    const key = keyChange(id, before, now)
    if (key !== null) throw key
    const generated = nowPublishing(id, before, now)
    if (generated !== null) throw generated
    const { published } = now
    if (published === undefined || published === before.published) return before
    this.#refuse(id, publicationChange(id, this.#o.publication, before, now))
    return { ...before, published }
  }

  #refuse(id: TableId, error: Error | null): void {
    if (error === null) return
    if (!this.#o.ignoreRewrites) throw error
    this.#o.note(`table ${id}: ${error.message}; ignored, as table.rewrites says`)
  }
}
