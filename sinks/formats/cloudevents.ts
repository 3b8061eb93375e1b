/**
 * CloudEvents 1.0 with the attributes of Debezium's CloudEventsConverter. Structured: the value is one JSON object.
 * Binary (Kafka protocol binding 1.0): the value is the data, the attributes are headers named `ce_...`.
 */
import type { Change, Origin, SnapshotMark, TableSchema } from '../../core/model.js'
import type { ByteWriter } from './byte-writer.js'
import { floorMs } from './calendar.js'
import { type DebeziumOptions, debeziumRows } from './debezium-json.js'
import { mysqlSourceOf } from './debezium-mysql-source.js'
import { connectorName, sequenceOf } from './debezium-source.js'
import type { EventIds } from './event-ids.js'
import type { LineEncoder } from './format.js'
import type { Headers } from './message-buffers.js'
import { append, appendRow } from './parts.js'

export const STRUCTURED_TYPE = 'application/cloudevents+json'
const DATA_TYPE = 'application/json'

/** The value's writer; `headers` are the attributes of the event that was written last, for binary mode. */
export interface CloudEventEncoder extends LineEncoder {
  headers(): Headers
}

export function cloudEventEncoder(
  schema: TableSchema,
  options: DebeziumOptions,
  ids: EventIds,
  binary: boolean,
): CloudEventEncoder {
  const { present, old } = debeziumRows(schema, options)
  const attributesOf = attributeMaker(schema, options, ids)
  let origin: Origin | null = null
  let attributes: Attributes = []
  let snapshot: SnapshotMark = 'true'
  const open = (writer: ByteWriter, op: Change['op'] | 't', at: number | bigint): void => {
    attributes = attributesOf(origin!, op, at, snapshot)
    if (binary) return
    const pairs = attributes.map(([name, value]) => `"${name}":${value === null ? 'null' : JSON.stringify(value)}`)
    append(writer, Buffer.from(`{${pairs.join(',')},"data":`))
  }
  const close = (writer: ByteWriter, text: string): void => append(writer, Buffer.from(binary ? text : `${text}}`))
  return {
    begin(from) {
      origin = from
      snapshot = 'true'
    },
    mark(next) {
      snapshot = next
    },
    gather(text, { before, after }) {
      const head = before === null ? text : old.gather(text, before)
      return after === null ? head : present.gather(head, after)
    },
    line(writer, { op, before, after, at }) {
      open(writer, op, at)
      append(writer, before === null ? NO_BEFORE : BEFORE)
      if (before !== null) {
        appendRow(writer, old, before)
        append(writer, op === 'd' ? NO_AFTER : AFTER)
      }
      if (op !== 'd') appendRow(writer, present, after!)
      close(writer, op === 'd' ? '}' : '}}')
    },
    packed(writer, values, base, at) {
      open(writer, 'r', at)
      append(writer, NO_BEFORE)
      writer.length = present.packed(writer, writer.length, values, base)
      close(writer, '}}')
    },
    truncate(writer, at) {
      open(writer, 't', at)
      close(writer, '{"before":null,"after":null}')
    },
    headers: () =>
      attributes.flatMap(([name, value]): Headers => {
        if (name === 'datacontenttype') return [['content-type', value]]
        return value === null ? [] : [[`ce_${name}`, value]]
      }),
  }
}

const NO_BEFORE = Buffer.from('{"before":null,"after":{')
const BEFORE = Buffer.from('{"before":{')
const AFTER = Buffer.from('},"after":{')
const NO_AFTER = Buffer.from('},"after":null')

type Attributes = readonly (readonly [string, string | null])[]

function attributeMaker(
  schema: TableSchema,
  { logicalName, version, connector }: DebeziumOptions,
  ids: EventIds,
): (origin: Origin, op: Change['op'] | 't', at: number | bigint, snapshot: SnapshotMark) => Attributes {
  if (schema.dialect === 'mysql') return mysqlAttributes(schema, { logicalName, version, connector }, ids)
  const kind = connectorName(schema, connector)
  return (origin, op, at, snapshot) => {
    const log = origin.kind === 'log'
    const tsUs = log ? origin.txn.tsUs : origin.tsUs
    const xid = log ? origin.txn.xid : origin.xid
    const ms = floorMs(tsUs)
    return [
      ['id', `name:${logicalName};lsn:${at};txId:${xid ?? 'null'}${log ? ids.streamed(at) : ids.read()}`],
      ['source', `/debezium/${kind}/${logicalName}`],
      ['specversion', '1.0'],
      ['type', `io.debezium.connector.${kind}.DataChangeEvent`],
      ['time', new Date(Number(ms)).toISOString()],
      ['datacontenttype', DATA_TYPE],
      ['iodebeziumop', op],
      ['iodebeziumversion', version],
      ['iodebeziumconnector', kind],
      ['iodebeziumname', logicalName],
      ['iodebeziumtsms', String(ms)],
      ['iodebeziumsnapshot', log ? 'false' : snapshot],
      ['iodebeziumdb', schema.database],
      ['iodebeziumsequence', sequenceOf(origin, at)],
      ['iodebeziumtsus', String(tsUs)],
      ['iodebeziumtsns', `${tsUs}000`],
      ['iodebeziumschema', schema.namespace],
      ['iodebeziumtable', schema.name],
      ['iodebeziumtxid', xid === undefined ? null : String(xid)],
      ['iodebeziumlsn', String(at)],
      ['iodebeziumxmin', null],
      ['iodebeziumorigin', null],
      ['iodebeziumoriginlsn', null],
    ]
  }
}

/** The same with what `source` of a MySQL event has. */
function mysqlAttributes(
  schema: TableSchema,
  {
    logicalName,
    version,
    connector,
  }: Pick<DebeziumOptions, 'logicalName' | 'version'> & { connector: string | undefined },
  ids: EventIds,
): ReturnType<typeof attributeMaker> {
  const kind = connectorName(schema, connector)
  return (origin, op, at, snapshot) => {
    const log = origin.kind === 'log'
    const tsUs = log ? origin.txn.tsUs : origin.tsUs
    const ms = floorMs(tsUs)
    const { file, pos, row, gtid, serverId, thread } = mysqlSourceOf(origin, at)
    return [
      ['id', `name:${logicalName};file:${file};pos:${pos}${log ? `;row:${row};op:${op}` : ids.read()}`],
      ['source', `/debezium/${kind}/${logicalName}`],
      ['specversion', '1.0'],
      ['type', `io.debezium.connector.${kind}.DataChangeEvent`],
      ['time', new Date(Number(ms)).toISOString()],
      ['datacontenttype', DATA_TYPE],
      ['iodebeziumop', op],
      ['iodebeziumversion', version],
      ['iodebeziumconnector', kind],
      ['iodebeziumname', logicalName],
      ['iodebeziumtsms', String(ms)],
      ['iodebeziumsnapshot', log ? 'false' : snapshot],
      ['iodebeziumdb', schema.namespace],
      ['iodebeziumsequence', null],
      ['iodebeziumtsus', String(tsUs)],
      ['iodebeziumtsns', `${tsUs}000`],
      ['iodebeziumtable', schema.name],
      ['iodebeziumserverid', String(serverId)],
      ['iodebeziumgtid', gtid],
      ['iodebeziumfile', file],
      ['iodebeziumpos', String(pos)],
      ['iodebeziumrow', String(row)],
      ['iodebeziumthread', thread === null ? null : String(thread)],
      ['iodebeziumquery', null],
    ]
  }
}
