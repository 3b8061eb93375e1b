/** Debezium's envelope and keys as Avro records in Confluent's wire format: a zero byte, the schema's id, the record. */
import type { Change, Column, Origin, SnapshotMark, TableSchema } from '../../core/model.js'
import type { PackedValues } from '../../core/packed-rows.js'
import { putByte, putLong, putText } from './avro-bytes.js'
import { type AvroRow, avroRow } from './avro-rows.js'
import { ByteWriter } from './byte-writer.js'
import { floorMs } from './calendar.js'
import { absentJson, type ConnectField, type TableSchemas } from './connect-schema.js'
import { debeziumCodecs } from './debezium-json.js'
import type { DebeziumModes } from './debezium-modes.js'
import { unavailableJson } from './debezium-postgres.js'
import { connectorName, type SourceOptions, sequenceOf } from './debezium-source.js'
import type { LineEncoder } from './format.js'
import { type KeyWriter, notSentKey } from './message-key.js'
import { append } from './parts.js'
import type { ValueCodec } from './value-codec.js'

export interface AvroOptions extends SourceOptions {
  readonly modes: DebeziumModes
}

export const WIRE_BYTES = 5

/** What stands before each record. */
export function wirePrefix(schemaId: number): Buffer {
  const prefix = Buffer.alloc(WIRE_BYTES)
  prefix.writeInt32BE(schemaId, 1)
  return prefix
}

const NULL = 0
const VALUE = 2

export function avroEncoder(
  schema: TableSchema,
  schemas: TableSchemas,
  schemaId: number,
  options: AvroOptions,
): LineEncoder {
  const prefix = wirePrefix(schemaId)
  const { present, old } = rowWriters(schema, schemas, options.modes)
  const tail = envelopeTail(schema, options)
  const start = (writer: ByteWriter): void => append(writer, prefix)
  return {
    begin: tail.begin,
    mark: tail.mark,
    gather: (text) => text,
    line(writer, { op, before, after, at }) {
      start(writer)
      putByte(writer, before === null ? NULL : VALUE)
      if (before !== null) old.write(writer, before)
      putByte(writer, op === 'd' ? NULL : VALUE)
      if (op !== 'd') present.write(writer, after!)
      tail.end(writer, op, at)
    },
    packed(writer, values, base, at) {
      start(writer)
      putByte(writer, NULL)
      putByte(writer, VALUE)
      present.packed(writer, values, base)
      tail.end(writer, 'r', at)
    },
    truncate(writer, at) {
      start(writer)
      putByte(writer, NULL)
      putByte(writer, NULL)
      tail.end(writer, 't', at)
    },
  }
}

function rowWriters(
  schema: TableSchema,
  { row }: TableSchemas,
  modes: DebeziumModes,
): { present: AvroRow; old: AvroRow } {
  const codecs = debeziumCodecs(schema, modes)
  const column = (field: ConnectField): [Column, ValueCodec] => [schema.columns[field.column!]!, codecs[field.column!]!]
  return {
    present: avroRow(schema, row.fields!, codecs, (field) => {
      const [{ type, generated }] = column(field)
      if (generated) return 'null'
      const holdsText =
        ['string', 'array', 'map'].includes(field.schema.type) ||
        (field.schema.type === 'bytes' && field.schema.name === undefined)
      return holdsText ? unavailableJson(type, modes) : null
    }),
    old: avroRow(schema, row.fields!, codecs, (field) => absentJson(...column(field), modes)),
  }
}

interface EnvelopeTail {
  begin(origin: Origin, nowMs: number): void
  mark(snapshot: SnapshotMark): void
  end(writer: ByteWriter, op: Change['op'] | 't', at: number | bigint): void
}

/** `source`, `transaction`, `op` and the times, in the order of the envelope's schema. */
function envelopeTail(schema: TableSchema, options: AvroOptions): EnvelopeTail {
  const part = new ByteWriter()
  let origin: Origin | null = null
  let head: Buffer = Buffer.alloc(0)
  let middle = head
  let times = head
  let sequence = head
  let sequenceAt: number | bigint = -1
  const made = (write: (to: ByteWriter) => void): Buffer => {
    part.begin()
    write(part)
    return Buffer.from(part.taken())
  }
  const makeHead = (from: Origin, snapshot: SnapshotMark): Buffer =>
    made((to) => {
      const log = from.kind === 'log'
      for (const text of [options.version, connectorName(schema, options.connector), options.logicalName]) {
        putText(to, text)
      }
      putLong(to, floorMs(log ? from.txn.tsUs : from.tsUs))
      // The snapshot marker has a default, so its text is the first branch.
      putByte(to, NULL)
      putText(to, log ? 'false' : snapshot)
      putText(to, schema.database)
      putByte(to, VALUE)
    })
  return {
    mark(snapshot) {
      head = makeHead(origin!, snapshot)
    },
    begin(from, nowMs) {
      origin = from
      sequenceAt = -1
      const { tsUs, xid } = from.kind === 'log' ? from.txn : from
      head = makeHead(from, 'true')
      middle = made((to) => {
        putOptional(to, tsUs)
        putOptional(to, tsUs * 1000n)
        putText(to, schema.namespace)
        putText(to, schema.name)
        putOptional(to, xid ?? null)
        putByte(to, VALUE)
      })
      const us = BigInt(Math.floor(nowMs * 1000))
      times = made((to) => {
        putOptional(to, us / 1000n)
        putOptional(to, us)
        putOptional(to, us * 1000n)
      })
    },
    end(writer, op, at) {
      append(writer, head)
      if (at !== sequenceAt) {
        sequenceAt = at
        sequence = made((to) => putText(to, sequenceOf(origin!, at)))
      }
      append(writer, sequence)
      append(writer, middle)
      putLong(writer, at)
      // xmin, origin, origin_lsn
      for (let i = 0; i < 3; i++) putByte(writer, NULL)
      putTransaction(writer, options.transaction?.(origin!, at) ?? 'null')
      putText(writer, op)
      append(writer, times)
    },
  }
}

function putOptional(writer: ByteWriter, value: bigint | null): void {
  putByte(writer, value === null ? NULL : VALUE)
  if (value !== null) putLong(writer, value)
}

function putTransaction(writer: ByteWriter, json: string): void {
  putByte(writer, json === 'null' ? NULL : VALUE)
  if (json === 'null') return
  const block = JSON.parse(json) as { id: string; total_order: number; data_collection_order: number }
  putText(writer, block.id)
  putLong(writer, block.total_order)
  putLong(writer, block.data_collection_order)
}

/** `json` writes the same key for the headers of a key change, which are JSON in every format. */
export function avroKey(
  schema: TableSchema,
  { key }: TableSchemas,
  schemaId: number,
  options: AvroOptions & { readonly columns: readonly number[]; readonly json: KeyWriter },
): KeyWriter {
  const prefix = wirePrefix(schemaId)
  const { columns, json } = options
  const row = avroRow(schema, key!.fields!, debeziumCodecs(schema, options.modes), () => null)
  const refuse = notSentKey(schema, columns)
  return {
    columns,
    gather(text, change) {
      refuse(change)
      return text
    },
    write(writer, { op, before, after }) {
      append(writer, prefix)
      row.write(writer, op === 'd' ? before! : after!)
    },
    packed(writer: ByteWriter, values: PackedValues, base: number) {
      append(writer, prefix)
      row.packed(writer, values, base)
    },
    header: json.header,
  }
}
