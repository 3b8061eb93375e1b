/**
 * What is known of a table between two looks at the catalog, and across restarts as the tag in its checkpoint. Always
 * true: reading it takes no lock on any table, one statement shows all tables as of one moment, and a tag is short - a
 * checkpoint has one of every table. Fields that an older version did not write are unknown.
 */
import { createHash } from 'node:crypto'
import type { ColumnType, TableId } from '../../core/model.js'
import { type PgConnection, parseLsn } from '../../drivers/postgres.js'
import { TypeCache } from './column-types.js'
import { EmptyPartitions } from './old-rows.js'
import type { Answer } from './storage-change.js'

/** OIDs from here on belong to what users make. */
const USER_OID_MIN = 16_384
/** Publications take whole schemas from this version on. */
export const SCHEMAS_VERSION_MIN = 150_000
/** Partitions may be about to be detached from this version on. */
const PENDING_VERSION_MIN = 140_000

export interface TableTag {
  readonly oid: number
  /** Changes with every definition of a column, also by a rewrite. */
  readonly columns: string
  /** Columns by the number that they keep for life. */
  readonly names: Readonly<Record<string, string>>
  /**
   * Storage of the table or of each of its partitions, by OID: another one after TRUNCATE, VACUUM FULL or a rewrite. Of
   * partitions, and where a publication has the table by a rule, more than that: see leafOf().
   */
  readonly files: Readonly<Record<string, string>>
  /** Numbers of the columns of its key (1.10 h), in their order; null: it has none. */
  readonly key?: string | null
  /** What its place in the publication was made as; null: it is not in there. */
  readonly published?: string | null
  /** Where `files` say more: all transactions below this one were over when it was read. */
  readonly at?: string
  /** The transaction of the last TRUNCATE that the log had since. */
  readonly truncated?: string
  /** What redefined all its columns at once, as ATTACH and DETACH do; `partition`: it is one. Of tables published by a rule. */
  readonly redefined?: string
  /** Numbers of generated columns that are left out. */
  readonly without?: string
  /** Numbers of columns that were added since the table was copied. */
  readonly added?: string
  /** Types that users made, by OID: the log may still have them when the catalog does not. */
  readonly types?: Readonly<Record<string, Partial<ColumnType>>>
  /** Labels of enums that columns are made of, by OID; see labelsTag(). */
  readonly labels?: Readonly<Record<string, string>>
}

/** A table as the catalog shows it. */
export interface SeenTable {
  readonly tag: TableTag
  /** By OID. */
  readonly enums: ReadonlyMap<string, EnumType>
  /** What rows said of storage that another tag was compared with, by OID. */
  readonly answers?: ReadonlyMap<string, Answer>
}

interface EnumType {
  readonly name: string
  /** In the order they were made. */
  readonly labels: string[]
}

export interface Captured {
  readonly oid: number
  readonly id: TableId
  readonly namespace: string
  readonly name: string
}

export interface TagOptions {
  readonly version: number
  readonly publication: string
  /** Kinds of generated columns (pg_attribute.attgenerated) that are left out. */
  readonly without: readonly string[]
}

export class TagReader {
  readonly #connection: PgConnection
  readonly #publication: string
  readonly #without: readonly string[]
  readonly #sql: string
  readonly #types = new TypeCache()
  readonly #empty = new EmptyPartitions()

  constructor(connection: PgConnection, { version, publication, without }: TagOptions) {
    this.#connection = connection
    this.#publication = publication
    this.#without = without
    this.#sql = tagsSql(version)
  }

  /** The tables as they are, and a position that the log has behind everything they show. Tables that are gone are absent. */
  async read(tables: readonly Captured[]): Promise<{ at: bigint; tables: Map<TableId, SeenTable> }> {
    const rows = await this.#connection.query(this.#sql, [
      tables.map((t) => `${t.oid}`),
      tables.map((t) => t.namespace),
      tables.map((t) => t.name),
      this.#publication,
      this.#without,
    ])
    const tags = rows.map(([, , text]) => JSON.parse(text!) as TableTag)
    const marked = await this.#empty.mark(this.#connection, tags)
    const found = rows.map(([namespace, name, , types], i) => ({
      name: JSON.stringify([namespace, name]),
      tag: marked.get(tags[i]!) ?? tags[i]!,
      types: types === null || types === undefined ? [] : types.split(' '),
    }))
    const parts = await this.#details([...new Set(found.flatMap((f) => f.types))])
    const [[lsn]] = (await this.#connection.query('select pg_current_wal_insert_lsn()::text')) as [[string]]
    // By name first: a table that was renamed away and made again is another one.
    const byName = new Map(found.map((f) => [f.name, f]))
    const byOid = new Map(found.map((f) => [f.tag.oid, f]))
    const seen = new Map<TableId, SeenTable>()
    for (const { id, oid, namespace, name } of tables) {
      const row = byName.get(JSON.stringify([namespace, name])) ?? byOid.get(oid)
      if (row) seen.set(id, this.#complete(row, parts))
    }
    return { at: parseLsn(lsn), tables: seen }
  }

  #complete(
    { tag, types }: { tag: TableTag; types: readonly string[] },
    parts: ReadonlyMap<string, ReadonlyMap<string, EnumType>>,
  ): SeenTable {
    if (types.length === 0) return { tag, enums: new Map() }
    const enums = new Map(types.flatMap((oid) => [...(parts.get(oid) ?? [])]))
    const described = types.flatMap((oid) => {
      // It may have been dropped since the columns were read.
      if (!this.#types.has(Number(oid))) return []
      return [[oid, compact(this.#types.columnType(Number(oid), -1))] as const]
    })
    const digests = [...enums].map(([oid, { labels }]) => [oid, labelsTag(labels)] as const)
    return {
      tag: {
        ...tag,
        types: Object.fromEntries(described),
        ...(digests.length > 0 ? { labels: Object.fromEntries(digests) } : {}),
      },
      enums,
    }
  }

  /** Of each type the enums that it is made of. */
  async #details(types: readonly string[]): Promise<Map<string, Map<string, EnumType>>> {
    const parts = new Map<string, Map<string, EnumType>>()
    if (types.length === 0) return parts
    await this.#types.load(this.#connection, types)
    for (const [type, oid, name, label] of await this.#connection.query(LABELS_SQL, [types])) {
      const mine = parts.get(type!) ?? new Map<string, EnumType>()
      parts.set(type!, mine)
      const part = mine.get(oid!) ?? { name: name!, labels: [] }
      mine.set(oid!, part)
      part.labels.push(label!)
    }
    return parts
  }
}

/** Labels are never dropped and new ones get higher OIDs, so the ones known before are the first of those known later. */
export function labelsTag(labels: readonly string[], count = labels.length): string {
  const digest = createHash('sha256').update(JSON.stringify(labels.slice(0, count)))
  return `${count}.${digest.digest('hex').slice(0, 8)}`
}

/** Without what only its maker needs. */
function compact(type: ColumnType): Partial<ColumnType> {
  const entries = Object.entries({ ...type, element: type.element && compact(type.element) })
  return Object.fromEntries(entries.filter(([name, value]) => value !== null && name !== 'labels'))
}

/** The type of this OID as a tag knows it. */
export function typeOf({ types }: TableTag, oid: number): ColumnType | null {
  const known = types?.[oid]
  return known === undefined ? null : whole(known)
}

function whole(known: Partial<ColumnType>): ColumnType {
  const { kind = 'other', native = 'text', base = native } = known
  const blank = { precision: null, scale: null, length: null, labels: null, domain: null }
  return { ...blank, ...known, kind, native, base, element: known.element ? whole(known.element) : null }
}

const LABELS_SQL = `
with recursive part(root, oid) as (
  select x, x from unnest($1::oid[]) x
  union select p.root, case t.typtype when 'd' then t.typbasetype else t.typelem end from part p join pg_type t on t.oid = p.oid
    where t.typtype = 'd' or t.typelem <> 0)
select p.root, e.enumtypid, n.nspname || '.' || t.typname, e.enumlabel
from part p join pg_enum e on e.enumtypid = p.oid join pg_type t on t.oid = p.oid join pg_namespace n on n.oid = t.typnamespace order by e.oid`

/** One pass over each catalog table, not one for each captured table: it is read on every heartbeat. */
function tagsSql(version: number): string {
  // Its place is made anew when a table leaves the schema and comes back.
  const bySchema =
    version >= SCHEMAS_VERSION_MIN
      ? `union all select w.oid, n.oid::text || '.' || d.xmin::text, true from wanted w join pub on true
    join pg_publication_namespace n on n.pnpubid = pub.oid and n.pnnspid = w.relnamespace
    join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = w.oid and d.objsubid = 0 and d.refclassid = 'pg_namespace'::regclass`
      : ''
  const attached = version >= PENDING_VERSION_MIN ? 'and not i.inhdetachpending' : ''
  return `
with recursive wanted as materialized (
  select c.oid, c.relname, c.relnamespace, n.nspname, c.relkind, c.relreplident, c.relispartition
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.oid = any($1::oid[]) or (c.relname = any($3::text[]) and (n.nspname, c.relname) in (select * from unnest($2::text[], $3::text[])))),
tree(root, relid, kind, joined) as (
  select oid, oid, relkind, null::text from wanted
  union all select t.root, i.inhrelid, c.relkind, concat_ws('.', t.joined, i.xmin) from tree t
    join pg_inherits i on i.inhparent = t.relid ${attached} join pg_class c on c.oid = i.inhrelid where t.kind = 'p'),
file as (
  select t.root, json_object_agg(t.relid::int8, case when t.joined is null and r.oid is null then c.relfilenode::text
    else concat_ws(' ', case when c.relfilenode <> c.oid then c.relfilenode::text else '' end
        || case when c.relkind = 'f' then 'f' when c.relpersistence <> 'p' then 'u' else '' end,
      case when c.reltoastrelid = 0 then '' else (c.reltoastrelid::int8 - c.oid::int8)::text end, t.joined,
      case when t.joined is null then null when c.relnamespace <> w.relnamespace then n.nspname || '.' || c.relname
        when starts_with(c.relname, w.relname) then '*' || substr(c.relname, length(w.relname) + 1) else c.relname end) end) as files
  from tree t join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace join wanted w on w.oid = t.root
  left join ruled r on r.oid = t.root
  where t.kind in ('r', 'f') group by t.root),
attribute as (
  select attrelid, left(md5(string_agg(concat_ws(',', attnum, atttypid, atttypmod, xmin), ';' order by attnum)), 12) as columns,
    json_object_agg(attnum, attname order by attnum) as names,
    string_agg(attnum::text, ' ' order by attnum) filter (where attgenerated = any($5::"char"[])) as without,
    string_agg(distinct atttypid::text, ' ') filter (where atttypid >= ${USER_OID_MIN}) as types
  from pg_attribute where attrelid in (select oid from wanted) and attnum > 0 and not attisdropped group by attrelid),
pub as (select oid, xmin, puballtables from pg_publication where pubname = $4),
member(relid, place, ruled) as (
  select w.oid, r.oid::text, false from wanted w join pub on true join pg_publication_rel r on r.prpubid = pub.oid and r.prrelid = w.oid ${bySchema}),
place as (select relid, string_agg(place, ' ' order by place) as places, bool_and(ruled) as ruled from member group by relid),
ruled as (select w.oid, w.relispartition from wanted w left join place p on p.relid = w.oid where coalesce(p.ruled, (select puballtables from pub), false)),
redefined as (
  select r.oid, case when r.relispartition then 'partition' when count(distinct m.mark) filter (where a.attnum > 0) = 1
    and count(*) filter (where a.attnum > 0) > 1 then nullif(max(m.mark) filter (where a.attnum > 0), max(m.mark) filter (where a.attnum < 0)) end as mark
  from ruled r join pg_attribute a on a.attrelid = r.oid and (a.attnum = -1 or a.attnum > 0 and not a.attisdropped)
  cross join lateral (select a.xmin::text || '.' || a.cmin::text as mark) m group by r.oid, r.relispartition)
select w.nspname, w.relname, json_strip_nulls(json_build_object('oid', w.oid::int8, 'columns', a.columns, 'names', coalesce(a.names, '{}'),
  'files', coalesce(f.files, '{}'), 'without', a.without, 'redefined', (select mark from redefined r where r.oid = w.oid),
  'at', case when w.relkind = 'p' or w.oid in (select oid from ruled) then pg_snapshot_xmin(pg_current_snapshot())::text end))::jsonb || jsonb_build_object(
  'key', (select i.indkey::text from pg_index i where i.indrelid = w.oid and case w.relreplident when 'i' then i.indisreplident else i.indisprimary end),
  'published', (select concat_ws(' ', pub.oid || '.' || pub.xmin, case when puballtables then '*' end, p.places) from pub where puballtables or p.places is not null)),
  a.types
from wanted w left join attribute a on a.attrelid = w.oid left join file f on f.root = w.oid left join place p on p.relid = w.oid`
}
