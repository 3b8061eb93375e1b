/**
 * Reads tables from the catalog as core schemas, and gives the relations of the log the very same schemas, so that rows
 * and changes of one definition share a fingerprint.
 */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../../core/errors.js'
import { type Column, type TableSchema, tableId } from '../../core/model.js'
import { parseTablePatterns } from '../../core/table-pattern.js'
import type { PgConnection } from '../../drivers/postgres.js'
import { CAPTURABLE, noneLeft, requireMatches } from './chosen-tables.js'
import { TypeCache } from './column-types.js'
import type { ComputedColumn } from './generated.js'
import { type KeyIndex, type KeyOperators, readKeys } from './key-index.js'
import type { PostgresOptions } from './options.js'

/** A table of the catalog. */
export interface CatalogTable {
  readonly oid: number
  readonly schema: TableSchema
  /** r ordinary, p partitioned. */
  readonly kind: string
  /** d, n, f, i as in pg_class.relreplident. */
  readonly identity: string
  /** Why the key that the table has cannot be used, null otherwise; the table then counts as keyless. */
  readonly keyProblem: string | null
  /** Columns left out because the log leaves them out. */
  readonly generatedDropped: readonly string[]
  /** Generated columns that the log leaves out and that are computed from its rows. */
  readonly computed: readonly ComputedColumn[]
  /** That is asked for, though the table may have none. */
  readonly computes: boolean
  readonly rows: number | null
  readonly bytes: number | null
  /** Key columns as the server compares them. */
  readonly key: readonly KeyColumn[]
  /** What rows older than a column hold in it, where it was added with a default, by name. */
  readonly fills: ReadonlyMap<string, string>
  /** Equal while no column changed; see definitionSql(). */
  readonly definition: string
}

export interface KeyColumn {
  readonly name: string
  /** Type with modifiers, schema-qualified: what literals are cast to. */
  readonly type: string
  /** Short name of a built-in type that is compared as built-in types are, null for any other. */
  readonly base: string | null
  /** Qualified name of the index's collation, null for types without one. */
  readonly collation: string | null
  /** The column's own collation is another. */
  readonly collates: boolean
  /** The collation orders by bytes. */
  readonly byteOrder: boolean
  /** Null: those that the plain names find in pg_catalog. */
  readonly operators: KeyOperators | null
  readonly domain: boolean
}

/** Server facts that decide what can be read. */
export interface ServerFacts {
  readonly version: number
  /** Stored generated columns are in the log (18 and later). */
  readonly generatedInLog: boolean
}

/** A digest of a table's columns as the transaction's snapshot shows them. */
export const definitionSql = (
  oid: string,
) => `(select md5(string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod,
  a.attnotnull, a.attgenerated), ';' order by a.attnum)) from pg_attribute a where a.attrelid = ${oid} and a.attnum > 0 and not a.attisdropped)`

/** Estimates only, from what the catalog says: the functions for sizes wait for a table's lock. */
const TABLES_SQL = `
with recursive leaf(root, relid) as (
  select oid, oid from pg_class where relkind = 'p' and not relispartition and ($2::text is null or relname = $2)
  union all select l.root, i.inhrelid from leaf l join pg_inherits i on i.inhparent = l.relid),
size(oid, rows, bytes) as (
  select c.oid, c.reltuples::float8, (c.relpages::float8 + coalesce(t.relpages, 0)) * current_setting('block_size')::float8
  from pg_class c left join pg_class t on t.oid = c.reltoastrelid where c.relkind = 'r')
select c.oid, n.nspname, c.relname, c.relkind, c.relreplident,
  case when c.relkind = 'p' then (select sum(greatest(s.rows, 0)) from leaf l join size s on s.oid = l.relid where l.root = c.oid)
    else (select s.rows from size s where s.oid = c.oid) end::text,
  case when c.relkind = 'p' then (select sum(s.bytes) from leaf l join size s on s.oid = l.relid where l.root = c.oid)
    else (select s.bytes from size s where s.oid = c.oid) end::text,
  ${definitionSql('c.oid')}
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where ${CAPTURABLE} and ($1::text is null or (n.nspname = $1 and c.relname = $2))
order by 2, 3`

/** A partitioned table has no rows, so only its partitions know what older rows hold. A default holds no column, so its text needs no table; with the table's oid pg_get_expr() waits for its lock. */
const COLUMNS_SQL = `
select a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated,
  case when a.attgenerated = '' then pg_get_expr(d.adbin, 0) else pg_get_expr(d.adbin, d.adrelid) end,
  case when co.oid is null then null else quote_ident(cn.nspname) || '.' || quote_ident(co.collname) end,
  case when co.oid is null then false else coalesce(co.collisdeterministic, true) and (
    (co.collprovider = 'd' and db.datcollate in ('C', 'POSIX') and dbp.provider = 'c') or (co.collprovider <> 'd' and co.collcollate in ('C', 'POSIX'))
    or co.collname in ('C', 'POSIX', 'ucs_basic')) end,
  case when a.atthasmissing then (a.attmissingval::text::text[])[1] when r.relkind = 'p' then (
    with recursive part(relid) as (select inhrelid from pg_inherits where inhparent = a.attrelid
      union all select i.inhrelid from part p join pg_inherits i on i.inhparent = p.relid)
    select (l.attmissingval::text::text[])[1] from part p join pg_attribute l on l.attrelid = p.relid and l.attname = a.attname and l.atthasmissing
    limit 1) end,
  case when a.attgenerated <> '' then (select string_agg(distinct p.refobjsubid::text, ' ') from pg_depend p
    where p.refclassid = 'pg_class'::regclass and p.refobjid = a.attrelid and p.refobjsubid not in (0, a.attnum)
    and (p.classid = 'pg_attrdef'::regclass and p.objid = d.oid or p.classid = 'pg_class'::regclass and p.objid = a.attrelid and p.objsubid = a.attnum)) end,
  a.attstorage in ('x', 'e')
from pg_attribute a
join pg_class r on r.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_collation co on co.oid = a.attcollation
left join pg_namespace cn on cn.oid = co.collnamespace
join pg_database db on db.datname = current_database()
cross join lateral (select coalesce(to_jsonb(db)->>'datlocprovider', 'c') as provider) dbp
where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum`

/** The catalog is read by several queries; as often as this, because a type may be dropped between two of them. */
const READS_MAX = 5

export interface TableName {
  readonly namespace: string
  readonly name: string
}

export async function readTables(
  connection: PgConnection,
  options: PostgresOptions,
  server: ServerFacts,
  only?: TableName,
): Promise<CatalogTable[]> {
  for (let reads = 0; reads < READS_MAX; reads++) {
    const tables = await readOnce(connection, options, server, only)
    if (tables !== null) return tables
  }
  throw new TidemarkError('postgres.query', {
    message: `types of captured columns were dropped while the catalog was read, ${READS_MAX} times in a row`,
    fix: 'Start again when the DDL on the captured tables is over.',
    retriable: true,
  })
}

/** null: a column's type is gone, and the column with it by now. */
async function readOnce(
  connection: PgConnection,
  options: PostgresOptions,
  server: ServerFacts,
  only: TableName | undefined,
): Promise<CatalogTable[] | null> {
  const wanted = parseTablePatterns(options.tables)
  const excluded = parseTablePatterns(options['tables.exclude'] ?? [])
  const database = connection.options.database
  const all = await connection.query(TABLES_SQL, [only?.namespace ?? null, only?.name ?? null])
  const found = all.filter(([, namespace, name]) => {
    const table = { database, namespace: namespace!, name: name! }
    return wanted.some((p) => p.matches(table)) && !excluded.some((p) => p.matches(table))
  })
  if (only === undefined) {
    requireMatches(wanted, all, database, options)
    if (found.length === 0) throw noneLeft(options)
  }
  const oids = found.map(([oid]) => oid!)
  if (oids.length === 0) return []
  const columns = await connection.query(COLUMNS_SQL, [oids])
  const keys = await readKeys(connection, oids)
  const types = new TypeCache()
  await types.load(
    connection,
    columns.map((c) => c[3]!),
  )
  if (!columns.every((c) => types.has(Number(c[3])))) return null
  return found.map((row) => {
    const mine = columns.filter((c) => c[0] === row[0])
    return catalogTable(row, mine, keys.get(row[0]!) ?? [], {
      database,
      types,
      server,
      computes: options['generated.columns'] === 'compute',
    })
  })
}

function catalogTable(
  [oid, namespace, name, kind, identity, rows, bytes, definition]: (string | null)[],
  attributes: (string | null)[][],
  keys: readonly KeyIndex[],
  context: { database: string; types: TypeCache; server: ServerFacts; computes: boolean },
): CatalogTable {
  const { database, types, server, computes } = context
  const unlogged = attributes.filter((a) => a[6] === 'v' || (a[6] === 's' && !server.generatedInLog))
  const dropped = computes ? [] : unlogged
  const computed = computes ? unlogged : []
  const kept = attributes.filter((a) => !dropped.includes(a))
  const columns: Column[] = kept.map((a) => ({
    name: a[2]!,
    type: types.columnType(Number(a[3]), Number(a[4])),
    nullable: a[5] !== 't',
    generated: a[6] !== '',
    defaultValue: a[6] === '' ? constantDefault(a[7] ?? null) : null,
  }))
  const primary = keys.find((k) => k.isPrimary)
  const index = identity === 'i' ? keys.find((k) => k.isReplicaIdentity) : primary
  const attnums = index?.columns.map((c) => c.attnum) ?? []
  const places = attnums.map((n) => kept.findIndex((a) => a[1] === n))
  const keyProblem = places.includes(-1)
    ? 'its primary key has a generated column, which the log of this server version lacks'
    : identity !== 'f' && computed.some((a) => attnums.includes(a[1]!))
      ? 'its key has a generated column, and only under REPLICA IDENTITY FULL do changes carry what that is computed from'
      : index?.isImmediate === false
        ? 'its primary key is deferrable, so two rows may have one key inside a transaction'
        : (index?.problem ?? null)
  const key = keyProblem === null ? places : []
  const schema = makeSchema({ database, namespace: namespace!, name: name!, columns, key })
  const reltuples = Number(rows)
  return {
    oid: Number(oid),
    schema,
    kind: kind!,
    identity: identity!,
    keyProblem,
    generatedDropped: dropped.map((a) => a[2]!),
    computed: computed.map((a) => computedColumn(a, attributes, types)),
    computes,
    rows: rows === null || reltuples < 0 ? null : reltuples,
    bytes: bytes === null ? null : Number(bytes),
    fills: new Map(kept.flatMap((a) => (a[10] == null ? [] : [[a[2]!, a[10]] as const]))),
    definition: definition ?? '',
    key: key.map((i, n) => {
      const a = kept[i]!
      const { type } = columns[i]!
      const { collation, operators } = index!.columns[n]!
      return {
        name: a[2]!,
        type: types.qualified(Number(a[3]), Number(a[4])),
        base: operators === null && collation === null && types.isBuiltIn(Number(a[3])) ? type.base : null,
        collation: collation ?? a[8] ?? null,
        collates: collation !== null,
        byteOrder: a[9] === 't',
        operators,
        domain: type.domain !== null,
      }
    }),
  }
}

/** A system column (tableoid) among the inputs is left out: see tableReady(). */
function computedColumn(
  attribute: (string | null)[],
  attributes: (string | null)[][],
  types: TypeCache,
): ComputedColumn {
  const [, , name, type, typmod] = attribute
  const places = (attribute[11] ?? '').split(' ')
  const inputs = attributes.filter((a) => places.includes(a[1]!))
  return {
    name: name!,
    expression: attribute[7]!,
    type: types.qualified(Number(type), Number(typmod)),
    inputs: inputs.map((a) => ({
      name: a[2]!,
      type: types.qualified(Number(a[3]), Number(a[4])),
      collation: a[8] ?? null,
      long: a[12] === 't',
    })),
    system: places.some((place) => place.startsWith('-')),
  }
}

export function makeSchema(parts: {
  readonly database: string
  readonly namespace: string
  readonly name: string
  readonly columns: readonly Column[]
  readonly key: readonly number[]
}): TableSchema {
  const whole = { ...parts, id: tableId(parts.namespace, parts.name), dialect: 'postgres' as const }
  return { ...whole, fingerprint: createHash('sha256').update(JSON.stringify(whole)).digest('hex').slice(0, 32) }
}

/** The text of a default that is a plain literal; anything computed is null. */
function constantDefault(expression: string | null): string | null {
  if (expression === null) return null
  const quoted = /^'((?:[^']|'')*)'::[\w". ()[\],]+$/.exec(expression)
  if (quoted && !/::(date|time|timestamp|interval|regclass)/.test(expression)) return quoted[1]!.replaceAll("''", "'")
  if (/^-?\d+(\.\d+)?$/.test(expression)) return expression
  const negative = /^\(?'?(-?\d+(?:\.\d+)?)'?\)?(::[\w ]+)?$/.exec(expression)
  if (negative) return negative[1]!
  if (expression === 'true' || expression === 'false') return expression === 'true' ? 't' : 'f'
  return null
}
