/** maxwell-json: Maxwell's daemon's events. It names no types; the key is in the message or in the record's key. */
import type { Op } from '../../core/model.js'
import { JsonError, JsonNumber, JsonObject, parseJson } from './json.js'
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
  texts,
} from './message.js'

const US_PER_S = 1_000_000n
const OPS: Readonly<Record<string, Op | 't' | undefined>> = {
  insert: 'c',
  update: 'u',
  delete: 'd',
  'bootstrap-insert': 'r',
  'table-truncate': 't',
}
const KEY_PREFIX = 'pk.'

export class MaxwellDecoder implements MessageDecoder {
  readonly #fallback: MessageTable

  constructor(fallback: MessageTable) {
    this.#fallback = fallback
  }

  decode({ key, value }: RawMessage): readonly Message[] | Passed {
    if (value === null) return TOMBSTONE
    const message = object(parseJson(value), 'the value')
    const type = text(message.get('type'), 'type')
    const op = OPS[type]
    if (op === undefined) {
      if (/^(table|database|bootstrap)-/.test(type)) return { passed: 'schema change' }
      if (type === 'heartbeat') return { passed: 'heartbeat' }
      throw new BadMessage(`type ${JSON.stringify(type)} is unknown`)
    }
    const { ts, xid } = { ts: message.get('ts'), xid: message.get('xid') }
    const common = {
      op,
      table: this.#table(message),
      key: texts(message.get('primary_key_columns'), 'primary_key_columns') ?? keyNames(key),
      keyRow: null,
      types: null,
      tsUs: ts instanceof JsonNumber && /^\d+$/.test(ts.text) ? BigInt(ts.text) * US_PER_S : 0n,
      xid: xid instanceof JsonNumber ? BigInt(xid.text) : null,
    }
    if (op === 't') return [{ ...common, key: null, before: null, after: null }]
    const row = object(message.get('data'), 'data')
    if (op === 'd') return [{ ...common, before: row, after: null }]
    const old = op === 'u' ? objectOrNull(message.get('old'), 'old') : null
    return [{ ...common, before: null, after: row, old }]
  }

  #table(message: JsonObject): MessageTable {
    if (message.get('table') == null) return this.#fallback
    const database = text(message.get('database'), 'database')
    return { database, namespace: database, name: text(message.get('table'), 'table') }
  }
}

/** `{"database":"d","table":"t","pk.id":1}`; a table without a key has `_uuid` there. */
function keyNames(key: Uint8Array | null): string[] | null {
  if (key === null) return null
  try {
    const parsed = parseJson(key)
    if (!(parsed instanceof JsonObject)) return null
    const names = [...parsed.fields.keys()]
    return names.filter((name) => name.startsWith(KEY_PREFIX)).map((name) => name.slice(KEY_PREFIX.length))
  } catch (error) {
    if (error instanceof JsonError) return null
    throw error
  }
}
