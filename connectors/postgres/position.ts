/**
 * Where a reader of the log resumes: the end of the last whole transaction, and how far into the one after it. Commit
 * based on purpose: row positions neither grow from row to row nor are they unique (correctness.md 2.4).
 *
 *   0/1528AC0                      everything that committed before it was delivered
 *   0/1528AC0+3@0/1529000/751      and the first 3 row messages of the transaction with that final position and xid
 */
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'
import { formatLsn, parseLsn } from '../../drivers/postgres-lsn.js'

export interface LogPlace {
  /** End of the last transaction that was delivered whole. */
  readonly completed: bigint
  /** 1.10 i: row messages as the server sent them, before any filter. */
  readonly inside: { readonly rows: number; readonly finalLsn: bigint; readonly xid: bigint } | null
}

export function formatPosition({ completed, inside }: LogPlace): Position {
  const base = formatLsn(completed)
  return (inside === null ? base : `${base}+${inside.rows}@${formatLsn(inside.finalLsn)}/${inside.xid}`) as Position
}

export function parsePosition(position: Position): LogPlace {
  const match = /^([0-9A-F]+\/[0-9A-F]+)(?:\+(\d+)@([0-9A-F]+\/[0-9A-F]+)\/(\d+))?$/i.exec(position)
  if (!match) {
    throw new TidemarkError('core.checkpoint_unreadable', { message: `"${position}" is not a PostgreSQL position` })
  }
  const [, completed, rows, finalLsn, xid] = match
  const inside = rows ? { rows: Number(rows), finalLsn: parseLsn(finalLsn!), xid: BigInt(xid!) } : null
  return { completed: parseLsn(completed!), inside }
}
