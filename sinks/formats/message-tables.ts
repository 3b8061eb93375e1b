/** Puts a table's writers together: which format writes the value, what the key is, which headers all messages have. */
import type { TableSchema } from '../../core/model.js'
import { debeziumCodecs, debeziumEncoder } from './debezium-json.js'
import type { LineEncoder } from './format.js'
import type { Headers } from './message-buffers.js'
import { tableHeaders } from './message-headers.js'
import { jsonKey, type KeyWriter } from './message-key.js'
import type { MessageFormatOptions } from './message-options.js'
import { productVersion } from './product-version.js'
import { rowCodecs, rowEncoder } from './row-json.js'

export interface TableEncoder {
  readonly value: LineEncoder
  /** null: the table's messages have no key. */
  readonly key: KeyWriter | null
  readonly keyColumns: readonly number[]
  readonly headers: Headers
}

export type TableOptions = MessageFormatOptions & { readonly runId: string }

export function compileTable(schema: TableSchema, options: TableOptions): TableEncoder {
  const keyColumns = keyColumnsOf(schema, options)
  const { value, codecs } = valueWriter(schema, options)
  const key =
    keyColumns.length === 0 ? null : jsonKey(schema, { columns: keyColumns, opening: '{', closing: '}', codecs })
  return { value, key, keyColumns, headers: tableHeaders(schema, options) }
}

function valueWriter(schema: TableSchema, options: TableOptions) {
  switch (options.name) {
    case 'row-json':
      return { value: rowEncoder(schema, false), codecs: rowCodecs(schema) }
    case 'debezium-json':
      return {
        value: debeziumEncoder(schema, { ...options, version: productVersion(), closing: '' }),
        codecs: debeziumCodecs(schema, options.modes),
      }
  }
}

/** The columns that message.key.columns names for the table; without any, those of its event key. */
function keyColumnsOf(schema: TableSchema, { keyColumns }: TableOptions): readonly number[] {
  return keyColumns?.(schema) ?? schema.key
}
