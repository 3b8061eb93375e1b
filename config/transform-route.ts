/** Where a table goes: `route` entries, with Flink's replace-symbol and the groups of the pattern. */
import { TidemarkError } from '../core/errors.js'
import { type TableId, type TableSchema, tableId } from '../core/model.js'
import { splitTableName, type TablePattern } from '../core/table-pattern.js'
import type { CompiledRoute, RouteMode } from './transform.js'

export interface RouteTarget {
  readonly id: TableId
  readonly database: string
  readonly namespace: string
  readonly name: string
}

export interface Routed {
  readonly target: RouteTarget
  readonly route: CompiledRoute
  /** Name and value of each of the route's shard-columns. */
  readonly identity: readonly (readonly [name: string, value: string])[]
}

/** null: the table keeps its name. */
export function routed(source: TableSchema, routes: readonly CompiledRoute[], mode: RouteMode): Routed | null {
  const matching = routes.filter((route) => route.patterns.some((p) => p.matches(source)))
  const [route, second] = matching
  if (!route) return null
  if (second && mode === 'ALL_MATCH') {
    throw new TidemarkError('config.route', {
      message: `${source.id} matches ${route.at} and ${second.at}, and sending one table to two targets is not supported`,
      fix: 'Narrow one of them, or let the first one count with `route-mode: FIRST_MATCH` in pipeline.',
      at: second.where(),
    })
  }
  const { entry, at, patterns, where } = route
  const pattern = patterns.find((p) => p.matches(source))!
  const parts = splitTableName(entry['sink-table'])?.map((part) => fill(part, pattern, source, entry['replace-symbol']))
  if (!parts || parts.includes('')) {
    throw new TidemarkError('config.route', {
      message: `${at}: "${entry['sink-table']}" does not name a table for ${source.id}`,
      fix: 'Write schema.table; a name that holds a dot goes in double quotes.',
      at: where('sink-table'),
    })
  }
  const name = parts.at(-1)!
  const namespace = parts.at(-2) ?? source.namespace
  const database = parts.at(-3) ?? source.database
  const columns = Object.entries(entry['shard-columns'] ?? {})
  const identity = columns.map(([column, text]) => [column, identityValue(text, pattern, source)] as const)
  return { target: { id: tableId(namespace, name), database, namespace, name }, route, identity }
}

/** Filled once, so that braces in a source table's name stay what they are. */
function identityValue(text: string, pattern: TablePattern, source: TableSchema): string {
  const names: Readonly<Record<string, string>> = {
    '{database}': source.database,
    '{schema}': source.namespace,
    '{table}': source.name,
  }
  return text.replace(
    /\{(?:database|schema|table)\}|\$\d/g,
    (piece) => names[piece] ?? pattern.expand(source, piece) ?? piece,
  )
}

/** One part of a name. Filled after the split, so that a dot in a source table's name stays part of the name. */
function fill(part: string, pattern: TablePattern, source: TableSchema, symbol: string | undefined): string {
  const pieces = symbol === undefined ? [part] : part.split(symbol)
  return pieces.map((piece) => pattern.expand(source, piece) ?? piece).join(source.name)
}
