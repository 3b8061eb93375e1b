/**
 * Keys that only the server can order are located before the merger sees them (D5): one query asks how they lie against
 * every bound that they may be compared with. Other inputs may move the bounds while the server answers, so callers
 * look again, without waiting, right before they hand over:
 *
 *   for (let open = logQuestions(merger, batch); open.length > 0; open = logQuestions(merger, batch)) await ask(source, open, options)
 *   merger.log(batch)
 */
import { LocatedOrder } from './located-order.js'
import type { Merger } from './merger.js'
import type { Key } from './model.js'
import type { Abortable, LogBatch, Source } from './source.js'
import type { TableMerge } from './table-merge.js'

/** Keys and bounds that a table's answers are kept for before those nobody needs any more are forgotten (I8). */
export const LOCATED_MAX = 200_000
/** Keys in one query. */
const LOCATE_KEYS_MAX = 5_000

export interface Question {
  readonly table: TableMerge
  readonly keys: readonly Key[]
  readonly bounds: readonly Key[]
}

/** What must be known before the merger takes the batch. */
export function logQuestions(merger: Merger, batch: LogBatch): Question[] {
  // An event may make a bound that a later event of the batch meets, so a table's events are asked about together.
  const found = new Map<TableMerge, { keys: Key[]; bounds: Key[] }>()
  for (const item of batch.items) {
    if (item.kind !== 'rows') continue
    const table = merger.tables.get(item.schema.id)
    if (table === undefined || !isLocated(table)) continue
    const { keys, bounds } = table.keysOf(item.schema, item.changes)
    const all = found.get(table) ?? { keys: [], bounds: table.bounds() }
    all.keys.push(...keys)
    all.bounds.push(...bounds)
    found.set(table, all)
  }
  return [...found].flatMap(([table, { keys, bounds }]) => missing(table, keys, bounds))
}

/** What must be known before rows up to `upTo` are handed over: the range's held keys and the bound itself. */
export function rowsQuestions(table: TableMerge, range: number, upTo: Key): Question[] {
  return isLocated(table) ? missing(table, [...table.heldKeys(range), upTo], [...table.bounds(), upTo]) : []
}

/** What must be known before split points are used: how they lie against the bounds and each other. */
export function planQuestions(table: TableMerge, keys: readonly Key[]): Question[] {
  return isLocated(table) ? missing(table, keys, [...table.bounds(), ...keys]) : []
}

export async function ask(source: Source, questions: readonly Question[], options: Abortable): Promise<void> {
  for (const { table, keys, bounds } of questions) {
    const order = table.order as LocatedOrder
    if (order.size > LOCATED_MAX) order.retain(table.locatedKeys())
    for (let i = 0; i < keys.length; i += LOCATE_KEYS_MAX) {
      const some = keys.slice(i, i + LOCATE_KEYS_MAX)
      order.learn(some, bounds, await source.locate(table.table, some, bounds, options))
    }
  }
}

function isLocated(table: TableMerge): boolean {
  return table.order instanceof LocatedOrder && table.table.schema.key.length > 0
}

function missing(table: TableMerge, keys: readonly Key[], bounds: readonly Key[]): Question[] {
  const unknown = (table.order as LocatedOrder).missing(keys, bounds)
  return unknown.length === 0 ? [] : [{ table, keys: unknown, bounds }]
}
