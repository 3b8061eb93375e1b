/**
 * MariaDB's system-versioned tables (rule f): an UPDATE is logged as the new row and then an INSERT of the old one as history, a DELETE
 * as an update that ends the row. Only current rows are copied.
 */
import type { Change, Row } from '../../core/model.js'

/** The end of rows that are current: the last moment that a TIMESTAMP(6) can hold, before and since 11.5. */
const CURRENT = new Set(['2038-01-19 03:14:07.999999+00', '2106-02-07 06:28:15.999999+00'])

/** `rowEnd`: the place of the column that ends a row. Rows keep their first `columns` values. */
export function withoutHistory(changes: readonly Change[], rowEnd: number, columns: number): Change[] {
  const current = (row: Row) => CURRENT.has(String(row[rowEnd]))
  const own = (row: Row | null) => (row === null || row.length === columns ? row : row.slice(0, columns))
  const kept = changes.flatMap((change): Change[] => {
    const { op, before, after, at } = change
    if (op === 'c') return current(after!) ? [change] : []
    if (op === 'd') return current(before!) ? [change] : []
    if (current(after!)) return [change]
    return current(before!) ? [{ op: 'd', before, after: null, at }] : []
  })
  return kept.map(({ op, before, after, at }) => ({ op, before: own(before), after: own(after), at }))
}
