/**
 * Messages about table definitions, in the shape of Debezium's schema change topic. Debezium has them for databases whose log
 * has DDL, with its text; here they come from the definitions that rows are written under, so `ddl` is null and every source
 * has them.
 */
import type { Column, Dialect, Origin, TableSchema } from '../../core/model.js'
import { floorMs } from './calendar.js'
import { connectorName } from './debezium-source.js'
import { jdbcType } from './jdbc-types.js'
import { productVersion } from './product-version.js'

export interface SchemaChange {
  readonly type: 'CREATE' | 'ALTER'
  readonly schema: TableSchema
  /** Of the first rows under the definition; null: it was found at the start. */
  readonly origin: Origin | null
}

export interface SchemaChangeMessage {
  readonly key: Buffer
  readonly value: Buffer
}

const US_PER_MS = 1000n

/** `nowMs`: milliseconds since 1970. */
export function schemaChangeMessage(
  { type, schema, origin }: SchemaChange,
  { logicalName, nowMs }: { readonly logicalName: string; readonly nowMs: number },
): SchemaChangeMessage {
  const { namespace, name, dialect } = schema
  // What MySQL calls a database is the namespace of its tables.
  const databaseName = dialect === 'mysql' ? namespace : schema.database
  const schemaName = dialect === 'mysql' ? null : namespace
  const tsUs = origin === null ? BigInt(nowMs) * US_PER_MS : origin.kind === 'log' ? origin.txn.tsUs : origin.tsUs
  const text = JSON.stringify
  const source = [
    `"version":${text(productVersion())}`,
    `"connector":${text(connectorName(schema, undefined))}`,
    `"name":${text(logicalName)}`,
    `"ts_ms":${floorMs(tsUs)}`,
    `"snapshot":"${origin?.kind !== 'log'}"`,
    `"db":${text(databaseName)}`,
    '"sequence":null',
    `"ts_us":${tsUs}`,
    `"ts_ns":${tsUs}000`,
    ...(schemaName === null ? [] : [`"schema":${text(schemaName)}`]),
    `"table":${text(name)}`,
  ]
  const id = [namespace, name].map((part) => `"${part.replaceAll('"', '""')}"`).join('.')
  const table = {
    defaultCharsetName: null,
    primaryKeyColumnNames: schema.key.map((i) => schema.columns[i]!.name),
    columns: schema.columns.map((column, i) => columnOf(column, i, dialect)),
    comment: null,
  }
  const rest = { ts_ms: nowMs, databaseName, schemaName, ddl: null, tableChanges: [{ type, id, table }] }
  return {
    key: Buffer.from(text({ databaseName })),
    value: Buffer.from(`{"source":{${source}},${text(rest).slice(1)}`),
  }
}

function columnOf({ name, type, nullable, generated, defaultValue }: Column, i: number, dialect: Dialect) {
  return {
    name,
    jdbcType: jdbcType(type.kind),
    nativeType: null,
    typeName: dialect === 'mysql' ? type.base.toUpperCase() : type.base,
    typeExpression: type.native,
    charsetName: null,
    length: type.length ?? type.precision,
    scale: type.scale,
    position: i + 1,
    optional: nullable,
    autoIncremented: null,
    generated,
    comment: null,
    defaultValueExpression: typeof defaultValue === 'string' ? defaultValue : null,
    enumValues: type.labels,
  }
}
