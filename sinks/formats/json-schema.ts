/** Connect schemas as JSON Schema, as Confluent's JSON Schema converter writes them. */
import type { ConnectSchema } from './connect-schema.js'

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }
type JsonObject = { readonly [key: string]: Json }

const TYPES: Readonly<Record<string, JsonObject>> = {
  boolean: { type: 'boolean' },
  int16: { type: 'integer', 'connect.type': 'int16' },
  int32: { type: 'integer', 'connect.type': 'int32' },
  int64: { type: 'integer', 'connect.type': 'int64' },
  float: { type: 'number', 'connect.type': 'float32' },
  double: { type: 'number', 'connect.type': 'float64' },
  string: { type: 'string' },
  bytes: { type: 'string', 'connect.type': 'bytes' },
}

/** The schema as text, for a registry. */
export function jsonSchemaJson(schema: ConnectSchema): string {
  return JSON.stringify(typeOf(schema, null))
}

function typeOf(schema: ConnectSchema, index: number | null): JsonObject {
  const { name, version, doc, parameters, defaultJson, optional } = schema
  const outer: Record<string, Json> = index === null ? {} : { 'connect.index': index }
  if (defaultJson !== undefined) outer.default = JSON.parse(defaultJson) as Json
  const inner: JsonObject = {
    ...shapeOf(schema),
    ...(name === undefined ? {} : { title: name }),
    ...(version === undefined ? {} : { 'connect.version': version }),
    ...(doc === undefined ? {} : { description: doc }),
    ...(parameters === undefined ? {} : { 'connect.parameters': parameters }),
  }
  return optional ? { oneOf: [{ type: 'null' }, inner], ...outer } : { ...inner, ...outer }
}

function shapeOf({ type, fields, items }: ConnectSchema): JsonObject {
  if (type === 'struct') {
    const properties = fields!.map(({ field, schema }, i) => [field, typeOf(schema, i)] as const)
    return { type: 'object', properties: Object.fromEntries(properties) }
  }
  if (type === 'array') return { type: 'array', items: typeOf(items!, null) }
  if (type === 'map') {
    const values = { oneOf: [{ type: 'null' }, { type: 'string' }] }
    return { type: 'object', 'connect.type': 'map', additionalProperties: values }
  }
  return TYPES[type]!
}
