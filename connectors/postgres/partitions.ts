/**
 * Partitions send their changes under their root's name but with their own REPLICA IDENTITY, which ALTER TABLE of the root
 * does not reach: one that differs sends old keys that the root's changes are not found by (1.10 h).
 */
import type { Finding } from '../../core/define.js'
import type { PgConnection } from '../../drivers/postgres.js'
import type { CatalogTable } from './catalog.js'
import type { PostgresOptions } from './options.js'

/** Takes no lock. The columns are those of the index that a partition's old keys come from. */
const LEAVES_SQL = `
with recursive tree(root, relid) as (
  select oid, oid from pg_class where oid = any($1::oid[])
  union all select t.root, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.relid)
select t.root, quote_ident(n.nspname) || '.' || quote_ident(l.relname), l.relreplident, (
  select json_agg(a.attname::text) from pg_index x, generate_series(0, x.indnkeyatts - 1) k
  join pg_attribute a on true where x.indrelid = l.oid and a.attrelid = l.oid and a.attnum = x.indkey[k]
    and case l.relreplident when 'd' then x.indisprimary when 'i' then x.indisreplident end)
from tree t join pg_class l on l.oid = t.relid and l.relkind = 'r' join pg_namespace n on n.oid = l.relnamespace
order by 1, 2`

/** A problem for each partition whose changes would not be found. */
export async function partitionIdentities(
  connection: PgConnection,
  tables: readonly CatalogTable[],
): Promise<Finding[]> {
  const roots = tables.filter((table) => table.kind === 'p')
  if (roots.length === 0) return []
  const leaves = await connection.query(LEAVES_SQL, [roots.map((root) => `${root.oid}`)])
  return leaves.flatMap(([oid, leaf, identity, columns]) => {
    const root = roots.find((table) => `${table.oid}` === oid)
    if (root === undefined || identity === 'f') return []
    const key = root.key.map((column) => column.name).sort()
    const own = columns == null ? [] : (JSON.parse(columns) as string[]).sort()
    if (key.length > 0 && key.join('\0') === own.join('\0')) return []
    const carries = own.length === 0 ? 'no key' : `(${own.join(', ')})`
    const wanted = key.length === 0 ? 'whole rows' : `(${key.join(', ')})`
    return [
      {
        level: 'problem',
        subject: root.schema.id,
        message: `updates and deletes of its partition ${leaf} carry ${carries} instead of ${wanted}, by the partition's own REPLICA IDENTITY`,
        fix: `ALTER TABLE ${leaf} REPLICA IDENTITY FULL;`,
      } as const,
    ]
  })
}

const UNLOGGED_SQL = `
with recursive tree(root, relid) as (
  select oid, oid from pg_class where oid = any($1::oid[])
  union all select t.root, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.relid)
select t.root, quote_ident(n.nspname) || '.' || quote_ident(l.relname), l.relkind
from tree t join pg_class l on l.oid = t.relid join pg_namespace n on n.oid = l.relnamespace
where l.relkind = 'f' or l.relkind = 'r' and l.relpersistence <> 'p' order by 1, 2`

/** Partitions whose rows are read with their root's while changes of them are in no log. */
export async function partitionsUnlogged(
  connection: PgConnection,
  options: PostgresOptions,
  tables: readonly CatalogTable[],
): Promise<Finding[]> {
  const roots = tables.filter((table) => table.kind === 'p')
  if (roots.length === 0) return []
  const leaves = await connection.query(UNLOGGED_SQL, [roots.map((root) => `${root.oid}`)])
  return leaves.map(([oid, leaf, kind]): Finding => {
    const is = kind === 'f' ? 'a foreign table' : 'UNLOGGED'
    return {
      level: options['table.partitions'] === 'ignore' ? 'warning' : 'problem',
      subject: roots.find((table) => `${table.oid}` === oid)!.schema.id,
      message: `its partition ${leaf} is ${is}, so changes of it are in no log`,
      fix: kind === 'f' ? 'Detach it, or set table.partitions: ignore.' : `ALTER TABLE ${leaf} SET LOGGED;`,
    }
  })
}
