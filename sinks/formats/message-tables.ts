/** Puts a table's writers together: which format writes the value, what the key is, which headers all messages have. */
import type { Column, TableSchema } from '../../core/model.js'
import { absentJson, type ConnectSchema, schemaJson, tableSchemas } from './connect-schema.js'
import { debeziumCodecs, debeziumEncoder } from './debezium-json.js'
import type { LineEncoder } from './format.js'
import type { Headers } from './message-buffers.js'
import { tableHeaders } from './message-headers.js'
import { jsonKey, type KeyWriter } from './message-key.js'
import type { MessageFormatOptions } from './message-options.js'
import { productVersion } from './product-version.js'
import { rowCodecs, rowEncoder } from './row-json.js'
import type { ValueCodec } from './value-codec.js'

export interface TableEncoder {
  readonly value: LineEncoder
  /** null: the table's messages have no key. */
  readonly key: KeyWriter | null
  readonly keyColumns: readonly number[]
  readonly headers: Headers
}

export type TableOptions = MessageFormatOptions & { readonly runId: string }

export function compileTable(schema: TableSchema, options: TableOptions): TableEncoder {
  const keyColumns = options.keyColumns?.(schema) ?? schema.key
  return { keyColumns, headers: tableHeaders(schema, options), ...writersOf(schema, keyColumns, options) }
}

type Writers = Pick<TableEncoder, 'value' | 'key'>

function writersOf(schema: TableSchema, keyColumns: readonly number[], options: TableOptions): Writers {
  const keyOf = (codecs: readonly (ValueCodec | null)[], opening = '{', closing = '}') =>
    keyColumns.length === 0 ? null : jsonKey(schema, { columns: keyColumns, opening, closing, codecs })
  switch (options.name) {
    case 'row-json':
      return { value: rowEncoder(schema, false), key: keyOf(rowCodecs(schema)) }
    case 'debezium-json': {
      const { modes } = options
      const version = productVersion()
      const codecs = debeziumCodecs(schema, modes)
      if (!options.includeSchema) {
        return { value: debeziumEncoder(schema, { ...options, version, closing: '' }), key: keyOf(codecs) }
      }
      const { key, envelope } = tableSchemas(schema, keyColumns, options)
      const opening = (of: ConnectSchema) => `{"schema":${schemaJson(of)},"payload":`
      const absent = (column: Column, codec: ValueCodec) => absentJson(column, codec, modes)
      return {
        value: debeziumEncoder(schema, { ...options, version, opening: opening(envelope), closing: '}', absent }),
        key: key === null ? null : keyOf(codecs, `${opening(key)}{`, '}}'),
      }
    }
  }
}
