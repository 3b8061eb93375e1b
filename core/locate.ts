/**
 * Keys that only the server can order are located before the merger sees them (D5): one query asks how they lie against
 * every bound that they may be compared with. Other inputs may move the bounds while the server answers, so it is looked
 * at again right before the keys are used: see located().
 */
import type { Bound } from './key.js'
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

/**
 * What must be known before a read ends: how the keys that its range held lie against the bounds, and against the end of
 * what was read where that is not the range's own.
 */
export function finishQuestions(table: TableMerge, ranges: readonly number[], upTo: Bound | null): Question[] {
  if (!isLocated(table)) return []
  const held = ranges.flatMap((id) => table.heldKeys(id))
  if (upTo === null || upTo.key.length === 0) return missing(table, held, table.bounds())
  return missing(table, [...held, upTo.key], [...table.bounds(), upTo.key])
}

/** What must be known before a checkpoint: how held keys lie against what was handed over of their range (1.10 c). */
export function settleQuestions(merger: Merger): Question[] {
  return [...merger.tables.values()].flatMap((table) => {
    if (!isLocated(table)) return []
    const open = table.ranges.filter((range) => range.state === 'open' && range.handed !== null)
    return open.flatMap(({ id, handed }) => finishQuestions(table, [id], handed))
  })
}

/** What must be known before a range is looked for. */
export function keyQuestions(table: TableMerge, keys: readonly Key[]): Question[] {
  return isLocated(table) ? missing(table, keys, table.bounds()) : []
}

/** What must be known before split points are used: how they lie against the bounds and each other. */
export function planQuestions(table: TableMerge, keys: readonly Key[]): Question[] {
  return isLocated(table) ? missing(table, keys, [...table.bounds(), ...keys]) : []
}

/** Asks until everything is known, and then does the work before anything else can happen. */
export async function located<T>(
  source: Source,
  questions: () => readonly Question[],
  options: Abortable,
  work: () => T,
): Promise<T> {
  for (let open = questions(); open.length > 0; open = questions()) await ask(source, open, options)
  return work()
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
