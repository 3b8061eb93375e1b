/** How far one table is, for people. */
import type { Count, TableProgress } from './metrics.js'
import type { SourceTable } from './source.js'
import type { TableMerge } from './table-merge.js'

/** `merge`: absent before the start; `chunks`: those done in this run, and the rows that one aims at. */
export function tableProgress(
  { schema, estimatedRows }: SourceTable,
  merge: TableMerge | undefined,
  chunks: { readonly done: number; readonly rows: number },
  counts: Count = { rows: 0, events: 0, bytes: 0 },
): TableProgress {
  const state = merge?.pure ? 'streaming' : merge?.started ? 'snapshot' : 'waiting'
  const left = merge?.ranges.filter(({ state }) => state === 'waiting' || state === 'open').length ?? 0
  const guess = estimatedRows === null ? null : Math.ceil(estimatedRows / chunks.rows)
  const chunksTotal = left === 0 ? chunks.done : guess === null ? null : Math.max(guess, chunks.done + left)
  return { table: schema.id, state, rowsEstimated: estimatedRows, chunksDone: chunks.done, chunksTotal, ...counts }
}
