/** Formats whose events are constants around one or two rows: what they share. */

import type { Row } from '../../core/model.js'
import type { ByteWriter } from './byte-writer.js'
import { putBytes } from './debezium-source.js'
import type { RowWriter } from './row-compiler.js'

/** Appends a constant at the writer's end. */
export function append(writer: ByteWriter, constant: Buffer): void {
  writer.reserve(writer.length, constant.length)
  writer.length = putBytes(writer.bytes, writer.length, constant)
}

/** Appends the fields of a row, `{` and `}` not included. */
export function appendRow(writer: ByteWriter, row: RowWriter, values: Row): void {
  writer.length = row.write(writer, writer.length, values)
}

/** Appends a row of which fields may be missing, as an object. Its writer puts a comma before every field. */
export function appendSome(writer: ByteWriter, row: RowWriter, values: Row): void {
  const start = writer.length
  writer.reserve(start, 2)
  let end = row.write(writer, start, values)
  // The first field's comma gives its place to the brace.
  writer.bytes[start] = BRACE
  if (end === start) end++
  writer.reserve(end, 1)
  writer.bytes[end] = BRACE_END
  writer.length = end + 1
}

const BRACE = 123
const BRACE_END = 125
