/**
 * What the log does not say of a table: that it was dropped and made again, that ALTER TABLE changed the rows it has, that
 * a column goes by another name. The catalog is read together with a log position and judged against what was known
 * before once the log has passed that position (1.10 d); what is known goes into the checkpoint as the table's tag.
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import type { LogBatch } from '../../core/source.js'
import { type PgConnection, parseLsn } from '../../drivers/postgres.js'

/** A table as it was when it was looked at last. */
export interface TableTag {
  readonly oid: number
  /** Changes with every definition of a column, also by a rewrite. */
  readonly columns: string
  readonly names: Readonly<Record<string, string>>
  /** Storage of the table or of each of its partitions: another one after TRUNCATE, VACUUM FULL or a rewrite. */
  readonly files: Readonly<Record<string, string>>
}

/** Takes no lock on any table: what DDL is doing to one must not stop the log. */
const TAGS_SQL = `
with recursive tree(root, relid) as (
  select oid, oid from pg_class where oid = any($1::oid[]) or relname = any($3::text[])
  union all select t.root, i.inhrelid from tree t join pg_class c on c.oid = t.relid and c.relkind = 'p' join pg_inherits i on i.inhparent = t.relid)
select n.nspname, c.relname, json_build_object('oid', c.oid::int8,
  'columns', (select left(md5(string_agg(concat_ws(',', a.attnum, a.atttypid, a.atttypmod, a.xmin), ';' order by a.attnum)), 12)
    from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
  'names', (select json_object_agg(a.attnum, a.attname order by a.attnum) from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
  'files', (select coalesce(json_object_agg(t.relid::int8, pg_relation_filenode(t.relid)::text), '{}') from tree t
    join pg_class l on l.oid = t.relid where t.root = c.oid and l.relkind = 'r'))::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = any($1::oid[]) or (n.nspname, c.relname) in (select * from unnest($2::text[], $3::text[]))`

const ANEW =
  'Take the table out of `tables`, run once, empty its target, and put it back: it is then copied anew. Or `tidemark drop FILE`, empty the targets and start anew.'

interface Captured {
  readonly oid: number
  readonly id: TableId
  readonly namespace: string
  readonly name: string
}

export class TableWatch {
  readonly #connection: PgConnection
  readonly #ignoreRewrites: boolean
  readonly #note: (line: string) => void
  readonly #tables: readonly Captured[]
  readonly #known = new Map<TableId, TableTag>()
  readonly #truncated = new Set<TableId>()
  /** Tables that are gone, so that it is said once. */
  readonly #gone = new Set<TableId>()
  #seen: { readonly at: bigint; readonly tags: ReadonlyMap<TableId, TableTag> } | null = null

  constructor(
    connection: PgConnection,
    tables: readonly Captured[],
    options: { readonly ignoreRewrites: boolean; readonly note: (line: string) => void },
  ) {
    this.#connection = connection
    this.#tables = tables
    this.#ignoreRewrites = options.ignoreRewrites
    this.#note = options.note
  }

  /** What checkpoints keep; null before the table was looked at. */
  tag(id: TableId): string | null {
    const tag = this.#known.get(id)
    return tag === undefined ? null : JSON.stringify(tag)
  }

  /** The name that a column had when it was known last, where it has another one now. */
  formerName(id: TableId, name: string): string | undefined {
    const known = this.#known.get(id)
    const now = this.#seen?.tags.get(id)
    if (!known || !now) return undefined
    const place = Object.keys(now.names).find((n) => now.names[n] === name)
    const former = place === undefined ? undefined : known.names[place]
    return former === name ? undefined : former
  }

  /** The column of this name was there when the table was known last, maybe under another one. */
  knew(id: TableId, name: string): boolean {
    const known = this.#known.get(id)
    const names = (this.#seen?.tags.get(id) ?? known)?.names ?? {}
    return Object.keys(names).some((place) => names[place] === name && known?.names[place] !== undefined)
  }

  /** A resume: what the checkpoint knew. A table that was made again is an error at once. */
  async resume(known: ReadonlyMap<TableId, string | null>): Promise<void> {
    for (const [id, text] of known) if (text !== null) this.#known.set(id, JSON.parse(text) as TableTag)
    await this.look()
    for (const [id, tag] of this.#seen!.tags) {
      const before = this.#known.get(id)
      if (before === undefined) this.#known.set(id, tag)
      else if (before.oid !== tag.oid) throw recreated(id)
    }
  }

  /** A first start: whatever happened to the tables before this is in the rows that will be read. */
  async begin(): Promise<void> {
    await this.look()
    for (const [id, tag] of this.#seen!.tags) this.#known.set(id, tag)
    this.#seen = null
  }

  /** Reads the catalog, unless what was read last still waits for the log. */
  async look(): Promise<void> {
    if (this.#seen !== null) return
    const tags = new Map<TableId, TableTag>()
    const rows = await this.#connection.query(TAGS_SQL, [
      this.#tables.map((t) => `${t.oid}`),
      this.#tables.map((t) => t.namespace),
      this.#tables.map((t) => t.name),
    ])
    for (const table of this.#tables) {
      // By name first: a table that was renamed away and made again is another one.
      const row =
        rows.find(([namespace, name]) => namespace === table.namespace && name === table.name) ??
        rows.find(([, , tag]) => (JSON.parse(tag!) as TableTag).oid === table.oid)
      if (row !== undefined) tags.set(table.id, JSON.parse(row[2]!) as TableTag)
    }
    const [[lsn]] = (await this.#connection.query('select pg_current_wal_insert_lsn()::text')) as [[string]]
    this.#seen = { at: parseLsn(lsn), tags }
  }

  /** Called with every batch before it is passed on. Throws when rows that were copied are not what they were any more. */
  passed(batch: LogBatch): void {
    for (const item of batch.items) {
      if (item.kind === 'truncate') for (const { id } of item.schemas) this.#truncated.add(id)
    }
    const seen = this.#seen
    if (seen === null || batch.ordinal < seen.at - 1n) return
    for (const { id } of this.#tables) this.#judge(id, seen.tags.get(id))
    this.#seen = null
    this.#truncated.clear()
  }

  #judge(id: TableId, now: TableTag | undefined): void {
    const before = this.#known.get(id)
    if (now === undefined) {
      if (!this.#gone.has(id)) this.#note(`table ${id} was dropped; what was copied of it stays`)
      this.#gone.add(id)
      return
    }
    if (before !== undefined) {
      if (before.oid !== now.oid) throw recreated(id)
      const change = this.#truncated.has(id) ? null : rewritten(before, now)
      if (change !== null && !this.#ignoreRewrites) throw rewrittenError(id, change)
      if (change !== null) this.#note(`table ${id}: ${change}; ignored, as table.rewrites says`)
      for (const line of changedColumns(before, now)) this.#note(`table ${id}: ${line}`)
    }
    this.#known.set(id, now)
  }
}

/** Why rows that were copied may differ from what they are now, or null. */
export function rewritten(before: TableTag, now: TableTag): string | null {
  for (const [place, name] of Object.entries(now.names)) {
    const again = Object.entries(before.names).find(([was, n]) => n === name && was !== place)
    if (before.names[place] === undefined && again && now.names[again[0]] === undefined)
      return `column ${name} was dropped and added again`
  }
  const moved = Object.entries(before.files).some(
    ([leaf, file]) => now.files[leaf] !== undefined && now.files[leaf] !== file,
  )
  return moved && before.columns !== now.columns ? 'ALTER TABLE rewrote its rows' : null
}

/** What happened to columns, for people; added ones come with the log. */
function changedColumns(before: TableTag, now: TableTag): string[] {
  return Object.entries(before.names).flatMap(([place, name]) => {
    const to = now.names[place]
    if (to === undefined) return [`column ${name} was dropped; targets keep theirs`]
    return to === name ? [] : [`column ${name} was renamed to ${to}`]
  })
}

function recreated(id: TableId): TidemarkError {
  return new TidemarkError('postgres.table_recreated', {
    message: `table ${id} was dropped or renamed, and another one was made under its name: what was copied is of the old one`,
    fix: ANEW,
  })
}

function rewrittenError(id: TableId, change: string): TidemarkError {
  return new TidemarkError('postgres.rewritten', {
    message: `table ${id}: ${change}, which no log shows: rows that were copied may differ from what they are now`,
    fix: `${ANEW} If the values did not change (a wider type without USING), apply the same ALTER TABLE to the target and run once with --set source.table.rewrites=ignore.`,
  })
}
