/**
 * Keys that only the server can order are located before the merger sees them (D5): one query asks how they lie
 * against every bound that they may be compared with. No other input of the table may come between the last answer
 * and the merger's call, so callers act at once after these resolve.
 */
import { LocatedOrder } from './key.js'
import type { Merger } from './merger.js'
import type { Key } from './model.js'
import type { Abortable, LogBatch, Source } from './source.js'
import type { TableMerge } from './table-merge.js'

/** Answers kept per table before they are asked again (I8). */
const LOCATED_KEYS_MAX = 50_000
/** Keys in one query. */
const LOCATE_KEYS_MAX = 5_000

export function needsLocating(table: TableMerge): boolean {
  return table.order instanceof LocatedOrder && table.table.schema.key.length > 0
}

/** Locates every key of the batch. */
export async function locateLog(source: Source, merger: Merger, batch: LogBatch, options: Abortable): Promise<void> {
  for (let again = true; again; ) {
    again = false
    for (const item of batch.items) {
      if (item.kind !== 'rows') continue
      const table = merger.tables.get(item.schema.id)
      if (table === undefined || !needsLocating(table)) continue
      const { keys, bounds } = table.keysOf(item.schema, item.changes)
      if (await locate(source, table, keys, [...table.bounds(), ...bounds], options)) again = true
    }
  }
}

/** Locates what handing over rows up to `upTo` compares: the range's held keys and the bound itself. */
export async function locateRows(
  source: Source,
  table: TableMerge,
  range: number,
  upTo: Key,
  options: Abortable,
): Promise<void> {
  while (await locate(source, table, [...table.heldKeys(range), upTo], [...table.bounds(), upTo], options));
}

/** Locates split points against the bounds and each other. */
export async function locatePlan(
  source: Source,
  table: TableMerge,
  keys: readonly Key[],
  options: Abortable,
): Promise<void> {
  while (await locate(source, table, [...keys], [...table.bounds(), ...keys], options));
}

/** True when the server had to be asked, so that the state may have moved on meanwhile. */
async function locate(
  source: Source,
  table: TableMerge,
  keys: Key[],
  bounds: Key[],
  options: Abortable,
): Promise<boolean> {
  const order = table.order as LocatedOrder
  const missing = order.missing(keys, bounds)
  if (missing.length === 0) return false
  if (order.size > LOCATED_KEYS_MAX) {
    order.clear()
    return true
  }
  for (let i = 0; i < missing.length; i += LOCATE_KEYS_MAX) {
    const some = missing.slice(i, i + LOCATE_KEYS_MAX)
    order.learn(some, bounds, await source.locate(table.table, some, bounds, options))
  }
  return true
}
