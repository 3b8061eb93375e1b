/** What the server says about a target table. Names are unquoted, types as format_type prints them. */
import type { PgConnection } from '../../drivers/postgres.js'
import { quoteIdent } from '../../drivers/postgres.js'

export interface TargetName {
  readonly schema: string
  readonly name: string
  /** Quoted, for statements. */
  readonly sql: string
}

export interface TargetColumn {
  readonly name: string
  /** As declared, with modifiers: `numeric(18,4)`, `public.mood`, a domain's name. */
  readonly type: string
  /** The same with domains replaced by what they are made of. */
  readonly baseType: string
  /** What text is cast to: no modifiers, so that too long values are refused and not cut (I7). */
  readonly castType: string
  /** Short name of a built-in base type, e.g. `int4`; qualified for others, which may have any name. */
  readonly base: string
  readonly isEnum: boolean
  /** The base type belongs to an extension. */
  readonly isExtension: boolean
  readonly notNull: boolean
  readonly hasDefault: boolean
  /** The default as the server prints it, null without one. */
  readonly defaultSql: string | null
  /** What rows older than the column hold, where it was added with a default. */
  readonly missing: string | null
  readonly generated: boolean
  readonly identityAlways: boolean
  /** Collation's name, null where the type has none or the database's default counts. */
  readonly collation: string | null
  readonly deterministic: boolean
}

export interface TargetIndex {
  readonly name: string
  readonly columns: readonly string[]
  /** Usable as the key: whole, valid, immediate, without expressions or predicate. */
  readonly plain: boolean
  /** The equality operator of each column as OPERATOR(schema.=) takes it. */
  readonly equals: readonly string[]
}

export interface Target {
  readonly oid: string
  readonly kind: string
  readonly persistence: string
  readonly columns: readonly TargetColumn[]
  readonly uniqueIndexes: readonly TargetIndex[]
  /** Foreign keys, exclusion constraints, triggers and rules, as `check` names them. */
  readonly obstacles: readonly string[]
}

export function targetName(schema: string, name: string): TargetName {
  return { schema, name, sql: `${quoteIdent(schema)}.${quoteIdent(name)}` }
}

const COLUMNS = `
  WITH RECURSIVE base AS (
    SELECT a.attnum, a.atttypid AS typ, a.atttypmod AS typmod
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END
      FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typ WHERE t.typtype = 'd')
  SELECT a.attname AS name,
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
    pg_catalog.format_type(t.oid, b.typmod) AS base_type,
    pg_catalog.format_type(t.oid, -1) AS cast_type,
    CASE WHEN t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace THEN t.typname ELSE pg_catalog.format_type(t.oid, -1) END AS base,
    t.typtype = 'e' AS is_enum,
    EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
      AND d.objid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN t.typelem ELSE t.oid END AND d.deptype = 'e') AS is_extension,
    a.attnotnull AS not_null, a.atthasdef AS has_default, a.attgenerated <> '' AS generated,
    a.attidentity = 'a' AS identity_always,
    CASE WHEN a.attgenerated = '' THEN COALESCE(pg_catalog.pg_get_expr(d.adbin, 0), pg_catalog.pg_get_expr(o.typdefaultbin, 0)) END AS default_sql,
    CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END AS missing,
    CASE WHEN l.collname <> 'default' THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(l.collname) END AS collation,
    COALESCE(l.collisdeterministic, true) AS deterministic
  FROM pg_catalog.pg_attribute a
  JOIN base b ON b.attnum = a.attnum
  JOIN pg_catalog.pg_type t ON t.oid = b.typ AND t.typtype <> 'd'
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_catalog.pg_type o ON o.oid = a.atttypid AND o.typtype = 'd'
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
  WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

const INDEXES = `
  SELECT c.relname AS name,
    pg_catalog.json_agg(a.attname ORDER BY k.n) AS columns,
    i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AS plain,
    pg_catalog.json_agg(pg_catalog.format('%I.%s', s.nspname, o.oprname) ORDER BY k.n) AS equals
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k(n)
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n]
  LEFT JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[k.n]
  LEFT JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3 AND ao.amoppurpose = 's'
    AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
  LEFT JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr
  LEFT JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
  WHERE i.indrelid = $1 AND i.indisunique
  GROUP BY c.relname, i.indisprimary, i.indisvalid, i.indimmediate, i.indpred, i.indexprs
  ORDER BY i.indisprimary DESC, c.relname`

const OBSTACLES = `
  SELECT 'foreign key ' || conname || CASE WHEN conrelid = $1 THEN '' ELSE ' of ' || conrelid::pg_catalog.regclass::text END
    FROM pg_catalog.pg_constraint WHERE contype = 'f' AND $1 IN (conrelid, confrelid) AND conparentid = 0
  UNION ALL SELECT 'exclusion constraint ' || conname FROM pg_catalog.pg_constraint WHERE contype = 'x' AND conrelid = $1
  UNION ALL SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger
    WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled IN ('O', 'A')
  UNION ALL SELECT 'rule ' || rulename FROM pg_catalog.pg_rewrite WHERE ev_class = $1 AND ev_type <> '1'
  ORDER BY 1`

/** null: there is no such table. */
export async function readTarget(connection: PgConnection, { schema, name }: TargetName): Promise<Target | null> {
  const [table] = await connection.query(
    `SELECT c.oid, c.relkind, c.relpersistence FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
    [schema, name],
  )
  if (!table) return null
  const [oid, kind, persistence] = table as [string, string, string]
  const columns = await connection.queryObjects(COLUMNS, [oid])
  const indexes = await connection.queryObjects(INDEXES, [oid])
  const obstacles = await connection.query(OBSTACLES, [oid])
  return {
    oid,
    kind,
    persistence,
    columns: columns.map(columnOf),
    uniqueIndexes: indexes.map((row) => ({
      name: row.name!,
      columns: JSON.parse(row.columns!) as string[],
      plain: row.plain === 't',
      equals: JSON.parse(row.equals!) as string[],
    })),
    obstacles: obstacles.map(([what]) => what!),
  }
}

function columnOf(row: Record<string, string | null>): TargetColumn {
  return {
    name: row.name!,
    type: row.type!,
    baseType: row.base_type!,
    castType: row.cast_type!,
    base: row.base!,
    isEnum: row.is_enum === 't',
    isExtension: row.is_extension === 't',
    notNull: row.not_null === 't',
    hasDefault: row.has_default === 't',
    defaultSql: row.default_sql!,
    missing: row.missing!,
    generated: row.generated === 't',
    identityAlways: row.identity_always === 't',
    collation: row.collation!,
    deterministic: row.deterministic === 't',
  }
}

/** The unique index whose columns are exactly these, in any order. */
export function keyIndex(target: Target, columns: readonly string[]): TargetIndex | null {
  const fits = (index: TargetIndex) =>
    index.plain && index.columns.length === columns.length && columns.every((name) => index.columns.includes(name))
  return target.uniqueIndexes.find(fits) ?? null
}
