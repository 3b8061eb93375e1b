/** What every format's messages come down to before a table's columns are known, and what is wrong with those that do not. */
import type { Op } from '../../core/model.js'
import type { Field } from './connect-types.js'
import { type Json, JsonArray, JsonObject } from './json.js'

/** Names, unquoted. */
export interface MessageTable {
  readonly database: string
  readonly namespace: string
  readonly name: string
}

export interface Message {
  readonly op: Op | 't'
  readonly table: MessageTable
  /** Absent: not sent. A delete's may be null, where only the key says which row it was. */
  readonly before: JsonObject | null
  readonly after: JsonObject | null
  /** Columns of the event key in order; [] is none; null: the message does not say. */
  readonly key: readonly string[] | null
  /** Why it does not say: a mistake where nothing else names the key. */
  readonly keyProblem?: string
  /** The key's own values, where the message has them apart from the row. */
  readonly keyRow: JsonObject | null
  /** By name; null where the message has no types: they are inferred. The same object for the same types. */
  readonly types: ReadonlyMap<string, Field> | null
  /** `before` is the old row with only these columns sent; null: all that it has. */
  readonly beforeOnly?: 'key-if-rest-null'
  /** Old values of an update that replace those of `after`. */
  readonly old?: JsonObject | null
  /** Commit time in the source, microseconds since 1970; 0n: unknown. */
  readonly tsUs: bigint
  readonly xid: bigint | null
}

/** A message that says nothing of rows: why it is passed over. */
export interface Passed {
  readonly passed:
    | 'tombstone'
    | 'transaction'
    | 'schema change'
    | 'heartbeat'
    | 'notification'
    | 'logical message'
    | 'watermark'
}

export interface RawMessage {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}

/** One topic's decoder: it keeps what embedded schemas were compiled to. */
export interface MessageDecoder {
  /** Throws BadMessage, JsonError, FieldError. */
  decode(message: RawMessage): readonly Message[] | Passed
}

/** Says what is wrong; where is added by whoever read it. */
export class BadMessage extends Error {
  override readonly name = 'BadMessage'
  constructor(
    message: string,
    readonly fix?: string,
  ) {
    super(message)
  }
}

export const KEY_FIX = 'Name the key columns with key.columns, for example: key.columns: {public.orders: id}.'

export const TOMBSTONE: Passed = { passed: 'tombstone' }

export function object(value: Json | undefined, what: string): JsonObject {
  if (value instanceof JsonObject) return value
  throw new BadMessage(`${what} is ${value == null ? 'missing' : 'no JSON object'}`)
}

export function objectOrNull(value: Json | undefined, what: string): JsonObject | null {
  return value == null ? null : object(value, what)
}

export function text(value: Json | undefined, what: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw new BadMessage(`${what} is ${value == null || value === '' ? 'missing' : 'no text'}`)
}

export function texts(value: Json | undefined, what: string): string[] | null {
  if (value == null) return null
  if (!(value instanceof JsonArray) || value.items.some((item) => typeof item !== 'string')) {
    throw new BadMessage(`${what} is no list of names`)
  }
  return value.items as string[]
}
