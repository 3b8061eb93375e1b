/** Puts a table's writers together: which format writes the value, what the key is, which headers all messages have. */
import type { Column, Origin, TableSchema } from '../../core/model.js'
import { avroEncoder, avroKey, wirePrefix } from './avro-envelope.js'
import { canalEncoder } from './canal-json.js'
import { cloudEventEncoder, STRUCTURED_TYPE } from './cloudevents.js'
import { absentJson, type ConnectSchema, schemaJson, tableSchemas } from './connect-schema.js'
import { debeziumCodecs, debeziumEncoder } from './debezium-json.js'
import type { EventIds } from './event-ids.js'
import { flinkCanalEncoder, flinkCodecs, flinkDebeziumEncoder, flinkSchemaJson } from './flink-json.js'
import type { LineEncoder } from './format.js'
import { maxwellCodecs, maxwellEncoder } from './maxwell-json.js'
import type { Headers } from './message-buffers.js'
import { csvKey } from './message-csv-key.js'
import { flinkTableId, tableHeaders } from './message-headers.js'
import { jsonKey, type KeyWriter } from './message-key.js'
import type { MessageFormatOptions } from './message-options.js'
import { productVersion } from './product-version.js'
import type { RegisteredSchemas } from './registered-schemas.js'
import { rowCodecs, rowEncoder } from './row-json.js'
import { type TransactionCounter, transactionBlock } from './transactions.js'
import type { ValueCodec } from './value-codec.js'

export interface TableEncoder {
  readonly value: LineEncoder
  /** null: the table's messages have no key. */
  readonly key: KeyWriter | null
  readonly keyColumns: readonly number[]
  /** What every message has. */
  readonly headers: Headers
  /** What the message that was written last has besides. */
  readonly eventHeaders?: () => Headers
}

export type TableOptions = MessageFormatOptions & {
  readonly runId: string
  readonly transactions: TransactionCounter
  readonly eventIds: EventIds
  /** avro and json-schema alone have it. */
  readonly registered: RegisteredSchemas | null
  /** JSON of the next event's `transaction`. */
  readonly transaction?: (origin: Origin, place: number | bigint) => string
}

export function compileTable(schema: TableSchema, options: TableOptions): TableEncoder {
  const keyColumns = keyColumnsOf(schema, options)
  const { transactions, transactionIds: ids } = options
  const counted = ids === null ? options : { ...options, transaction: transactionBlock(schema, transactions, ids) }
  const { headers = [], ...writers } = writersOf({ schema, keyColumns, options: counted })
  return { keyColumns, headers: [...headers, ...tableHeaders(schema, options)], ...writers }
}

/** The columns that message.key.columns names for the table; without any, those of its event key. */
export function keyColumnsOf(schema: TableSchema, { keyColumns }: MessageFormatOptions): readonly number[] {
  return keyColumns?.(schema) ?? schema.key
}

interface Table {
  readonly schema: TableSchema
  readonly keyColumns: readonly number[]
  readonly options: TableOptions
}
type Writers = Pick<TableEncoder, 'value' | 'key' | 'eventHeaders'> & { readonly headers?: Headers }

function writersOf(table: Table): Writers {
  const { schema, options } = table
  switch (options.name) {
    case 'row-json':
      return { value: rowEncoder(schema, false), key: keyOf(table, rowCodecs(schema)) }
    case 'canal-json':
      return options.flavor === 'flink'
        ? { value: flinkCanalEncoder(schema), key: flinkKey(table) }
        : { value: canalEncoder(schema), key: keyOf(table, flinkCodecs(schema)) }
    case 'maxwell-json':
      return { value: maxwellEncoder(schema, options), key: maxwellKey(table) }
    case 'cloudevents':
      return cloudEventWriters(table)
    case 'avro':
      return avroWriters(table)
    case 'json-schema':
      return jsonSchemaWriters(table)
    case 'debezium-json':
      return options.flavor === 'flink' ? flinkDebeziumWriters(table) : debeziumWriters(table)
  }
}

function keyOf(
  { schema, keyColumns }: Table,
  codecs: readonly (ValueCodec | null)[],
  opening: string | Buffer = '{',
  closing = '}',
) {
  if (keyColumns.length === 0) return null
  return jsonKey(schema, { columns: keyColumns, opening, closing, codecs })
}

function debeziumWriters(table: Table): Writers {
  const { schema, keyColumns, options } = table
  const { modes } = options
  const version = productVersion()
  const codecs = debeziumCodecs(schema, modes)
  if (!options.includeSchema) {
    return { value: debeziumEncoder(schema, { ...options, version, closing: '' }), key: keyOf(table, codecs) }
  }
  const { key, envelope } = tableSchemas(schema, keyColumns, options)
  const opening = (of: ConnectSchema) => `{"schema":${schemaJson(of)},"payload":`
  const absent = (column: Column, codec: ValueCodec) => absentJson(column, codec, modes)
  return {
    value: debeziumEncoder(schema, { ...options, version, opening: opening(envelope), closing: '}', absent }),
    key: key === null ? null : keyOf(table, codecs, `${opening(key)}{`, '}}'),
  }
}

function avroWriters(table: Table): Writers {
  const { schema, options, keyColumns } = table
  const { schemas, key, value } = options.registered!.of(schema)
  const avro = { ...options, version: productVersion() }
  const json = keyOf(table, debeziumCodecs(schema, options.modes))
  return {
    value: avroEncoder(schema, schemas, value, avro),
    key: json === null ? null : avroKey(schema, schemas, key!, { ...avro, columns: keyColumns, json }),
  }
}

/** The JSON of debezium-json behind the id of its schema. */
function jsonSchemaWriters(table: Table): Writers {
  const { schema, options } = table
  const { key, value } = options.registered!.of(schema)
  const absent = (column: Column, codec: ValueCodec) => absentJson(column, codec, options.modes)
  const opening = wirePrefix(value)
  return {
    value: debeziumEncoder(schema, { ...options, version: productVersion(), closing: '', absent, opening }),
    key:
      key === null
        ? null
        : keyOf(table, debeziumCodecs(schema, options.modes), Buffer.concat([wirePrefix(key), Buffer.from('{')])),
  }
}

function cloudEventWriters(table: Table): Writers {
  const { schema, options } = table
  const binary = options.cloudEventsMode === 'binary'
  const value = cloudEventEncoder(schema, { ...options, version: productVersion() }, options.eventIds, binary)
  const key = keyOf(table, debeziumCodecs(schema, options.modes))
  return binary
    ? { value, key, eventHeaders: value.headers }
    : { value, key, headers: [['content-type', STRUCTURED_TYPE]] }
}

function flinkDebeziumWriters(table: Table): Writers {
  const { schema, options } = table
  const wrap = options.includeSchema
    ? { opening: `{"schema":${flinkSchemaJson(schema)},"payload":`, closing: '}' }
    : { opening: '', closing: '' }
  return { value: flinkDebeziumEncoder(schema, wrap), key: flinkKey(table) }
}

/** Flink's key names the table, and has the key's columns behind it. */
function flinkKey({ schema, keyColumns, options }: Table): KeyWriter {
  const tableId = flinkTableId(schema, options.tableIdDatabase)
  if (options.keyFormat === 'csv') return csvKey(schema, tableId, keyColumns, flinkCodecs(schema))
  const opening = `{"TableId":${JSON.stringify(tableId)}`
  return jsonKey(schema, { columns: keyColumns, opening, closing: '}', codecs: flinkCodecs(schema) })
}

/** Maxwell's key has the table and `pk.` before each column. */
function maxwellKey({ schema, keyColumns }: Table): KeyWriter {
  const opening = `{"database":${JSON.stringify(schema.namespace)},"table":${JSON.stringify(schema.name)}`
  return jsonKey(schema, { columns: keyColumns, opening, closing: '}', codecs: maxwellCodecs(schema), prefix: 'pk.' })
}
