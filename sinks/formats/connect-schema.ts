/** Kafka Connect's schemas of rows, keys and envelopes, as Debezium names them. */
import type { Column, ColumnType, TableSchema } from '../../core/model.js'
import { debeziumCodecs, defaultJson } from './debezium-json.js'
import type { DebeziumModes } from './debezium-modes.js'
import { elementOf, isUnknown } from './debezium-postgres.js'
import { connectorName } from './debezium-source.js'
import { timeUnit } from './debezium-times.js'

export type ConnectType =
  | 'boolean'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'float'
  | 'double'
  | 'string'
  | 'bytes'
  | 'array'
  | 'map'
  | 'struct'

export interface ConnectSchema {
  readonly type: ConnectType
  readonly fields?: readonly ConnectField[]
  readonly items?: ConnectSchema
  readonly optional: boolean
  readonly name?: string
  readonly version?: number
  readonly doc?: string
  readonly parameters?: Readonly<Record<string, string>>
  /** The default as JSON. */
  readonly defaultJson?: string
}

export interface ConnectField {
  readonly field: string
  readonly schema: ConnectSchema
  /** Position of the column in the table; absent in fields that are none. */
  readonly column?: number
}

type Semantic = Omit<ConnectSchema, 'optional'>

const named = (type: ConnectType, name: string, parameters?: Record<string, string>): Semantic => ({
  type,
  name,
  version: 1,
  ...(parameters === undefined ? {} : { parameters }),
})
const field = (name: string, type: ConnectType, optional = false): ConnectField => ({
  field: name,
  schema: { type, optional },
})

export const VARIABLE_DECIMAL = 'io.debezium.data.VariableScaleDecimal'
export const DECIMAL = 'org.apache.kafka.connect.data.Decimal'
const VARBIT_LENGTH_MAX = 2_147_483_647

/** What a column's values are; the column is one that Debezium writes. */
export function semanticType(type: ColumnType, modes: DebeziumModes): Semantic {
  if (isUnknown(type, modes)) return binary(modes)
  switch (type.kind) {
    case 'bool':
      return { type: 'boolean' }
    case 'int16':
    case 'int32':
    case 'int64':
      return { type: type.kind }
    case 'float32':
      return { type: 'float' }
    case 'float64':
      return { type: 'double' }
    case 'decimal':
      return decimal(type, modes)
    case 'money':
      return number(modes, named('bytes', DECIMAL, { scale: String(modes.moneyDigits) }))
    case 'bytes':
      return binary(modes)
    case 'bits':
      return type.length === 1
        ? { type: 'boolean' }
        : named('bytes', 'io.debezium.data.Bits', { length: String(type.length ?? VARBIT_LENGTH_MAX) })
    case 'array':
      return array(type, modes)
    case 'point':
      return POINT
    case 'hstore':
      return modes.hstore === 'json' ? named('string', 'io.debezium.data.Json') : { type: 'map' }
    case 'interval':
      return modes.interval === 'numeric'
        ? named('int64', 'io.debezium.time.MicroDuration')
        : named('string', 'io.debezium.time.Interval')
    case 'date':
    case 'time':
    case 'timetz':
    case 'timestamp':
    case 'timestamptz':
      return time(type, modes)
    default:
      return textual(type)
  }
}

const POINT: Semantic = {
  ...named('struct', 'io.debezium.data.geometry.Point'),
  doc: 'Geometry (POINT)',
  fields: [field('x', 'double'), field('y', 'double'), field('wkb', 'bytes', true), field('srid', 'int32', true)],
}

function textual({ kind, base, labels }: ColumnType): Semantic {
  if (kind === 'uuid') return named('string', 'io.debezium.data.Uuid')
  if (kind === 'json') return named('string', 'io.debezium.data.Json')
  if (kind === 'xml') return named('string', 'io.debezium.data.Xml')
  if (kind === 'enum') return named('string', 'io.debezium.data.Enum', { allowed: (labels ?? []).join(',') })
  if (base === 'oid') return { type: 'int64' }
  if (base === 'tsvector') return named('string', 'io.debezium.data.Tsvector')
  if (base === 'ltree') return named('string', 'io.debezium.data.Ltree')
  if (base === 'vector') return vector('double', 'io.debezium.data.DoubleVector')
  if (base === 'halfvec') return vector('float', 'io.debezium.data.FloatVector')
  return { type: 'string' }
}

function vector(type: ConnectType, name: string): Semantic {
  return { ...named('array', name), items: { type, optional: false } }
}

function binary({ binary: mode }: DebeziumModes): Semantic {
  return { type: mode === 'bytes' ? 'bytes' : 'string' }
}

function number({ decimal: mode }: DebeziumModes, precise: Semantic): Semantic {
  return mode === 'precise' ? precise : { type: mode }
}

function decimal({ precision, scale }: ColumnType, modes: DebeziumModes): Semantic {
  if (precision !== null) {
    const parameters = { scale: String(scale ?? 0), 'connect.decimal.precision': String(precision) }
    return number(modes, named('bytes', DECIMAL, parameters))
  }
  return number(modes, {
    ...named('struct', VARIABLE_DECIMAL),
    doc: 'Variable scaled decimal',
    fields: [field('scale', 'int32'), field('value', 'bytes')],
  })
}

function array(type: ColumnType, modes: DebeziumModes): Semantic {
  const element = elementOf(type)!
  // Debezium's enum elements alone are not optional.
  return { type: 'array', items: { ...semanticType(element, modes), optional: element.kind !== 'enum' } }
}

function time(type: ColumnType, { time: mode }: DebeziumModes): Semantic {
  const unit = timeUnit(type, mode)
  switch (type.kind) {
    case 'timetz':
      return named('string', 'io.debezium.time.ZonedTime')
    case 'timestamptz':
      return named('string', 'io.debezium.time.ZonedTimestamp')
    case 'date':
      if (unit === 'iso') return named('string', 'io.debezium.time.IsoDate')
      return named('int32', mode === 'connect' ? 'org.apache.kafka.connect.data.Date' : 'io.debezium.time.Date')
    case 'time':
      if (unit === 'iso') return named('string', 'io.debezium.time.IsoTime')
      if (mode === 'connect') return named('int32', 'org.apache.kafka.connect.data.Time')
      if (unit === 3) return named('int32', 'io.debezium.time.Time')
      return named('int64', unit === 6 ? 'io.debezium.time.MicroTime' : 'io.debezium.time.NanoTime')
    default:
      if (unit === 'iso') return named('string', 'io.debezium.time.IsoTimestamp')
      if (mode === 'connect') return named('int64', 'org.apache.kafka.connect.data.Timestamp')
      if (unit === 3) return named('int64', 'io.debezium.time.Timestamp')
      return named('int64', unit === 6 ? 'io.debezium.time.MicroTimestamp' : 'io.debezium.time.NanoTimestamp')
  }
}

/** The schemas of one table. */
export interface TableSchemas {
  readonly key: ConnectSchema | null
  /** The row, as `before` and `after` hold it. */
  readonly row: ConnectSchema
  readonly envelope: ConnectSchema
}

export interface SchemaOptions {
  readonly logicalName: string
  readonly connector?: string
  readonly modes: DebeziumModes
}

export function tableSchemas(schema: TableSchema, key: readonly number[], options: SchemaOptions): TableSchemas {
  const fields = rowFields(schema, options.modes)
  const name = `${options.logicalName}.${schema.namespace}.${schema.name}`
  const row: ConnectSchema = { type: 'struct', fields, optional: true, name: `${name}.Value` }
  const keyFields = key.flatMap((column) => fields.filter((f) => f.column === column))
  return {
    key: key.length === 0 ? null : { type: 'struct', fields: keyFields, optional: false, name: `${name}.Key` },
    row,
    envelope: {
      type: 'struct',
      fields: [
        { field: 'before', schema: row },
        { field: 'after', schema: row },
        { field: 'source', schema: sourceSchema(connectorName(schema, options.connector)) },
        { field: 'transaction', schema: TRANSACTION_BLOCK },
        field('op', 'string'),
        field('ts_ms', 'int64', true),
        field('ts_us', 'int64', true),
        field('ts_ns', 'int64', true),
      ],
      optional: false,
      name: `${name}.Envelope`,
      version: 2,
    },
  }
}

function rowFields(schema: TableSchema, modes: DebeziumModes): ConnectField[] {
  const codecs = debeziumCodecs(schema, modes)
  return schema.columns.flatMap((column, i) => {
    const codec = codecs[i]
    if (!codec) return []
    const json = defaultJson(column, codec)
    const type = semanticType(column.type, modes)
    // A generated column may be missing from streamed rows.
    const optional = column.nullable || column.generated
    const schemaOf = json === 'null' ? { ...type, optional } : { ...type, optional, defaultJson: json }
    return [{ field: column.name, schema: schemaOf, column: i }]
  })
}

const SNAPSHOT_VALUES = 'true,first,first_in_data_collection,last_in_data_collection,last,false,incremental'

export function sourceSchema(connector: string): ConnectSchema {
  return {
    ...named('struct', `io.debezium.connector.${connector}.Source`),
    optional: false,
    fields: [
      field('version', 'string'),
      field('connector', 'string'),
      field('name', 'string'),
      field('ts_ms', 'int64'),
      {
        field: 'snapshot',
        schema: {
          ...named('string', 'io.debezium.data.Enum', { allowed: SNAPSHOT_VALUES }),
          optional: true,
          defaultJson: '"false"',
        },
      },
      field('db', 'string'),
      field('sequence', 'string', true),
      field('ts_us', 'int64', true),
      field('ts_ns', 'int64', true),
      field('schema', 'string'),
      field('table', 'string'),
      field('txId', 'int64', true),
      field('lsn', 'int64', true),
      field('xmin', 'int64', true),
      field('origin', 'string', true),
      field('origin_lsn', 'int64', true),
    ],
  }
}

export const TRANSACTION_BLOCK: ConnectSchema = {
  ...named('struct', 'event.block'),
  optional: true,
  fields: [field('id', 'string'), field('total_order', 'int64'), field('data_collection_order', 'int64')],
}

/** A schema as Connect's JSON converter writes it. */
export function schemaJson(schema: ConnectSchema, fieldName?: string): string {
  const text = JSON.stringify
  const parts = [`"type":${text(schema.type)}`]
  if (schema.fields) parts.push(`"fields":[${schema.fields.map((f) => schemaJson(f.schema, f.field))}]`)
  if (schema.items) parts.push(`"items":${schemaJson(schema.items)}`)
  if (schema.type === 'map') parts.push(MAP_OF_TEXT)
  parts.push(`"optional":${schema.optional}`)
  if (schema.name !== undefined) parts.push(`"name":${text(schema.name)}`)
  if (schema.version !== undefined) parts.push(`"version":${schema.version}`)
  if (schema.doc !== undefined) parts.push(`"doc":${text(schema.doc)}`)
  if (schema.parameters !== undefined) parts.push(`"parameters":${text(schema.parameters)}`)
  if (schema.defaultJson !== undefined) parts.push(`"default":${schema.defaultJson}`)
  if (fieldName !== undefined) parts.push(`"field":${text(fieldName)}`)
  return `{${parts.join(',')}}`
}

const MAP_OF_TEXT = '"keys":{"type":"string","optional":false},"values":{"type":"string","optional":true}'

/** JSON that stands for a value which was not sent and may not be null: what Debezium invents. */
export function inventedJson({ type, name, items }: ConnectSchema): string {
  if (name !== undefined && name in INVENTED) return INVENTED[name]!
  if (items !== undefined) return '[]'
  return { boolean: 'false', string: '""', bytes: '""', map: '{}', float: '0.0', double: '0.0' }[type as string] ?? '0'
}

const INVENTED: Readonly<Record<string, string>> = {
  [DECIMAL]: '"AA=="',
  [VARIABLE_DECIMAL]: '{"scale":0,"value":"AA=="}',
  'io.debezium.data.Json': '"{}"',
  'io.debezium.data.geometry.Point': '{"x":0.0,"y":0.0,"wkb":"AQEAAAAAAAAAAAAAAAAAAAAAAAAA","srid":null}',
  'io.debezium.time.ZonedTimestamp': '"1970-01-01T00:00:00Z"',
  'io.debezium.time.ZonedTime': '"00:00:00Z"',
  'io.debezium.time.IsoDate': '"1970-01-01Z"',
  'io.debezium.time.IsoTime': '"00:00:00Z"',
  'io.debezium.time.IsoTimestamp': '"1970-01-01T00:00:00Z"',
  'io.debezium.time.Interval': '"P0Y0M0DT0H0M0S"',
}

/** A column of an old row that was not sent: its default, null where it may be, else what Debezium invents. */
export function absentJson(column: Column, codec: Parameters<typeof defaultJson>[1], modes: DebeziumModes): string {
  const json = defaultJson(column, codec)
  if (json !== 'null' || column.nullable || column.generated) return json
  return inventedJson({ ...semanticType(column.type, modes), optional: false })
}
