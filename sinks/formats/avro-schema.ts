/**
 * Connect schemas as Avro schemas, with the properties by which Confluent's Avro converter finds the Connect schema
 * again: connect.name, connect.version, connect.parameters, connect.default, connect.type.
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import { type ConnectSchema, DECIMAL } from './connect-schema.js'

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

const PRIMITIVES: Readonly<Record<string, string>> = {
  boolean: 'boolean',
  int16: 'int',
  int32: 'int',
  int64: 'long',
  float: 'float',
  double: 'double',
  string: 'string',
  bytes: 'bytes',
}
const LOGICAL: Readonly<Record<string, string>> = {
  'org.apache.kafka.connect.data.Date': 'date',
  'org.apache.kafka.connect.data.Time': 'time-millis',
  'org.apache.kafka.connect.data.Timestamp': 'timestamp-millis',
}
/** What Confluent's converter assumes where a decimal declares none. */
const PRECISION_DEFAULT = 64

/** The schema as text, for a registry. `table` is named where its columns' names collide. */
export function avroSchemaJson(schema: ConnectSchema, table: TableId): string {
  return JSON.stringify(plainType(schema, { table, defined: new Set() }))
}

interface Context {
  readonly table: TableId
  /** Full names of records that were written out already: Avro names them from then on. */
  readonly defined: Set<string>
}

/** With null where it may be: before the type, or behind it when there is a default, whose type comes first. */
function avroType(schema: ConnectSchema, context: Context): Json {
  const type = plainType(schema, context)
  if (!schema.optional) return type
  return schema.defaultJson === undefined ? ['null', type] : [type, 'null']
}

/** Whether null is the second branch of an optional type. */
export function isNullLast(schema: ConnectSchema): boolean {
  return schema.defaultJson !== undefined
}

function plainType(schema: ConnectSchema, context: Context): Json {
  if (schema.type === 'struct') return recordType(schema, context)
  const properties = connectProperties(schema)
  if (schema.type === 'array') {
    return { type: 'array', items: avroType(schema.items!, context), ...properties }
  }
  if (schema.type === 'map') return { type: 'map', values: ['null', 'string'], ...properties }
  const type = PRIMITIVES[schema.type]!
  return Object.keys(properties).length === 0 ? type : { type, ...properties }
}

function recordType(schema: ConnectSchema, context: Context): Json {
  const full = avroName(schema.name ?? 'ConnectDefault')
  if (context.defined.has(full)) return full
  context.defined.add(full)
  const dot = full.lastIndexOf('.')
  const names = fieldNames(schema, context.table)
  const fields = schema.fields!.map((field, i): Json => {
    const given = field.schema.defaultJson
    return {
      name: names[i]!,
      type: avroType(field.schema, context),
      ...(given !== undefined
        ? { default: avroDefault(field.schema) }
        : field.schema.optional
          ? { default: null }
          : {}),
    }
  })
  return {
    type: 'record',
    name: full.slice(dot + 1),
    ...(dot < 0 ? {} : { namespace: full.slice(0, dot) }),
    fields,
    ...connectProperties({ ...schema, ...(schema.name === undefined ? {} : { name: full }) }),
  }
}

function connectProperties(schema: ConnectSchema): Record<string, Json> {
  const { type, name, version, doc, parameters, defaultJson } = schema
  const out: Record<string, Json> = {}
  if (name === DECIMAL) {
    out.scale = Number(parameters!.scale)
    out.precision = Number(parameters!['connect.decimal.precision'] ?? PRECISION_DEFAULT)
  }
  if (doc !== undefined) out['connect.doc'] = doc
  if (version !== undefined) out['connect.version'] = version
  if (parameters !== undefined) out['connect.parameters'] = parameters
  if (defaultJson !== undefined) out['connect.default'] = avroDefault(schema)
  if (name !== undefined) out['connect.name'] = name
  if (type === 'int16') out['connect.type'] = 'int16'
  const logical = name === DECIMAL ? 'decimal' : LOGICAL[name ?? '']
  if (logical !== undefined) out.logicalType = logical
  return out
}

/** A default as Avro writes it: bytes are text with a character for each. */
function avroDefault(schema: ConnectSchema): Json {
  return avroJson(schema, JSON.parse(schema.defaultJson!) as Json)
}

function avroJson(schema: ConnectSchema, value: Json): Json {
  if (value === null) return null
  if (schema.type === 'bytes') return Buffer.from(value as string, 'base64').toString('latin1')
  if (schema.type === 'array') return (value as readonly Json[]).map((item) => avroJson(schema.items!, item))
  if (schema.type !== 'struct') return value
  const fields = schema.fields!.map(({ field, schema: inner }) => [
    field,
    avroJson(inner, (value as { readonly [key: string]: Json })[field]!),
  ])
  return Object.fromEntries(fields) as Json
}

/** Debezium's `schema.name.adjustment.mode: avro`: what Avro does not allow in a name becomes an underscore. */
export function avroName(name: string): string {
  return name
    .split('.')
    .map((part) => (part === '' ? '_' : part.replace(/^[^A-Za-z_]/, '_').replace(/[^A-Za-z0-9_]/g, '_')))
    .join('.')
}

function fieldNames(schema: ConnectSchema, table: TableId): string[] {
  const taken = new Map<string, string>()
  return schema.fields!.map(({ field }) => {
    const name = avroName(field.replaceAll('.', '_'))
    const other = taken.get(name)
    if (other !== undefined) throw collision(table, other, field, name)
    taken.set(name, field)
    return name
  })
}

function collision(table: TableId, one: string, other: string, name: string): TidemarkError {
  return new TidemarkError('format.name_collision', {
    message: `Columns ${JSON.stringify(one)} and ${JSON.stringify(other)} of table ${table} have the same name in Avro: ${name}.`,
    fix: 'Rename one of them with a transform, leave one out, or use value.format: debezium-json.',
  })
}
