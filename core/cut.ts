/**
 * A cut answers one question: is this transaction already in the rows that were read? PostgreSQL answers with
 * its snapshot (xid set), other databases with a log position, a GTID set or a commit time. A window is the
 * honest answer of a database that cannot say exactly: rows hold at least what the low mark covers and at most
 * what the high mark covers, and what lies between is folded in from the log (correctness.md 1.10 a).
 */
import { TidemarkError } from './errors.js'
import type { TxnRef } from './model.js'

export type CutData =
  | {
      readonly kind: 'xid'
      readonly xmin: string
      readonly xmax: string
      readonly xip: readonly string[]
      readonly after: string
    }
  | { readonly kind: 'position'; readonly high: string }
  | {
      readonly kind: 'gtid'
      readonly sets: Readonly<Record<string, readonly (readonly [string, string])[]>>
      readonly after: string
    }
  | { readonly kind: 'time'; readonly us: string; readonly after: string }

export interface Cut {
  /** True: the rows already show the transaction, so its events on them are dropped. */
  covers(txn: TxnRef): boolean
  /** Once the log has delivered everything up to this ordinal, covers() is false for ever. */
  readonly resolvedAfter: bigint
  toJSON(): CutData
}

/** PostgreSQL: `pg_current_snapshot()`; `after` is the WAL insert position read just after it. All 64 bit. */
export function xidCut(snapshot: { xmin: bigint; xmax: bigint; xip: readonly bigint[] }, after: bigint): Cut {
  const { xmin, xmax } = snapshot
  const inProgress = new Set(snapshot.xip)
  return {
    covers({ xid }) {
      if (xid === undefined)
        throw new TidemarkError('core.bug', { message: 'a transaction without xid met an xid cut' })
      return xid < xmin || (xid < xmax && !inProgress.has(xid))
    },
    resolvedAfter: after,
    toJSON: () => ({ kind: 'xid', xmin: `${xmin}`, xmax: `${xmax}`, xip: snapshot.xip.map(String), after: `${after}` }),
  }
}

/** Prefix engines: everything committed at or before `high`. */
export function positionCut(high: bigint): Cut {
  return {
    covers: ({ ordinal }) => ordinal <= high,
    resolvedAfter: high,
    toJSON: () => ({ kind: 'position', high: `${high}` }),
  }
}

/** Everything in the set; membership, never an order. Intervals are inclusive. */
export function gtidCut(sets: ReadonlyMap<string, readonly (readonly [bigint, bigint])[]>, after: bigint): Cut {
  return {
    covers({ gtid }) {
      if (gtid === undefined)
        throw new TidemarkError('core.bug', { message: 'a transaction without GTID met a GTID cut' })
      return (sets.get(gtid.source) ?? []).some(([from, to]) => gtid.number >= from && gtid.number <= to)
    },
    resolvedAfter: after,
    toJSON: () => ({
      kind: 'gtid',
      sets: Object.fromEntries([...sets].map(([id, list]) => [id, list.map(([a, b]) => [`${a}`, `${b}`] as const)])),
      after: `${after}`,
    }),
  }
}

/** Everything committed at or before a commit time (cluster time, TSO, SCN) in the source's own unit. */
export function timeCut(us: bigint, after: bigint): Cut {
  return {
    covers: ({ tsUs }) => tsUs <= us,
    resolvedAfter: after,
    toJSON: () => ({ kind: 'time', us: `${us}`, after: `${after}` }),
  }
}

export function cutFromJSON(data: CutData): Cut {
  switch (data.kind) {
    case 'xid':
      return xidCut({ xmin: BigInt(data.xmin), xmax: BigInt(data.xmax), xip: data.xip.map(BigInt) }, BigInt(data.after))
    case 'position':
      return positionCut(BigInt(data.high))
    case 'gtid':
      return gtidCut(
        new Map(
          Object.entries(data.sets).map(([id, list]) => [id, list.map(([a, b]) => [BigInt(a), BigInt(b)] as const)]),
        ),
        BigInt(data.after),
      )
    case 'time':
      return timeCut(BigInt(data.us), BigInt(data.after))
  }
}
