/**
 * Debezium's change event envelope for one table. Everything that is the same for a whole batch is put together once
 * in begin(); what changes from line to line is the row and the place in the log.
 */
import type { Column, TableSchema } from '../../core/model.js'
import { type DebeziumModes, LINE_MODES } from './debezium-modes.js'
import { mysqlCodec } from './debezium-mysql.js'
import { mysqlSourceWriter } from './debezium-mysql-source.js'
import { plainCodec } from './debezium-plain.js'
import { postgresCodec, unavailableJson, valueJson } from './debezium-postgres.js'
import { putBytes, type SourceOptions, sourceWriter } from './debezium-source.js'
import type { LineEncoder } from './format.js'
import { compileRow, type Field, type RowWriter } from './row-compiler.js'
import type { ValueCodec } from './value-codec.js'

export interface DebeziumOptions extends SourceOptions {
  readonly modes?: DebeziumModes
  /** What stands before each event: an embedded schema, or the id of one. */
  readonly opening?: string | Buffer
  /** JSON for a column of the old row that was not sent; by default its default, or null. */
  readonly absent?: (column: Column, codec: ValueCodec) => string
}

/** How each column's values are written; null: Debezium leaves the column out. */
export function debeziumCodecs({ dialect, columns }: TableSchema, modes: DebeziumModes): (ValueCodec | null)[] {
  const codecOf = { postgres: postgresCodec, mysql: mysqlCodec, plain: plainCodec }[dialect]
  return columns.map(({ type }) => codecOf(type, modes))
}

/** Writers of new and of old rows. */
export function debeziumRows(schema: TableSchema, options: DebeziumOptions): { present: RowWriter; old: RowWriter } {
  const modes = options.modes ?? LINE_MODES
  const codecs = debeziumCodecs(schema, modes)
  const compile = (unsent: (column: Column, codec: ValueCodec) => string): RowWriter =>
    compileRow(fieldsOf(schema, codecs, unsent), { leadingComma: false, slack: EMPTY_AFTER.length })
  return {
    present: compile(({ type }) => unavailableJson(type, modes)),
    // Under DEFAULT identity the old row has only its key: the rest is null, or the column's default where it has one.
    old: compile(options.absent ?? defaultJson),
  }
}

export function debeziumEncoder(schema: TableSchema, options: DebeziumOptions): LineEncoder {
  const { present, old } = debeziumRows(schema, options)
  const source = schema.dialect === 'mysql' ? mysqlSourceWriter(schema, options) : sourceWriter(schema, options)
  const opened = (text: string) => Buffer.concat([Buffer.from(options.opening ?? ''), Buffer.from(text)])
  const noBefore = opened('{"before":null,"after":{')
  const withBefore = opened('{"before":{')
  const noRows = opened('{"before":null,"after":null')

  return {
    begin: source.begin,
    mark: source.mark,
    gather(text, { before, after }) {
      const head = before === null ? text : old.gather(text, before)
      return after === null ? head : present.gather(head, after)
    },
    line(writer, { op, before, after, at }) {
      let p = writer.length
      if (before === null) {
        writer.reserve(p, noBefore.length)
        p = putBytes(writer.bytes, p, noBefore)
      } else {
        writer.reserve(p, withBefore.length)
        p = old.write(writer, putBytes(writer.bytes, p, withBefore), before)
        p = putBytes(writer.bytes, p, op === 'd' ? EMPTY_AFTER : AFTER)
      }
      if (op !== 'd') p = present.write(writer, p, after!)
      source.end(writer, p, op, at)
    },
    packed(writer, values, base, at) {
      const p = writer.length
      writer.reserve(p, noBefore.length)
      const end = present.packed(writer, putBytes(writer.bytes, p, noBefore), values, base)
      source.end(writer, end, 'r', at)
    },
    truncate(writer, at) {
      writer.reserve(writer.length, noRows.length)
      source.end(writer, putBytes(writer.bytes, writer.length, noRows), 't', at)
    },
  }
}

const AFTER = Buffer.from('},"after":{')
const EMPTY_AFTER = Buffer.from('},"after":null')

export function defaultJson({ defaultValue }: Column, codec: ValueCodec): string {
  try {
    return valueJson(codec, defaultValue)
  } catch {
    // A default is an expression, `0` for money, say: one without a value's form is none, and no reason to stop.
    return 'null'
  }
}

function fieldsOf(
  schema: TableSchema,
  codecs: readonly (ValueCodec | null)[],
  unsent: (column: Column, codec: ValueCodec) => string,
): Field[] {
  const fields: Field[] = []
  schema.columns.forEach((column, index) => {
    const codec = codecs[index]
    if (!codec) return
    // A generated column that the log does not carry has no old value to stand for: it is left out, but not as the
    // first field, on whose place the commas depend.
    const absent = column.generated && fields.length > 0 ? null : unsent(column, codec)
    fields.push({ name: column.name, index, codec, unsent: absent })
  })
  return fields
}
