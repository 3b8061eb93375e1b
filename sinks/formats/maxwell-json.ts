/**
 * maxwell-json: what Maxwell's daemon writes, rows of a snapshot as its bootstrap does or as inserts. The last row of a transaction is
 * not marked (`commit`), because it is not known when it leaves.
 */
import type { Change, Origin, TableSchema, TxnRef } from '../../core/model.js'
import { mysqlSourceOf } from './debezium-mysql-source.js'
import type { LineEncoder } from './format.js'
import { append, appendRow, appendSome } from './parts.js'
import { changedValues, plainRows, wholeRow } from './plain-rows.js'
import { maxwellStyle, styledCodecs } from './text-codecs.js'
import { collectionName, type TransactionCounter } from './transactions.js'

const SLACK = 8
export const MAXWELL_SNAPSHOT_TYPES = ['bootstrap-insert', 'insert'] as const
export type MaxwellSnapshotType = (typeof MAXWELL_SNAPSHOT_TYPES)[number]

const TYPES = { c: 'insert', u: 'update', d: 'delete', t: 'table-truncate' } as const
const US_PER_S = 1_000_000n

export function maxwellCodecs(schema: TableSchema) {
  return styledCodecs(schema, maxwellStyle)
}

export interface MaxwellOptions {
  readonly transactions: TransactionCounter
  readonly snapshotType: MaxwellSnapshotType
}

export function maxwellEncoder(schema: TableSchema, { transactions, snapshotType }: MaxwellOptions): LineEncoder {
  const { rows, changed } = plainRows(schema, maxwellCodecs(schema), SLACK)
  const name = JSON.stringify
  const types = { ...TYPES, r: snapshotType }
  let origin: Origin | null = null
  let seconds = 0n
  const head = (op: keyof typeof types, at: number | bigint): Buffer => {
    const table = `"database":${name(schema.namespace)},"table":${name(schema.name)},"type":"${types[op]}","ts":${seconds}`
    if (origin!.kind === 'snapshot' || op === 'r') return Buffer.from(`{${table},"data":{`)
    const { txn } = origin!
    const offset = transactions.next(origin!.txn, collectionName(schema)).total - 1
    const place = schema.dialect === 'mysql' ? mysqlPlace(origin!, at) : `"position":"${at}"`
    return Buffer.from(`{${table},"xid":${xidOf(txn)},"xoffset":${offset},${place},"data":{`)
  }
  const closeData = Buffer.from('}')
  const openOld = Buffer.from('},"old":')
  const end = Buffer.from('}')
  return {
    begin(from) {
      origin = from
      const us = from.kind === 'log' ? from.txn.tsUs : from.tsUs
      seconds = us / US_PER_S
    },
    gather(gathered, change) {
      const text = rows.gather(gathered, wholeRow(schema, change, 'maxwell-json'))
      return change.op === 'u' ? changed.gather(text, changedValues(change) ?? []) : text
    },
    line(writer, change: Change) {
      append(writer, head(change.op, change.at))
      appendRow(writer, rows, change.op === 'd' ? change.before! : change.after!)
      if (change.op === 'u') {
        append(writer, openOld)
        appendSome(writer, changed, changedValues(change) ?? [])
      } else append(writer, closeData)
      append(writer, end)
    },
    packed(writer, values, base, at) {
      append(writer, head('r', at))
      writer.length = rows.packed(writer, writer.length, values, base)
      append(writer, closeData)
      append(writer, end)
    },
    truncate(writer, at) {
      append(writer, head('t', at))
      append(writer, closeData)
      append(writer, end)
    },
  }
}

/** A number that all rows of a transaction share. The one that MySQL gives it stands at its end, so its GTID's or its place is taken. */
function xidOf({ xid, gtid, ordinal, binlog }: TxnRef): string {
  return String(xid ?? (binlog === undefined ? null : (gtid?.number ?? ordinal)))
}

function mysqlPlace(origin: Origin, at: number | bigint): string {
  const { file, pos, gtid, serverId, thread } = mysqlSourceOf(origin, at)
  const named = gtid === null ? '' : `,"gtid":${JSON.stringify(gtid)}`
  return `"position":${JSON.stringify(`${file}:${pos}`)}${named},"server_id":${serverId},"thread_id":${thread}`
}
