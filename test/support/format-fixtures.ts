/** Recorded Debezium values, read so that 64-bit integers and long texts compare exactly. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { EncodedBatch } from '../../sinks/formats/format.js'

export interface Envelope {
  readonly before: Record<string, unknown> | null
  readonly after: Record<string, unknown> | null
  readonly source: Record<string, unknown>
  readonly transaction: unknown
  readonly op: string
  readonly ts_ms: number
  readonly ts_us: unknown
  readonly ts_ns: unknown
}

const FIXTURE = new URL('../fixtures/debezium/postgres-messages.jsonl', import.meta.url)
const LONG_CHARS = 200

/** Integers that a double cannot hold become text, so that the last digits count. */
export function parseExact(line: string): Envelope {
  return JSON.parse(line.replace(/(?<=[:[,])(-?\d{16,})(?=[,\]}])/g, '"$1"')) as Envelope
}

export function recorded(): Envelope[] {
  return readFileSync(FIXTURE, 'utf8')
    .trim()
    .split('\n')
    .map((line) => parseExact(line) as unknown as { topic: string; value: Envelope | null })
    .flatMap(({ topic, value }) => (topic.startsWith('s.public.') && value !== null ? [value] : []))
}

export function recordedOf(table: string, op: string): Envelope[] {
  return recorded().filter((event) => event.source.table === table && event.op === op)
}

export function linesOf({ bytes }: EncodedBatch): string[] {
  const text = bytes.toString('utf8')
  return text === '' ? [] : text.slice(0, -1).split('\n')
}

/** The fixture keeps only the digest of long texts. */
export function shortened(row: Record<string, unknown> | null): Record<string, unknown> | null {
  if (row === null) return null
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      typeof value === 'string' && value.length > LONG_CHARS
        ? `sha256:${createHash('sha256').update(value).digest('hex')}`
        : value,
    ]),
  )
}

/** Fields of `source` that are the same in every run. */
export function staticSource({ source }: Envelope): Record<string, unknown> {
  const { connector, name, db, schema, table, xmin, origin, origin_lsn } = source
  return { connector, name, db, schema, table, xmin, origin, origin_lsn }
}
