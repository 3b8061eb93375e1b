/**
 * Turns a table's columns into functions that write a row as JSON bytes. They are generated source: constant parts
 * become stores of four bytes, and each column's codec is a call that the engine can inline; a loop over columns costs
 * several times as much. Names and constants enter the source only as numbers, so nothing that a table is called can
 * become code.
 */
import type { Row } from '../../core/model.js'
import type { PackedValues } from '../../core/packed-rows.js'
import {
  type ByteWriter,
  copyAscii,
  copyText,
  copyUtf8,
  ESCAPED_BYTES_PER_CHAR_MAX,
  OVERSHOOT_BYTES,
  putUtf8,
} from './byte-writer.js'
import { PUT_BYTES_MAX, type ValueCodec } from './value-codec.js'

export const SKIP: unique symbol = Symbol('skip')

export interface Field {
  readonly name: string
  /** Position in the row. */
  readonly index: number
  readonly codec: ValueCodec
  /** JSON written for a value that was not sent; null leaves the field out, SKIP as well and remembers its name. */
  readonly unsent: string | null | typeof SKIP
}

export interface RowWriter {
  /** `text` and behind it the values that write() will take from the writer's source, in the same order. */
  gather(text: string, row: Row): string
  /** Writes the fields of a row at `at`, returns where they end. Room for `slack` bytes is left behind them. */
  write(writer: ByteWriter, at: number, row: Row): number
  /** Writes the fields of a row of packed values; its first place is `base`. Nothing is left out. */
  packed(writer: ByteWriter, at: number, values: PackedValues, base: number): number
  /** Names (JSON) of the fields left out since the last call, joined by commas; '' when none. */
  takeSkipped(): string
}

/** Columns in one generated function: larger ones are not optimized by the engine any more. */
const FIELDS_PER_FUNCTION_MAX = 50

interface Part {
  readonly gather: (text: string, row: Row) => string
  readonly write: (writer: ByteWriter, at: number, row: Row) => number
  readonly packed: (writer: ByteWriter, at: number, values: PackedValues, base: number) => number
}

export function compileRow(
  fields: readonly Field[],
  options: { readonly leadingComma: boolean; readonly slack: number },
): RowWriter {
  const state = { skipped: '' }
  const heads = fields.map(({ name }, i) => `${options.leadingComma || i > 0 ? ',' : ''}${JSON.stringify(name)}:`)
  const parts: Part[] = []
  for (let from = 0; from < fields.length; from += FIELDS_PER_FUNCTION_MAX) {
    const to = from + FIELDS_PER_FUNCTION_MAX
    parts.push(compilePart(fields.slice(from, to), heads.slice(from, to), options.slack, state))
  }
  const [only] = parts
  return {
    ...(parts.length === 1 && only !== undefined ? only : joined(parts)),
    takeSkipped() {
      const names = state.skipped.slice(1)
      state.skipped = ''
      return names
    },
  }
}

function joined(parts: readonly Part[]): Part {
  return {
    gather: (text, row) => parts.reduce((all, part) => part.gather(all, row), text),
    write: (writer, at, row) => parts.reduce((end, part) => part.write(writer, end, row), at),
    packed: (writer, at, values, base) => parts.reduce((end, part) => part.packed(writer, end, values, base), at),
  }
}

function compilePart(
  fields: readonly Field[],
  heads: readonly string[],
  after: number,
  state: { skipped: string },
): Part {
  const unsent = fields.map((field) => (typeof field.unsent === 'string' ? field.unsent : ''))
  // What a row needs besides its values: whoever reserves for a value reserves this as well.
  const constants = [...heads, ...unsent].reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  const slack = after + constants + fields.length * PUT_BYTES_MAX + OVERSHOOT_BYTES
  const source = [
    '"use strict"',
    ...fields.map((_, i) => `const json${i} = fields[${i}].codec.json, put${i} = fields[${i}].codec.put`),
    'return {',
    'gather(text, row) {',
    'let s = text, v',
    ...fields.filter(({ codec }) => codec.form !== 'call').map(gatherSource),
    'return s',
    '},',
    'write(writer, at, row) {',
    `writer.reserve(at, ${slack})`,
    'let p = at, q = writer.sourceAt, b = writer.bytes, d = writer.view, v, n, e',
    'const s = writer.source, t = writer.sourceView',
    ...fields.map((field, i) => fieldSource(field, i, heads[i]!, slack)),
    'writer.sourceAt = q',
    'return p',
    '},',
    'packed(writer, at, values, base) {',
    `writer.reserve(at, ${slack})`,
    'let p = at, b = writer.bytes, d = writer.view, q, n, e',
    'const s = values.bytes, t = values.view, o = values.places',
    ...fields.map((field, i) => packedSource(field, i, heads[i]!, slack)),
    'return p',
    '}',
    '}',
  ].join('\n')
  const names = Object.keys(HELPERS)
  const make = new Function('fields', 'unsent', 'state', ...names, source) as (...args: unknown[]) => Part
  return make(fields, unsent, state, ...Object.values(HELPERS))
}

/** What generated functions call, by the names they use. */
const HELPERS = { copyAscii, copyText, copyUtf8, putUtf8, byteLength }

function byteLength(text: string): number {
  return Buffer.byteLength(text)
}

function gatherSource({ index }: Field): string {
  return `v = row[${index}]; if (v !== null && v !== undefined) s += v`
}

/**
 * Statements that write one field. In scope: p (place), b (bytes), d (their view), q (place in the source), s (source),
 * t (its view), v (value), n (its length), e (an end).
 */
function fieldSource(field: Field, i: number, head: string, slack: number): string {
  const again = 'b = writer.bytes; d = writer.view'
  const put = (text: string) => `p = writer.put(p, ${text}, ${slack}); ${again}`
  const lengthOf = "n = typeof v === 'string' ? v.length : String(v).length"
  const value = {
    raw: `${lengthOf}
      if (p + n + ${slack} > b.length) { writer.reserve(p, n + ${slack}); ${again} }
      p = copyAscii(d, p, t, q, n); q += n`,
    text: `b[p] = 34; writer.sourceAt = q; p = copyText(writer, p + 1, v.length, ${slack})
      q = writer.sourceAt; ${again}; b[p++] = 34`,
    call: put(`json${i}(v)`),
    put: `n = v.length; e = put${i}(b, p, s, q, n)
      if (e >= 0) { p = e; q += n } else { ${put(`json${i}(v)`)}; q += byteLength(v) }`,
  }[field.codec.form]
  const known = `if (v === null) { ${stores('null')} } else { ${value} }`
  if (typeof field.unsent !== 'string') {
    const skip = field.unsent === SKIP ? `state.skipped += ',' + JSON.stringify(fields[${i}].name)` : ''
    return `v = row[${field.index}]; if (v === undefined) { ${skip} } else { ${stores(head)} ${known} }`
  }
  return `v = row[${field.index}]; ${stores(head)} if (v === undefined) { ${put(`unsent[${i}]`)} } else ${known}`
}

/** The same from packed values. In scope besides: o (places of values), base (of this row's first). */
function packedSource(field: Field, i: number, head: string, slack: number): string {
  const again = 'b = writer.bytes; d = writer.view'
  const json = `p = writer.put(p, json${i}(s.toString('utf8', q, q + n)), ${slack}); ${again}`
  const value = {
    raw: `if (p + n + ${slack} > b.length) { writer.reserve(p, n + ${slack}); ${again} }
      p = copyAscii(d, p, t, q, n)`,
    text: `b[p] = 34
      if (p + n * ${ESCAPED_BYTES_PER_CHAR_MAX} + ${slack} > b.length) { p = putUtf8(writer, p + 1, t, q, n, ${slack}); ${again} }
      else p = copyUtf8(b, d, p + 1, t, q, n)
      b[p++] = 34`,
    call: json,
    put: `e = put${i}(b, p, s, q, n); if (e >= 0) { p = e } else { ${json} }`,
  }[field.codec.form]
  const place = `base + ${2 * field.index}`
  return `q = o[${place}]; n = o[${place} + 1]; ${stores(head)} if (n < 0) { ${stores('null')} } else { ${value} }`
}

/** Statements that store constant text at p, four bytes at a time. */
function stores(text: string): string {
  const bytes = Buffer.from(text)
  const out: string[] = []
  let i = 0
  for (; i + 4 <= bytes.length; i += 4) out.push(`d.setInt32(p + ${i}, ${bytes.readInt32LE(i)}, true)`)
  for (; i < bytes.length; i++) out.push(`b[p + ${i}] = ${bytes[i]}`)
  out.push(`p += ${bytes.length}`)
  return `${out.join('; ')};`
}
