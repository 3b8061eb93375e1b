/**
 * Values on their way to the server. Everything travels as the server's own text and is read back by the column
 * type's input function there, which is exact (I7). Dialect `postgres` is that text already; `plain` is printed here.
 */
import { assert } from '../../core/errors.js'
import type { Column, ColumnType, Row, TableSchema, Value } from '../../core/model.js'

/** A row as text; undefined: not sent. */
export type SqlRow = readonly (string | null | undefined)[]

/** Compiled once per schema. Rows of dialect `postgres` pass as they are. */
export function rowReader(schema: TableSchema): (row: Row) => SqlRow {
  if (schema.dialect === 'postgres') return (row) => row as SqlRow
  const readers = schema.columns.map((column: Column) => (value: Value) => plainText(value, column.type))
  return (row) => readers.map((read, i) => read(row[i]))
}

function plainText(value: Value, type: ColumnType): string | null | undefined {
  if (value === null || value === undefined) return value
  switch (typeof value) {
    case 'string':
      return value
    case 'boolean':
      return value ? 'true' : 'false'
    case 'bigint':
      return String(value)
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
  }
  if (value instanceof Uint8Array)
    return `\\x${Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex')}`
  assert(Array.isArray(value), 'a plain value has a type that rows never hold')
  return arrayText(value, type.element ?? type)
}

function arrayText(items: readonly Value[], type: ColumnType): string {
  const parts = items.map((item) => {
    if (item === null || item === undefined) return 'NULL'
    return Array.isArray(item) ? arrayText(item, type) : quoteElement(plainText(item, type)!)
  })
  return `{${parts.join(',')}}`
}

const ELEMENT_SPECIAL = /["\\]/

function quoteElement(text: string): string {
  return ELEMENT_SPECIAL.test(text) ? `"${escaped(text, /["\\]/g, (c) => `\\${c}`)}"` : `"${text}"`
}

/** One column of many rows as the text of a text[]. */
export function columnArray(rows: readonly SqlRow[], column: number): string {
  let out = ''
  for (const row of rows) {
    const value = row[column]
    out += value === null || value === undefined ? ',NULL' : `,${quoteElement(value)}`
  }
  return `{${out.slice(1)}}`
}

const COPY_SPECIAL = /[\\\n\r\t]/
const COPY_ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** A long text with millions of matches would hold them all at once, and more of them than the engine can. */
const SLICE_CHARS = 64 * 1024

/** Replaces characters that `pattern` matches one by one. */
function escaped(text: string, pattern: RegExp, by: (c: string) => string): string {
  if (text.length <= SLICE_CHARS) return text.replace(pattern, by)
  let out = ''
  for (let from = 0; from < text.length; from += SLICE_CHARS)
    out += text.slice(from, from + SLICE_CHARS).replace(pattern, by)
  return out
}

/** The body of a COPY in text format. */
export function copyText(rows: readonly SqlRow[]): string {
  let out = ''
  for (const row of rows) {
    for (let i = 0; i < row.length; i++) {
      const value = row[i]
      if (i > 0) out += '\t'
      if (value === null || value === undefined) out += '\\N'
      else out += COPY_SPECIAL.test(value) ? escaped(value, /[\\\n\r\t]/g, (c) => COPY_ESCAPES[c]!) : value
    }
    out += '\n'
  }
  return out
}
