/** How far the log was read: whole transactions, and row messages inside the one that is being sent. */
import { TidemarkError } from '../../core/errors.js'
import type { Position, TxnRef } from '../../core/model.js'
import { type LogPlace, parsePosition } from './position.js'

export interface Transaction {
  readonly ref: TxnRef
  readonly finalLsn: bigint
  readonly xid: bigint
  rows: number
  /** Row messages that a run before this one delivered. */
  skip: number
}

export class LogCursor {
  /** Nothing that committed before is still to come. */
  completed = 0n
  transaction: Transaction | null = null
  #inside: LogPlace['inside'] = null
  #xid: bigint

  /** `xidBase`: a 64-bit xid of the recent past, from which 32-bit ones are widened. */
  constructor(xidBase: bigint) {
    this.#xid = xidBase
  }

  start(position: Position | null): void {
    const place = position === null ? { completed: 0n, inside: null } : parsePosition(position)
    this.completed = place.completed
    this.#inside = place.inside
  }

  begin({
    finalLsn,
    tsUs,
    xid: short,
  }: {
    readonly finalLsn: bigint
    readonly tsUs: bigint
    readonly xid: number
  }): void {
    const xid = this.#widen(short)
    // The commit record starts at finalLsn: that is the transaction's place among all commits.
    const ref: TxnRef = { ordinal: finalLsn, previous: this.completed, tsUs, xid }
    this.transaction = { ref, finalLsn, xid, rows: 0, skip: 0 }
    const inside = this.#inside
    if (inside === null || finalLsn < inside.finalLsn) return
    if (finalLsn !== inside.finalLsn || xid !== inside.xid) {
      throw new TidemarkError('postgres.position_lost', {
        message: `the checkpoint lies inside transaction ${inside.xid}, but the log goes on with transaction ${xid}`,
        fix: 'The server is not the one the checkpoint was made with, or it was restored. Run `tidemark drop FILE` and start anew.',
      })
    }
    this.transaction.skip = inside.rows
    this.#inside = null
  }

  commit(endLsn: bigint): void {
    this.completed = endLsn
    this.transaction = null
  }

  /** Nothing that committed before `walEnd` is still to come, unless a transaction is being sent. True: that is news. */
  keepalive(walEnd: bigint): boolean {
    if (this.transaction !== null || walEnd <= this.completed) return false
    this.completed = walEnd
    if (this.#inside !== null && walEnd > this.#inside.finalLsn) this.#inside = null
    return true
  }

  /** 1.10 i: counts a row message; the transaction if it is to be delivered. */
  count(): Transaction | null {
    const { transaction } = this
    if (transaction === null)
      throw new TidemarkError('core.bug', { message: 'a row message came outside a transaction' })
    return ++transaction.rows <= transaction.skip ? null : transaction
  }

  get place(): LogPlace {
    const { completed, transaction } = this
    if (transaction === null) return { completed, inside: this.#inside }
    const rows = Math.max(transaction.rows, transaction.skip)
    const { finalLsn, xid } = transaction
    return { completed, inside: rows > 0 ? { rows, finalLsn, xid } : this.#inside }
  }

  /** 32-bit xids are the low half of one near the last one seen. */
  #widen(short: number): bigint {
    const span = 1n << 32n
    let xid = (this.#xid & ~(span - 1n)) | BigInt(short)
    if (xid > this.#xid + span / 2n && xid >= span) xid -= span
    else if (xid + span / 2n < this.#xid) xid += span
    if (xid > this.#xid) this.#xid = xid
    return xid
  }
}
