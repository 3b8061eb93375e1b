/** What to say when `tables` and `tables.exclude` stand for none. */
import { nearest, suggest } from '../../core/did-you-mean.js'
import { TidemarkError } from '../../core/errors.js'
import { tableId } from '../../core/model.js'
import type { NamedTable, parseTablePatterns } from '../../core/table-pattern.js'
import type { MysqlSourceOptions } from './options.js'

/** Tables that an error lists. */
const NAMES_SHOWN_MAX = 10

/** A pattern of `tables` that matches nothing is a mistake. */
export function requireMatches(
  wanted: ReturnType<typeof parseTablePatterns>,
  named: readonly NamedTable[],
  options: MysqlSourceOptions,
): void {
  const missing = wanted.filter((p) => !named.some((table) => p.matches(table)))
  if (missing.length === 0) return
  const ids = named.map((t) => tableId(t.namespace, t.name))
  const [meant] = missing.flatMap((p) => nearest(p.text, ids) ?? [])
  const more = ids.length > NAMES_SHOWN_MAX ? ', ...' : ''
  throw new TidemarkError('mysql.no_tables', {
    message: `no table that this user may read matches ${missing.map((p) => `"${p.text}"`).join(', ')} in tables: ${[options.tables].flat().join(', ')}`,
    fix:
      ids.length > 0
        ? `${suggest(meant ?? null)} The tables there are: ${ids.slice(0, NAMES_SHOWN_MAX).join(', ')}${more}.`.trim()
        : 'The server has no tables, or the user may not SELECT from them.',
    at: 'source.tables',
  })
}

export function noneLeft(options: MysqlSourceOptions): TidemarkError {
  return new TidemarkError('mysql.no_tables', {
    message: `no table is left: tables.exclude (${[options['tables.exclude']].flat().join(', ')}) takes out everything that tables matches`,
    fix: 'Narrow tables.exclude, or widen tables.',
    at: 'source.tables.exclude',
  })
}
