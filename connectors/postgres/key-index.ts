/**
 * The indexes that keys come from: the primary key, or the index of REPLICA IDENTITY USING INDEX (1.10 h). An index need
 * not order its columns as the operators of pg_catalog under the column's collation would: extension types have
 * operators of their own, an index may name an operator class, and the index of a replica identity a collation too.
 */
import type { PgConnection } from '../../drivers/postgres.js'

const NAMES = ['<', '<=', '=', '>=', '>'] as const
export type KeyOperator = (typeof NAMES)[number]
/** The index's operators as `OPERATOR()` takes them, by what they mean to the index. */
export type KeyOperators = Readonly<Record<KeyOperator, string>>

export interface KeyIndexColumn {
  readonly attnum: string
  /** Qualified name of the index's collation where that is not the column's; null otherwise. */
  readonly collation: string | null
  /** Null: those that the plain names find. */
  readonly operators: KeyOperators | null
}

export interface KeyIndex {
  readonly isPrimary: boolean
  readonly isReplicaIdentity: boolean
  readonly isImmediate: boolean
  /** Why rows cannot be read in its order, null otherwise. */
  readonly problem: string | null
  readonly columns: readonly KeyIndexColumn[]
}

/** Columns of INCLUDE are not part of the key. A domain has the operator class of what it is made of. */
const KEYS_SQL = `
with recursive part as (
  select i.indrelid, i.indexrelid, i.indisprimary, i.indisreplident, i.indimmediate, n, i.indkey[n] as attnum,
    i.indclass[n] as opclass, i.indcollation[n] as collation
  from pg_index i, generate_series(0, i.indnkeyatts - 1) n
  where i.indrelid = any($1::oid[]) and (i.indisprimary or i.indisreplident)),
made(indexrelid, n, type) as (
  select p.indexrelid, p.n, a.atttypid from part p join pg_attribute a on a.attrelid = p.indrelid and a.attnum = p.attnum
  union all select m.indexrelid, m.n, t.typbasetype from made m join pg_type t on t.oid = m.type where t.typtype = 'd')
select p.indrelid, p.indexrelid, p.indisprimary, p.indisreplident, p.indimmediate, p.attnum, quote_ident(a.attname),
  case when p.collation <> a.attcollation then
    (select quote_ident(n.nspname) || '.' || quote_ident(c.collname) from pg_collation c join pg_namespace n on n.oid = c.collnamespace
     where c.oid = p.collation) end,
  am.amname, quote_ident(cn.nspname) || '.' || quote_ident(oc.opcname),
  (select json_agg(quote_ident(s.nspname) || '.' || o.oprname order by ao.amopstrategy) from pg_amop ao
   join pg_operator o on o.oid = ao.amopopr join pg_namespace s on s.oid = o.oprnamespace
   where ao.amopfamily = oc.opcfamily and ao.amoppurpose = 's' and ao.amoplefttype = oc.opcintype and ao.amoprighttype = oc.opcintype),
  exists (select from pg_opclass d join pg_amop own on own.amopfamily = oc.opcfamily and own.amopstrategy = 3
      and own.amoplefttype = oc.opcintype and own.amoprighttype = oc.opcintype
    join pg_amop usual on usual.amopfamily = d.opcfamily and usual.amopstrategy = 3
      and usual.amoplefttype = d.opcintype and usual.amoprighttype = d.opcintype
    where d.opcmethod = oc.opcmethod and d.opcdefault and own.amopopr <> usual.amopopr
      and (d.opcintype = oc.opcintype or d.opcintype in (select m.type from made m where m.indexrelid = p.indexrelid and m.n = p.n)))
from part p join pg_attribute a on a.attrelid = p.indrelid and a.attnum = p.attnum
join pg_opclass oc on oc.oid = p.opclass join pg_namespace cn on cn.oid = oc.opcnamespace join pg_am am on am.oid = oc.opcmethod
order by p.indrelid, p.indexrelid, p.n`

/** The indexes by the OID of their table. */
export async function readKeys(connection: PgConnection, oids: readonly string[]): Promise<Map<string, KeyIndex[]>> {
  const found = new Map<string, { readonly index: string; readonly rows: (string | null)[][] }[]>()
  for (const row of await connection.query(KEYS_SQL, [oids])) {
    const [table, index] = row as [string, string]
    const indexes = found.get(table) ?? []
    found.set(table, indexes)
    if (indexes.at(-1)?.index === index) indexes.at(-1)!.rows.push(row)
    else indexes.push({ index, rows: [row] })
  }
  return new Map([...found].map(([table, indexes]) => [table, indexes.map(({ rows }) => keyIndex(rows))]))
}

function keyIndex(rows: (string | null)[][]): KeyIndex {
  const [, , isPrimary, isReplicaIdentity, isImmediate] = rows[0]!
  return {
    isPrimary: isPrimary === 't',
    isReplicaIdentity: isReplicaIdentity === 't',
    isImmediate: isImmediate === 't',
    problem: rows.map(problem).find((why) => why !== null) ?? null,
    columns: rows.map((row) => ({ attnum: row[5]!, collation: row[7] ?? null, operators: operators(row[10] ?? null) })),
  }
}

function problem([, , , , , , column, , method, opclass, , otherEquality]: (string | null)[]): string | null {
  if (method !== 'btree') return `the index of its key is of type ${method}, which has no order to read rows in`
  if (otherEquality !== 't') return null
  return `the index of its key compares column ${column} with operator class ${opclass}, which takes other values for equal than the column's type does`
}

function operators(list: string | null): KeyOperators | null {
  const names = list === null ? [] : (JSON.parse(list) as string[])
  if (names.length !== NAMES.length || NAMES.every((name, i) => names[i] === `pg_catalog.${name}`)) return null
  return Object.fromEntries(NAMES.map((name, i) => [name, names[i]!])) as Record<KeyOperator, string>
}
