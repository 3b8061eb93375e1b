/** Keys of messages: the key's columns as a JSON object, compiled for each table like its rows. */
import { TidemarkError } from '../../core/errors.js'
import type { Change, TableSchema } from '../../core/model.js'
import type { PackedValues } from '../../core/packed-rows.js'
import type { ByteWriter } from './byte-writer.js'
import { valueJson } from './debezium-postgres.js'
import { compileRow } from './row-compiler.js'
import type { ValueCodec } from './value-codec.js'

export interface KeyWriter {
  /** Positions of the key's columns in a row. */
  readonly columns: readonly number[]
  /** `text` and behind it the values that write() takes from the writer's source. Refuses a change without its key. */
  gather(text: string, change: Change): string
  /** Writes a change's key at the writer's end. */
  write(writer: ByteWriter, change: Change): void
  packed(writer: ByteWriter, values: PackedValues, base: number): void
  /** The key as headers hold it: JSON without a schema around it. */
  header(change: Change): Buffer
}

export interface KeyShape {
  readonly columns: readonly number[]
  /** What stands before the first column: `{`. */
  readonly opening: string | Buffer
  /** What stands behind the last: `}`. */
  readonly closing: string
  readonly codecs: readonly (ValueCodec | null)[]
  /** Stands before each column's name. */
  readonly prefix?: string
}

export function jsonKey(schema: TableSchema, { columns, opening, closing, codecs, prefix = '' }: KeyShape): KeyWriter {
  const fields = columns.map((index) => {
    const { name } = schema.columns[index]!
    const codec = codecs[index]
    if (!codec) throw unsupported(schema, name)
    return { name: prefix + name, index, codec, unsent: 'null' }
  })
  const refuse = notSentKey(schema, columns)
  const head = Buffer.from(opening)
  const tail = Buffer.from(closing)
  const row = compileRow(fields, { leadingComma: head.at(-1) !== BRACE, slack: tail.length })
  const open = (writer: ByteWriter): number => {
    writer.reserve(writer.length, head.length)
    return put(writer.bytes, writer.length, head)
  }
  return {
    columns,
    gather(text, change) {
      refuse(change)
      return row.gather(text, change.op === 'd' ? change.before! : change.after!)
    },
    write(writer, { op, before, after }) {
      const end = row.write(writer, open(writer), op === 'd' ? before! : after!)
      writer.length = put(writer.bytes, end, tail)
    },
    packed(writer, values, base) {
      const end = row.packed(writer, open(writer), values, base)
      writer.length = put(writer.bytes, end, tail)
    },
    header({ op, before, after }) {
      const values = op === 'd' ? before! : after!
      return Buffer.from(
        `{${fields.map(({ name, index, codec }) => `${JSON.stringify(name)}:${valueJson(codec, values[index])}`)}}`,
      )
    },
  }
}

const BRACE = 123
const LOOPED_BYTES_MAX = 32

function put(bytes: Buffer, at: number, constant: Buffer): number {
  const { length } = constant
  if (length > LOOPED_BYTES_MAX) bytes.set(constant, at)
  else for (let i = 0; i < length; i++) bytes[at + i] = constant[i]!
  return at + length
}

/** Refuses changes that came without their key. */
export function notSentKey(schema: TableSchema, columns: readonly number[]): (change: Change) => void {
  // An update without its old row may have changed a column that is not of the table's own key.
  const foreign = columns.find((index) => !schema.key.includes(index)) ?? -1
  return ({ op, before, after }) => {
    const values = op === 'd' ? before! : after!
    if (foreign >= 0 && op === 'u' && before === null) throw notSent(schema, foreign)
    for (let i = 0; i < columns.length; i++) {
      if (values[columns[i]!] === undefined) throw notSent(schema, columns[i]!)
    }
  }
}

function unsupported({ id }: TableSchema, name: string): TidemarkError {
  return new TidemarkError('format.key_unsupported', {
    message: `Column ${name} of table ${id} belongs to the message key, and the format leaves its type out.`,
    fix: 'Set include.unknown.datatypes: true, choose other key columns with message.key.columns, or use value.format: row-json.',
  })
}

function notSent({ id, columns }: TableSchema, index: number): TidemarkError {
  return new TidemarkError('format.key_not_sent', {
    message: `A change of table ${id} came without column ${columns[index]!.name}, which belongs to its message key.`,
    fix: `Let the source send whole old rows (PostgreSQL: ALTER TABLE ${id} REPLICA IDENTITY FULL), or choose key columns that it sends.`,
  })
}
