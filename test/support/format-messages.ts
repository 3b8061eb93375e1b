/** Messages as text, and the recorded ones: compared as JSON in which a number is its token, not a double. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ChangeBatch } from '../../core/model.js'
import { KEY_NULL, type MessageFormat, type Messages, VALUE_NULL } from '../../sinks/formats/messages.js'

const FIXTURES = new URL('../fixtures/debezium/', import.meta.url)
const LONG_CHARS = 200

export interface MessageText {
  readonly key: string | null
  readonly value: string | null
  readonly headers: readonly (readonly [string, string | null])[]
}

export function messageTexts(format: MessageFormat, batch: ChangeBatch): MessageText[] {
  return textsOf(format.encode(batch))
}

export function textsOf(messages: Messages): MessageText[] {
  return Array.from({ length: messages.count }, (_, i) => {
    const { key, value } = messageBytes(messages, i)
    const headers = messages.headers[messages.headerOf[i]!]!
    return {
      key: key?.toString() ?? null,
      value: value?.toString() ?? null,
      headers: headers.map(([name, content]) => [name, content?.toString() ?? null] as const),
    }
  })
}

export function messageBytes(messages: Messages, i: number): { key: Buffer | null; value: Buffer | null } {
  const { keys, keyEnds, values, valueEnds, flags } = messages
  const key = keys.subarray(i === 0 ? 0 : keyEnds[i - 1], keyEnds[i])
  const value = values.subarray(i === 0 ? 0 : valueEnds[i - 1], valueEnds[i])
  return { key: flags[i]! & KEY_NULL ? null : key, value: flags[i]! & VALUE_NULL ? null : value }
}

/** JSON with each number as the text `number TOKEN`, and long texts as digests, as the fixtures hold them. */
export function tokens(json: string): unknown {
  const quoted = json.replace(
    /("(?:[^"\\]|\\.)*")|(-?\d[\d.eE+-]*)/g,
    (_, text, number) => text ?? `"number ${number}"`,
  )
  return JSON.parse(quoted, (_, value) =>
    typeof value === 'string' && value.length > LONG_CHARS
      ? `sha256:${createHash('sha256').update(value).digest('hex')}`
      : value,
  )
}

export interface RecordedMessage {
  readonly topic: string
  readonly headers: readonly { readonly key: string; readonly value: unknown }[]
  readonly key: unknown
  readonly value: RecordedValue | null
}
type RecordedValue = Readonly<Record<string, unknown>> & {
  readonly op: string
  readonly source: Readonly<Record<string, string | null>>
}

/** What Debezium sent, numbers as tokens. */
export function recordedMessages(topic: string): RecordedMessage[] {
  return readFileSync(new URL('postgres-messages.jsonl', FIXTURES), 'utf8')
    .trim()
    .split('\n')
    .map((line) => tokens(line) as RecordedMessage)
    .filter((message) => message.topic === topic)
}

export function fixture(name: string): string {
  return readFileSync(new URL(name, FIXTURES), 'utf8')
}
