/** The `source` of a MySQL event, as in debezium-source.ts: constants but for the place in the binlog. */
import { type BinlogTransaction, binlogPlaceOf } from '../../core/binlog-place.js'
import type { Change, Origin, SnapshotMark, TableSchema, TxnRef } from '../../core/model.js'
import { floorMs } from './calendar.js'
import { connectorName, type SourceOptions, type SourceWriter, timesJson } from './debezium-source.js'

export interface MysqlSource {
  readonly serverId: number
  readonly gtid: string | null
  readonly file: string
  readonly pos: number
  readonly row: number
  readonly thread: number | null
}

/** What `source` says of an event at `at`. */
export function mysqlSourceOf(origin: Origin, at: number | bigint): MysqlSource {
  if (origin.kind === 'snapshot') {
    const { file = '', pos = 0 } = origin.binlog ?? {}
    return { serverId: 0, gtid: null, file, pos, row: 0, thread: null }
  }
  const { file = '', serverId = 0, thread = null } = origin.txn.binlog ?? {}
  return { serverId, gtid: gtidText(origin.txn), file, thread, ...binlogPlaceOf(at) }
}

const NO_SERVER: Pick<BinlogTransaction, 'serverId'> = { serverId: 0 }

/** MySQL's `uuid:number`, MariaDB's `domain-server-sequence`. */
export function gtidText({ gtid, binlog = NO_SERVER as BinlogTransaction }: TxnRef): string | null {
  if (gtid === undefined) return null
  return /^\d+$/.test(gtid.source)
    ? `${gtid.source}-${binlog.serverId}-${gtid.number}`
    : `${gtid.source}:${gtid.number}`
}

export function mysqlSourceWriter(schema: TableSchema, options: SourceOptions): SourceWriter {
  const { closing = '\n', transaction = () => 'null' } = options
  const text = JSON.stringify
  const opening = `{"version":${text(options.version)},"connector":${text(connectorName(schema, options.connector))},"name":${text(options.logicalName)},`
  let origin: Origin | null = null
  let now = 0
  let head = ''
  let tails = new Map<string, string>()
  const begun = (snapshot: SnapshotMark): void => {
    const from = origin!
    const tsUs = from.kind === 'log' ? from.txn.tsUs : from.tsUs
    const { serverId, gtid, file } = mysqlSourceOf(from, 0)
    const mark = from.kind === 'log' ? 'false' : snapshot
    head = `,"source":${opening}"ts_ms":${floorMs(tsUs)},"snapshot":"${mark}","db":${text(schema.namespace)},"sequence":null,"ts_us":${tsUs},"ts_ns":${tsUs}000,"table":${text(schema.name)},"server_id":${serverId},"gtid":${text(gtid)},"file":${text(file)},"pos":`
  }
  const tailOf = (op: string, at: number | bigint, thread: number | null): string => {
    const made = `,"thread":${thread},"query":null},"transaction":${transaction(origin!, at)},"op":"${op}",${timesJson(now)}}${closing}`
    if (options.transaction === undefined) tails.set(op, made)
    return made
  }
  return {
    begin(from, nowMs) {
      origin = from
      now = nowMs
      tails = new Map()
      begun('true')
    },
    mark: begun,
    end(writer, at, op: Change['op'] | 't', place) {
      const { pos, row, thread } = mysqlSourceOf(origin!, place)
      const tail = tails.get(op) ?? tailOf(op, place, thread)
      const line = `${op === 'd' || op === 't' ? '' : '}'}${head}${pos},"row":${row}${tail}`
      const length = Buffer.byteLength(line)
      writer.reserve(at, length)
      writer.bytes.write(line, at, 'utf8')
      writer.length = at + length
    },
  }
}
