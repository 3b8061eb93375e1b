/** Where something stands in a binlog. For envelopes only: nothing is ever compared or resumed by it. */

/** Of a transaction, all of which is in one file. */
export interface BinlogTransaction {
  readonly file: string
  /** Of the server that wrote it first; 0: not known. */
  readonly serverId: number
  /** Of the session; null: the log does not say. */
  readonly thread: number | null
}

/** Of a snapshot. */
export interface BinlogSnapshot {
  readonly file: string
  readonly pos: number
}

/** Rows of one event that are told apart; more than fit into one. */
const ROWS_MAX = 2 ** 20

/** The `at` of a change: the place of its event, and its number among the event's rows. */
export function binlogAt(pos: number, row: number): number | bigint {
  const at = pos * ROWS_MAX + Math.min(row, ROWS_MAX - 1)
  return Number.isSafeInteger(at) ? at : BigInt(pos) * BigInt(ROWS_MAX) + BigInt(row)
}

export function binlogPlaceOf(at: number | bigint): { readonly pos: number; readonly row: number } {
  if (typeof at === 'bigint') return { pos: Number(at / BigInt(ROWS_MAX)), row: Number(at % BigInt(ROWS_MAX)) }
  return { pos: Math.floor(at / ROWS_MAX), row: at % ROWS_MAX }
}
