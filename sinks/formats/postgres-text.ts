/**
 * Reads the composite text forms of PostgreSQL: arrays, hstore, intervals, points, bytea. Only the canonical output
 * of the server is understood; anything else is refused (I7).
 */
import { unreadable } from './unreadable.js'

export type ArrayText = readonly (string | null | ArrayText)[]

/** `{1,NULL,{"a b"}}`, also with bounds `[0:2]={...}`. Elements stay text. `box` separates with a semicolon. */
export function parseArray(text: string, delimiter = ','): ArrayText {
  const start = text[0] === '[' ? text.indexOf('=') + 1 : 0
  const reader = { text, at: start, delimiter }
  if (text[start] !== '{') throw unreadable('array', text)
  const array = readArray(reader)
  if (reader.at !== text.length) throw unreadable('array', text)
  return array
}

interface ArrayReader {
  readonly text: string
  readonly delimiter: string
  at: number
}

function readArray(reader: ArrayReader): ArrayText {
  const { text, delimiter } = reader
  const out: (string | null | ArrayText)[] = []
  reader.at++
  if (text[reader.at] === '}') {
    reader.at++
    return out
  }
  for (;;) {
    const c = text[reader.at]
    if (c === '{') out.push(readArray(reader))
    else if (c === '"') out.push(readQuoted(reader, 'array'))
    else out.push(readBare(reader))
    const next = text[reader.at++]
    if (next === '}') return out
    if (next !== delimiter) throw unreadable('array', text)
  }
}

/** Reads from an opening quote past the closing one; a backslash protects the next character. */
function readQuoted(reader: { readonly text: string; at: number }, type: string): string {
  const { text } = reader
  let out = ''
  let from = ++reader.at
  for (;;) {
    const c = text.charCodeAt(reader.at)
    if (Number.isNaN(c)) throw unreadable(type, text)
    if (c === 34) break
    if (c === 92) {
      out += text.slice(from, reader.at)
      from = ++reader.at
    }
    reader.at++
  }
  return out + text.slice(from, reader.at++)
}

function readBare(reader: ArrayReader): string | null {
  const { text, delimiter } = reader
  const from = reader.at
  while (reader.at < text.length && text[reader.at] !== delimiter && text[reader.at] !== '}') reader.at++
  const raw = text.slice(from, reader.at)
  if (raw === 'NULL') return null
  return raw.includes('\\') ? raw.replace(/\\(.)/gs, '$1') : raw
}

/** `"a"=>"1", "b c"=>NULL` as pairs in the server's order. */
export function parseHstore(text: string): [string, string | null][] {
  const pairs: [string, string | null][] = []
  const reader = { text, at: 0 }
  while (reader.at < text.length) {
    if (text[reader.at] !== '"') throw unreadable('hstore', text)
    const key = readQuoted(reader, 'hstore')
    if (!text.startsWith('=>', reader.at)) throw unreadable('hstore', text)
    reader.at += 2
    if (text[reader.at] === '"') pairs.push([key, readQuoted(reader, 'hstore')])
    else if (text.startsWith('NULL', reader.at)) {
      reader.at += 4
      pairs.push([key, null])
    } else throw unreadable('hstore', text)
    if (reader.at === text.length) break
    if (!text.startsWith(', ', reader.at)) throw unreadable('hstore', text)
    reader.at += 2
  }
  return pairs
}

/** `\xdeadbeef` */
export function parseBytea(text: string): Buffer {
  if (!text.startsWith('\\x') || text.length % 2 !== 0) throw unreadable('bytea (hex)', text)
  const bytes = Buffer.from(text.slice(2), 'hex')
  if (bytes.length * 2 + 2 !== text.length) throw unreadable('bytea (hex)', text)
  return bytes
}

/** `(1.5,-2)` */
export function parsePoint(text: string): { readonly x: number; readonly y: number } {
  const match = /^\(([^,()]+),([^,()]+)\)$/.exec(text)
  if (match === null) throw unreadable('point', text)
  return { x: Number(match[1]), y: Number(match[2]) }
}

export interface Interval {
  readonly months: bigint
  readonly days: bigint
  readonly microseconds: bigint
}

const ISO_INTERVAL =
  /^P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d+))?S)?)?$/
const VERBOSE_INTERVAL =
  /^(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?(?:([+-]?)(\d+):(\d\d):(\d\d)(?:\.(\d+))?)?$/

/** IntervalStyle `iso_8601` and `postgres`. The caller deals with infinities. */
export function parseInterval(text: string): Interval {
  const iso = ISO_INTERVAL.exec(text)
  if (iso !== null && text !== 'P') {
    const [, years, months, days, hours, minutes, sign, seconds, fraction] = iso
    const second = BigInt(seconds ?? 0) * 1_000_000n + BigInt((fraction ?? '').padEnd(6, '0'))
    return {
      months: BigInt(years ?? 0) * 12n + BigInt(months ?? 0),
      days: BigInt(days ?? 0),
      microseconds:
        (BigInt(hours ?? 0) * 3600n + BigInt(minutes ?? 0) * 60n) * 1_000_000n + (sign === '-' ? -second : second),
    }
  }
  const verbose = text === '' ? null : VERBOSE_INTERVAL.exec(text)
  if (verbose === null) throw unreadable('interval', text)
  const [, years, months, days, sign, hours, minutes, seconds, fraction] = verbose
  const time =
    (BigInt(hours ?? 0) * 3600n + BigInt(minutes ?? 0) * 60n + BigInt(seconds ?? 0)) * 1_000_000n +
    BigInt((fraction ?? '').padEnd(6, '0'))
  return {
    months: BigInt(years ?? 0) * 12n + BigInt(months ?? 0),
    days: BigInt(days ?? 0),
    microseconds: sign === '-' ? -time : time,
  }
}

/** Money as decimal text with two digits after the point. With lc_monetary C the server prints `-$1,234.56`. */
export function moneyDecimal(text: string): string {
  const digits = text.replace(/\D/g, '')
  if (digits.length < 3) throw unreadable('money', text)
  const negative = text.includes('-') || text.includes('(')
  return `${negative ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`
}
