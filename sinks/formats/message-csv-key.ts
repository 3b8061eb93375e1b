/** Keys as Flink's CSV format writes them (`key.format: csv`): the table's id, then the key's columns. */
import type { Change, TableSchema, Value } from '../../core/model.js'
import { NULL_LENGTH } from '../../core/packed-rows.js'
import { valueJson } from './debezium-postgres.js'
import { type KeyWriter, notSentKey } from './message-key.js'
import type { ValueCodec } from './value-codec.js'

/** Jackson quotes longer text without a look at it. */
const LOOKED_AT_CHARS_MAX = 24
/** Jackson quotes text with a character before this one: separators, quotes, spaces, control characters. */
const SAFE_CHAR_MIN = 45

export function csvKey(
  schema: TableSchema,
  tableId: string,
  columns: readonly number[],
  codecs: readonly ValueCodec[],
): KeyWriter {
  const refuse = notSentKey(schema, columns)
  const head = cell(JSON.stringify(tableId))
  const line = (valueAt: (index: number) => Value): string =>
    [head, ...columns.map((index) => cell(valueJson(codecs[index]!, valueAt(index))))].join(',')
  const valuesOf = ({ op, before, after }: Change) => (op === 'd' ? before! : after!)
  return {
    columns,
    gather(text, change) {
      refuse(change)
      return text
    },
    write(writer, change) {
      const row = valuesOf(change)
      writer.length = writer.put(
        writer.length,
        line((index) => row[index]),
        0,
      )
    },
    packed(writer, { bytes, places }, base) {
      const valueAt = (index: number): Value => {
        const from = places[base + 2 * index]!
        const length = places[base + 2 * index + 1]!
        return length === NULL_LENGTH ? null : bytes.toString('utf8', from, from + length)
      }
      writer.length = writer.put(writer.length, line(valueAt), 0)
    },
    header: (change) => Buffer.from(line((index) => valuesOf(change)[index])),
  }
}

function cell(json: string): string {
  if (json === 'null') return ''
  if (json[0] !== '"') return json
  const text = JSON.parse(json) as string
  return isSafe(text) ? text : `"${text.replaceAll('"', '""')}"`
}

function isSafe(text: string): boolean {
  if (text.length > LOOKED_AT_CHARS_MAX) return false
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < SAFE_CHAR_MIN) return false
  return true
}
