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
    else if (field.includes('\\')) fields[i] = field.replace(/\\(.)/gs, (_, c: string) => ESCAPES[c] ?? c)
  }
  return fields
}
