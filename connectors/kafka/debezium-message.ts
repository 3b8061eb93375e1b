/**
 * debezium-json: Debezium's envelopes with and without embedded Connect schemas, and Flink's flavour of them, which has only
 * before, after, op and perhaps source.
 */
import type { Op } from '../../core/model.js'
import { type Field, fieldsOf } from './connect-types.js'
import { type Json, JsonArray, JsonError, JsonNumber, JsonObject, parseJson } from './json.js'
import {
  BadMessage,
  type Message,
  type MessageDecoder,
  type MessageTable,
  object,
  objectOrNull,
  type Passed,
  type RawMessage,
  TOMBSTONE,
  text,
} from './message.js'

/** What stands for a large value that the update did not touch (`unavailable.value.placeholder`). */
export const UNAVAILABLE = '__debezium_unavailable_value'
const UNAVAILABLE_BASE64 = Buffer.from(UNAVAILABLE).toString('base64')
const UNAVAILABLE_HEX = Buffer.from(UNAVAILABLE).toString('hex')

const US_PER_MS = 1_000n
/** Embedded schemas that are kept. */
const COMPILED_MAX = 200
const OPS: ReadonlySet<string> = new Set(['r', 'c', 'u', 'd', 't', 'm'])
const PAYLOAD = Buffer.from('"payload":')
const SCHEMA = Buffer.from('{"schema":{')

/** True for what stands for a value that was not sent, in any of its forms. */
export function isUnavailable(value: Json | undefined): boolean {
  if (typeof value === 'string') {
    return value === UNAVAILABLE || value === UNAVAILABLE_BASE64 || value === UNAVAILABLE_HEX
  }
  if (value instanceof JsonArray) return value.items.length === 1 && isUnavailable(value.items[0])
  return value instanceof JsonObject && value.fields.size === 1 && value.fields.has(UNAVAILABLE)
}

/** `fallback`: the table where the message names none. */
export class DebeziumDecoder implements MessageDecoder {
  readonly #fallback: MessageTable
  /** Everything up to the payload of the last message with schemas, and what it was compiled to. */
  #prefix: Buffer | null = null
  #types: ReadonlyMap<string, Field> = new Map()
  /** By the schema's text: a topic may hold several tables, or versions of one. */
  readonly #compiled = new Map<string, ReadonlyMap<string, Field> | null>()

  constructor(fallback: MessageTable) {
    this.#fallback = fallback
  }

  decode({ key, value }: RawMessage): readonly Message[] | Passed {
    if (value === null) return TOMBSTONE
    const { payload, types } = this.#opened(Buffer.from(value.buffer, value.byteOffset, value.length))
    if (payload === null) return TOMBSTONE
    const envelope = object(payload, 'the value')
    const op = envelope.get('op')
    if (op === undefined) return passed(envelope)
    if (typeof op !== 'string' || !OPS.has(op)) throw new BadMessage(`op ${JSON.stringify(op)} is unknown`)
    if (op === 'm') return { passed: 'logical message' }
    return [this.#message(envelope, op as Op | 't', keyOf(key), types)]
  }

  #message(envelope: JsonObject, op: Op | 't', { row: keyRow, problem }: MessageKey, types: Message['types']): Message {
    const source = objectOrNull(envelope.get('source'), 'source')
    const before = objectOrNull(envelope.get('before'), 'before')
    const after = objectOrNull(envelope.get('after'), 'after')
    if (after === null && op !== 'd' && op !== 't') throw new BadMessage(`after is missing although op is "${op}"`)
    if (op === 'd' && before === null && keyRow === null) {
      throw new BadMessage('a delete has neither before nor a key, so nothing says which row it was')
    }
    const us = source?.get('ts_us')
    const ms = source?.get('ts_ms') ?? envelope.get('ts_ms')
    const xid = source?.get('txId')
    return {
      op,
      table: tableOf(source, this.#fallback),
      before: op === 'u' || op === 'd' ? before : null,
      after: op === 'd' ? null : after,
      key: problem !== null ? null : keyRow === null ? [] : keyNames(keyRow, after ?? before),
      ...(problem === null ? {} : { keyProblem: problem }),
      keyRow,
      types,
      // PostgreSQL's default replica identity: what was not sent is null.
      ...(source?.get('connector') === 'postgresql' ? { beforeOnly: 'key-if-rest-null' as const } : {}),
      tsUs: us instanceof JsonNumber ? BigInt(us.text) : ms instanceof JsonNumber ? BigInt(ms.text) * US_PER_MS : 0n,
      xid: xid instanceof JsonNumber ? BigInt(xid.text) : null,
    }
  }

  #opened(value: Buffer): { payload: Json; types: Message['types'] } {
    const prefix = this.#prefix
    if (prefix !== null && value.length > prefix.length && value.subarray(0, prefix.length).equals(prefix)) {
      // The closing brace of the whole is left behind.
      return { payload: parseJson(value.subarray(prefix.length, value.length - 1)), types: this.#types }
    }
    const whole = parseJson(value)
    if (!(whole instanceof JsonObject) || whole.fields.size !== 2 || !whole.fields.has('payload')) {
      return { payload: whole, types: null }
    }
    const schema = whole.get('schema')
    const payload = whole.get('payload')!
    if (schema === null) return { payload, types: null }
    const types = this.#compile(object(schema, 'schema'))
    if (types === null) return { payload, types: null }
    this.#remember(value, payload, types)
    return { payload, types }
  }

  #compile(schema: JsonObject): ReadonlyMap<string, Field> | null {
    const { text } = schema
    const known = this.#compiled.get(text)
    if (known !== undefined) return known
    const types = rowTypes(schema)
    if (this.#compiled.size >= COMPILED_MAX) this.#compiled.clear()
    this.#compiled.set(text, types)
    return types
  }

  /** Converters write the schema first and nothing behind the payload. */
  #remember(value: Buffer, payload: Json, types: ReadonlyMap<string, Field>): void {
    if (!(payload instanceof JsonObject) || value.subarray(0, SCHEMA.length).compare(SCHEMA) !== 0) return
    const length = value.length - 1 - Buffer.byteLength(payload.text)
    if (!value.subarray(length - PAYLOAD.length, length).equals(PAYLOAD)) return
    this.#prefix = Buffer.from(value.subarray(0, length))
    this.#types = types
  }
}

/** Of the rows; null where the schema is of something else. */
function rowTypes(envelope: JsonObject): ReadonlyMap<string, Field> | null {
  const fields = envelope.get('fields')
  if (!(fields instanceof JsonArray)) return null
  const after = fields.items.find((field) => field instanceof JsonObject && field.get('field') === 'after')
  if (!(after instanceof JsonObject)) return null
  return new Map(fieldsOf(after).map((field) => [field.name, field]))
}

/** Flink's JSON keys begin with the table. */
function keyNames(key: JsonObject, row: JsonObject | null): string[] {
  return [...key.fields.keys()].filter((name) => name !== 'TableId' || row === null || row.fields.has(name))
}

interface MessageKey {
  readonly row: JsonObject | null
  readonly problem: string | null
}

const NO_KEY: MessageKey = { row: null, problem: null }

/** A key that cannot be read matters only where `key.columns` does not say which columns it has. */
function keyOf(key: Uint8Array | null): MessageKey {
  if (key === null) return NO_KEY
  let parsed: Json | undefined
  try {
    parsed = parseJson(key)
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    return { row: null, problem: `the key cannot be read: ${error.message}` }
  }
  const opened = parsed instanceof JsonObject && parsed.fields.size === 2 && parsed.fields.has('schema')
  if (opened && parsed instanceof JsonObject && parsed.fields.has('payload')) parsed = parsed.get('payload')
  if (parsed == null) return NO_KEY
  if (parsed instanceof JsonObject) return { row: parsed, problem: null }
  return { row: null, problem: 'the key is no JSON object' }
}

function tableOf(source: JsonObject | null, fallback: MessageTable): MessageTable {
  const name = source?.get('table')
  if (source === null || name == null) return fallback
  const database = text(source.get('db') ?? source.get('schema'), 'source.db')
  const schema = source.get('schema')
  return { database, namespace: typeof schema === 'string' ? schema : database, name: text(name, 'source.table') }
}

/** What Debezium writes beside changes; anything else is a mistake. */
function passed(value: JsonObject): Passed {
  if (value.fields.has('ddl') || value.fields.has('tableChanges')) return { passed: 'schema change' }
  if (value.fields.has('status') && value.fields.has('id')) return { passed: 'transaction' }
  if (value.fields.has('aggregate_type')) return { passed: 'notification' }
  if (value.fields.size > 0 && [...value.fields.keys()].every((name) => name.startsWith('ts_'))) {
    return { passed: 'heartbeat' }
  }
  throw new BadMessage(
    'it has no op, so it is no change event of Debezium',
    'Take the topic out of `topics`, correct value.format, or let Debezium write whole envelopes (without ExtractNewRecordState).',
  )
}
