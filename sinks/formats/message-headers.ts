/** Headers of messages: who wrote them, of which table they are, fixed ones, and the other key of a key change. */
import type { TableSchema } from '../../core/model.js'
import { connectorName } from './debezium-source.js'
import type { Headers, HeaderValue } from './message-buffers.js'

export const NEW_KEY_HEADER = '__debezium.newkey'
export const OLD_KEY_HEADER = '__debezium.oldkey'

export interface HeaderOptions {
  readonly logicalName: string
  readonly connector?: string
  /** Debezium's four `__debezium.context.*` headers. */
  readonly contextHeaders: boolean
  /** Names this run in `__debezium.context.runId`. */
  readonly runId: string
  /** Flink's `namespace`, `schemaName` and `tableName`. */
  readonly tableIdHeaders: boolean
  /** Table ids begin with the database, as with Flink's `table-id.include-database`. */
  readonly tableIdDatabase: boolean
  /** Headers that every message gets. */
  readonly fixedHeaders: Headers
}

/** What every message of a table has. */
export function tableHeaders(schema: TableSchema, options: HeaderOptions): Headers {
  const headers: [string, HeaderValue][] = []
  if (options.contextHeaders) {
    headers.push(
      ['__debezium.context.connectorLogicalName', options.logicalName],
      ['__debezium.context.taskId', '0'],
      ['__debezium.context.connectorName', connectorName(schema, options.connector)],
      ['__debezium.context.runId', options.runId],
    )
  }
  if (options.tableIdHeaders) {
    headers.push(
      ['namespace', options.tableIdDatabase ? schema.database : ''],
      ['schemaName', schema.namespace],
      ['tableName', schema.name],
    )
  }
  return [...headers, ...options.fixedHeaders.map(([name, value]): [string, HeaderValue] => [name, value])]
}

/** Flink's name of a table: `public.orders`, or with its database before it. */
export function flinkTableId({ database, namespace, name }: TableSchema, withDatabase: boolean): string {
  return withDatabase ? `${database}.${namespace}.${name}` : `${namespace}.${name}`
}
