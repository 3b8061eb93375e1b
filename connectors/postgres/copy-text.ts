/** Turns the text form of COPY into rows: whole pieces are decoded at once, backslashes are looked at only where there are any. */
import { isAscii } from 'node:buffer'
import type { Value } from '../../core/model.js'

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

/** The rows of a piece of whole lines. A line's end is never inside a value: COPY writes those as \n. */
export function parseLines(piece: Buffer): Value[][] {
  const text = isAscii(piece) ? piece.toString('latin1') : piece.toString('utf8')
  const rows: Value[][] = []
  let from = 0
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
    rows.push(parseLine(text.slice(from, end)))
    from = end + 1
  }
  return rows
}

function parseLine(line: string): Value[] {
  const fields: Value[] = line.split('\t')
  if (!line.includes('\\')) return fields
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as string
    if (field === '\\N') fields[i] = null
    else if (field.includes('\\')) fields[i] = unescaped(field)
  }
  return fields
}

/** A long text with millions of escapes would be millions of matches held at once. */
const SLICE_CHARS = 64 * 1024

function unescaped(field: string): string {
  let out = ''
  for (let from = 0; from < field.length; ) {
    const to = withoutCut(field, from, from + SLICE_CHARS)
    out += field.slice(from, to).replace(/\\(.)/gs, (_, c: string) => ESCAPES[c] ?? c)
    from = to
  }
  return out
}

/** The end of a slice, moved behind the escape that it would cut in two. */
function withoutCut(field: string, from: number, end: number): number {
  let slashes = 0
  while (end - slashes > from && field[end - slashes - 1] === '\\') slashes++
  return slashes % 2 === 1 ? end + 1 : end
}
