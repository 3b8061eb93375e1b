/** canal-json: what Alibaba's Canal, TiCDC and Flink write. One message may hold several rows of one table. */
import type { Op } from '../../core/model.js'
import type { Field } from './connect-types.js'
import { JsonArray, JsonNumber, JsonObject, parseJson } from './json.js'
import {
  BadMessage,
  type Message,
  type MessageDecoder,
  type MessageTable,
  object,
  type Passed,
  type RawMessage,
  TOMBSTONE,
  text,
  texts,
} from './message.js'
import { sqlField } from './sql-types.js'

const US_PER_MS = 1_000n
const OPS: Readonly<Record<string, Op | 't' | undefined>> = { INSERT: 'c', UPDATE: 'u', DELETE: 'd', TRUNCATE: 't' }
const DDL = new Set(['CREATE', 'ALTER', 'ERASE', 'RENAME', 'CINDEX', 'DINDEX', 'QUERY'])
/** Lists of types that are kept. */
const COMPILED_MAX = 200

export class CanalDecoder implements MessageDecoder {
  readonly #fallback: MessageTable
  readonly #types = new Map<string, ReadonlyMap<string, Field>>()

  constructor(fallback: MessageTable) {
    this.#fallback = fallback
  }

  decode({ value }: RawMessage): readonly Message[] | Passed {
    if (value === null) return TOMBSTONE
    const message = object(parseJson(value), 'the value')
    const type = text(message.get('type'), 'type')
    if (type === 'TIDB_WATERMARK') return { passed: 'watermark' }
    const op = OPS[type]
    if (op === undefined) {
      if (DDL.has(type) || message.get('isDdl') === true) return { passed: 'schema change' }
      throw new BadMessage(`type ${JSON.stringify(type)} is unknown`)
    }
    const es = message.get('es')
    const common = {
      op,
      table: this.#table(message),
      key: texts(message.get('pkNames'), 'pkNames'),
      keyRow: null,
      types: this.#typesOf(message),
      tsUs: es instanceof JsonNumber ? BigInt(es.text) * US_PER_MS : 0n,
      xid: null,
    }
    if (op === 't') return [{ ...common, key: null, before: null, after: null }]
    const rows = rowsOf(message, 'data')
    if (rows.length === 0) throw new BadMessage('data is missing')
    if (op === 'd') return rows.map((row) => ({ ...common, before: row, after: null }))
    const old = op === 'u' ? rowsOf(message, 'old') : []
    return rows.map((row, i) => ({ ...common, before: null, after: row, old: old[i] ?? null }))
  }

  #table(message: JsonObject): MessageTable {
    if (message.get('table') == null) return this.#fallback
    const database = text(message.get('database'), 'database')
    return { database, namespace: database, name: text(message.get('table'), 'table') }
  }

  #typesOf(message: JsonObject): ReadonlyMap<string, Field> | null {
    const types = message.get('mysqlType')
    if (!(types instanceof JsonObject)) return null
    const known = this.#types.get(types.text)
    if (known !== undefined) return known
    const made = new Map(
      [...types.fields].map(([name, native]) => [name, sqlField(name, text(native, `mysqlType.${name}`))] as const),
    )
    if (this.#types.size >= COMPILED_MAX) this.#types.clear()
    this.#types.set(types.text, made)
    return made
  }
}

function rowsOf(message: JsonObject, name: string): JsonObject[] {
  const list = message.get(name)
  if (list == null) return []
  if (!(list instanceof JsonArray)) throw new BadMessage(`${name} is no list of rows`)
  return list.items.map((row) => object(row, `a row of ${name}`))
}
