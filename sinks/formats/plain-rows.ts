/** Rows for formats that know whole rows only: no stand-in for a value that was not sent. */
import { TidemarkError } from '../../core/errors.js'
import type { Change, Row, TableSchema } from '../../core/model.js'
import { compileRow, type Field, type RowWriter } from './row-compiler.js'
import type { ValueCodec } from './value-codec.js'

export interface PlainRows {
  /** New rows, and old ones that a delete brings: columns outside the old key are null. */
  readonly rows: RowWriter
  /** Some columns of an old row, each with a comma before it. */
  readonly changed: RowWriter
}

export function plainRows(schema: TableSchema, codecs: readonly ValueCodec[], slack: number): PlainRows {
  const fields = (unsent: Field['unsent']): Field[] =>
    schema.columns.map(({ name, generated }, index) => ({
      name,
      index,
      codec: codecs[index]!,
      // A generated column that the log does not carry is left out, but not as the first field, for the commas' sake.
      unsent: generated && index > 0 ? null : unsent,
    }))
  return {
    rows: compileRow(fields('null'), { leadingComma: false, slack }),
    changed: compileRow(
      fields(null).map((field) => ({ ...field, unsent: null })),
      { leadingComma: true, slack },
    ),
  }
}

/** I7: what a format cannot say is not written as null. */
export function wholeRow({ id, columns }: TableSchema, { op, before, after }: Change, format: string): Row {
  if (op === 'd') return before!
  const missing = op === 'u' ? after!.findIndex((v, i) => v === undefined && !columns[i]!.generated) : -1
  if (missing < 0) return after!
  throw new TidemarkError('format.value_not_sent', {
    message: `An update of table ${id} came without column ${columns[missing]!.name}, a large value that it did not touch, and ${format} has no way to say so.`,
    fix: `Let the source send whole old rows (PostgreSQL: ALTER TABLE ${id} REPLICA IDENTITY FULL), or use value.format: debezium-json.`,
  })
}

/** The old values of columns that an update changed; the rest undefined. null: no old row, or none of it changed. */
export function changedValues({ op, before, after }: Change): Row | null {
  if (op !== 'u' || before === null) return null
  return before.map((value, i) => (same(value, after![i]) ? undefined : value))
}

function same(a: Row[number], b: Row[number]): boolean {
  if (a === b) return true
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0
  return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((v, i) => same(v, b[i]))
}
