/** Which tables `tables` and `tables.exclude` stand for, and what to say of patterns that stand for none. */
import type { Finding } from '../../core/define.js'
import { nearest, suggest } from '../../core/did-you-mean.js'
import { TidemarkError } from '../../core/errors.js'
import { tableId } from '../../core/model.js'
import { parseTablePatterns } from '../../core/table-pattern.js'
import type { PgConnection } from '../../drivers/postgres.js'
import type { PostgresOptions } from './options.js'

/** Tables that an error lists. */
const NAMES_SHOWN_MAX = 10

/** Tables that can be captured, of `pg_class c join pg_namespace n`. */
export const CAPTURABLE = `c.relkind in ('r', 'p') and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and n.nspname <> 'tidemark' and not (c.relispartition)`

/** Patterns of `tables.exclude` that leave nothing out: a misspelt one must not copy what it was to keep back in silence. */
export async function idleExcludes(connection: PgConnection, options: PostgresOptions): Promise<Finding[]> {
  const excluded = parseTablePatterns(options['tables.exclude'] ?? [])
  if (excluded.length === 0) return []
  const { database } = connection.options
  const rows = await connection.query(
    `select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where ${CAPTURABLE} order by 1, 2`,
  )
  const tables = rows.map(([namespace, name]) => ({ database, namespace: namespace!, name: name! }))
  const ids = tables.map(({ namespace, name }) => tableId(namespace, name))
  return excluded
    .filter((pattern) => !tables.some((table) => pattern.matches(table)))
    .map(({ text }) => ({
      level: 'warning',
      subject: 'tables.exclude',
      message: `"${text}" matches no table of database ${database}, so it leaves nothing out`,
      fix: `Correct the name or remove it.${suggest(nearest(text, ids))}`,
    }))
}

/** A pattern of `tables` that matches nothing is a mistake. */
export function requireMatches(
  wanted: ReturnType<typeof parseTablePatterns>,
  all: (string | null)[][],
  database: string,
  options: PostgresOptions,
): void {
  const named = all.map(([, namespace, name]) => ({ database, namespace: namespace!, name: name! }))
  const missing = wanted.filter((p) => !named.some((table) => p.matches(table)))
  if (missing.length === 0) return
  const ids = named.map((t) => tableId(t.namespace, t.name))
  const exist = ids.slice(0, NAMES_SHOWN_MAX)
  const [meant] = missing.flatMap((p) => nearest(p.text, ids) ?? [])
  throw new TidemarkError('postgres.no_tables', {
    message: `no table of database ${database} matches ${missing.map((p) => `"${p.text}"`).join(', ')} in tables: ${[options.tables].flat().join(', ')}`,
    fix:
      exist.length > 0
        ? `${suggest(meant ?? null)} The tables there are: ${exist.join(', ')}${named.length > exist.length ? ', ...' : ''}.`.trim()
        : 'The database has no tables.',
    at: 'source.tables',
  })
}

export function noneLeft(options: PostgresOptions): TidemarkError {
  return new TidemarkError('postgres.no_tables', {
    message: `no table is left: tables.exclude (${[options['tables.exclude']].flat().join(', ')}) takes out everything that tables matches`,
    fix: 'Narrow tables.exclude, or widen tables.',
    at: 'source.tables.exclude',
  })
}
