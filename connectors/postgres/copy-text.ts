/** Splits the text form of COPY into rows: whole pieces are decoded at once, backslashes are looked at only where there are any. */
import { isAscii } from 'node:buffer'
import { StringDecoder } from 'node:string_decoder'
import type { Value } from '../../core/model.js'

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

export class CopyTextParser {
  #rest = ''
  #decoder: StringDecoder | null = null

  /** The rows that the piece completes. */
  push(piece: Buffer): Value[][] {
    const text = this.#rest + this.#decode(piece)
    const rows: Value[][] = []
    let from = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      rows.push(parseLine(text.slice(from, end)))
      from = end + 1
    }
    this.#rest = text.slice(from)
    return rows
  }

  /** A character may be cut apart between two pieces; plain ASCII cannot. */
  #decode(piece: Buffer): string {
    if (this.#decoder === null && isAscii(piece)) return piece.toString('latin1')
    this.#decoder ??= new StringDecoder('utf8')
    return this.#decoder.write(piece)
  }
}

export function parseLine(line: string): Value[] {
  const fields: Value[] = line.split('\t')
  if (!line.includes('\\')) return fields
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as string
    if (field === '\\N') fields[i] = null
    else if (field.includes('\\')) fields[i] = field.replace(/\\(.)/gs, (_, c: string) => ESCAPES[c] ?? c)
  }
  return fields
}
