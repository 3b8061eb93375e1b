/** A checkpoint inside a source transaction keeps what its END must say (provide.transaction.metadata). */
import type { MessageFormat } from '../formats/messages.js'
import type { TransactionCounts, TransactionTopic } from '../formats/transactions.js'

/** A source transaction that the checkpoint lies in, with its events so far; JSON, numbers as text. */
export interface OpenTransaction {
  readonly ordinal: string
  readonly tsUs: string
  readonly xid?: string
  readonly gtid?: readonly [source: string, number: string]
  readonly counts: TransactionCounts
}

export function savedTransaction(open: TransactionTopic['open']): OpenTransaction | null {
  if (open === null) return null
  const { ordinal, tsUs, xid, gtid } = open.txn
  return {
    ordinal: `${ordinal}`,
    tsUs: `${tsUs}`,
    ...(xid === undefined ? {} : { xid: `${xid}` }),
    ...(gtid === undefined ? {} : { gtid: [gtid.source, `${gtid.number}`] }),
    counts: open.counts,
  }
}

export function restoreTransaction(
  { transactions }: MessageFormat,
  { ordinal, tsUs, xid, gtid, counts }: OpenTransaction,
): void {
  const txn = {
    ordinal: BigInt(ordinal),
    previous: 0n,
    tsUs: BigInt(tsUs),
    ...(xid === undefined ? {} : { xid: BigInt(xid) }),
    ...(gtid === undefined ? {} : { gtid: { source: gtid[0], number: BigInt(gtid[1]) } }),
  }
  transactions?.restore(txn, counts)
}
