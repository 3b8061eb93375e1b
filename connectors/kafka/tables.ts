/**
 * The tables that messages speak of. What is always true: a table's types are those of everything seen of it so far, so that a
 * restart from a checkpoint, which keeps them, reads the same rows as the same values.
 */
import { createHash } from 'node:crypto'
import {
  type Change,
  type Column,
  type Row,
  type TableId,
  type TableSchema,
  tableId,
  type Value,
} from '../../core/model.js'
import {
  columnType,
  type InferredKind,
  inferredValue,
  kindOf,
  textOf,
  typeCode,
  typeOfCode,
  widened,
} from './column-types.js'
import { type Field, FieldError } from './connect-types.js'
import { isUnavailable } from './debezium-message.js'
import type { Json, JsonObject } from './json.js'
import { BadMessage, KEY_FIX, type Message, type MessageTable } from './message.js'

/** One version of a table: its columns are the fields of a message in their order. */
interface Shape {
  readonly schema: TableSchema
  readonly fields: readonly Field[]
}

interface TableState {
  readonly id: TableId
  readonly table: MessageTable
  key: readonly string[]
  /** What values said of columns without a type; null: nothing but nulls so far. */
  readonly inferred: Map<string, InferredKind | null>
  /** By the types of the message, then by the names of its fields. */
  shapes: Map<Message['types'], Map<string, Shape>>
  /** The newest. */
  schema: TableSchema | null
  /** What tag() said last, until something of it changes. */
  tag: { readonly of: TableSchema; readonly text: string } | null
}

/** Versions of a table that are kept. */
const SHAPES_MAX = 100

export type Entry =
  | { readonly kind: 'change'; readonly schema: TableSchema; readonly change: Change }
  | { readonly kind: 'truncate'; readonly schema: TableSchema }

export class MessageTables {
  readonly #tables = new Map<TableId, TableState>()
  readonly #keyColumns: ReadonlyMap<string, readonly string[]>

  /** Key columns by table, where messages are not to be asked. */
  constructor(keyColumns: ReadonlyMap<string, readonly string[]>) {
    this.#keyColumns = keyColumns
  }

  schema(id: TableId): TableSchema | null {
    return this.#tables.get(id)?.schema ?? null
  }

  /** To be called with every message of a batch before entry() is with any of them: the more is seen, the better a type is known. */
  learn(message: Message): void {
    const state = this.#state(message.table)
    for (const row of [message.after, message.before, message.old, message.keyRow]) {
      if (row == null) continue
      for (const [name, value] of row.fields) {
        if (message.types?.has(name) || isUnavailable(value)) continue
        const known = state.inferred.get(name)
        const kind = widened(known ?? null, kindOf(value))
        if (kind === known) continue
        state.inferred.set(name, kind)
        state.tag = null
        // What was made with the narrower type is of no use any more.
        if (known != null) state.shapes.clear()
      }
    }
  }

  /** Null: a truncate of a table of which nothing was ever seen. */
  entry(message: Message, at: number | bigint): Entry | null {
    const state = this.#state(message.table)
    if (message.op === 't') return state.schema === null ? null : { kind: 'truncate', schema: state.schema }
    const shape = this.#shape(state, message)
    const { schema } = shape
    const change = { op: message.op, at, ...rowsOf(message, shape) }
    requireKey(schema, change)
    state.schema = schema
    return { kind: 'change', schema, change }
  }

  #state(table: MessageTable): TableState {
    const id = tableId(table.namespace, table.name)
    const known = this.#tables.get(id)
    if (known !== undefined) return known
    const key = this.#keyColumns.get(id) ?? []
    const made = { id, table, key, inferred: new Map(), shapes: new Map(), schema: null, tag: null }
    this.#tables.set(id, made)
    return made
  }

  #shape(state: TableState, message: Message): Shape {
    const names = namesOf(message, state)
    const key = this.#keyOf(state, message)
    if (key.join('\0') !== state.key.join('\0')) {
      state.key = key
      state.shapes.clear()
    }
    let versions = state.shapes.get(message.types)
    if (versions === undefined) {
      if (state.shapes.size >= SHAPES_MAX) state.shapes.clear()
      versions = new Map()
      state.shapes.set(message.types, versions)
    }
    const text = names.join('\0')
    let shape = versions.get(text)
    if (shape === undefined) {
      if (versions.size >= SHAPES_MAX) versions.clear()
      shape = makeShape(state, names, message.types)
      versions.set(text, shape)
    }
    return shape
  }

  #keyOf({ id, key }: TableState, message: Message): readonly string[] {
    const given = this.#keyColumns.get(id)
    if (given !== undefined) return given
    if (message.key !== null) return message.key
    if (message.keyProblem !== undefined) throw new BadMessage(message.keyProblem, KEY_FIX)
    return key
  }

  // ---- checkpoints

  tag(id: TableId): string | null {
    const state = this.#tables.get(id)
    if (!state?.schema) return null
    if (state.tag?.of === state.schema) return state.tag.text
    const { database, namespace, name } = state.table
    const columns = state.schema.columns.map((column) => [column.name, typeCode(column.type)] as const)
    const inferred = [...state.inferred].flatMap(([column, kind]) => (kind === null ? [] : [[column, kind] as const]))
    const text = JSON.stringify({ table: [database, namespace, name], key: state.key, columns, inferred })
    state.tag = { of: state.schema, text }
    return text
  }

  restore(tag: string): TableSchema {
    const saved = JSON.parse(tag) as {
      readonly table: readonly [database: string, namespace: string, name: string]
      readonly key: readonly string[]
      readonly columns: readonly (readonly [name: string, code: string])[]
      readonly inferred: readonly (readonly [name: string, kind: InferredKind])[]
    }
    const [database, namespace, name] = saved.table
    const state = this.#state({ database, namespace, name })
    state.key = this.#keyColumns.get(state.id) ?? saved.key
    for (const [column, kind] of saved.inferred) state.inferred.set(column, kind)
    state.schema = makeSchema(
      state,
      saved.columns.map(([column, code]) => ({ name: column, type: typeOfCode(code), nullable: true })),
    )
    return state.schema
  }
}

/** A delete that brings only its key is of the columns that are known. */
function namesOf({ after, before, types, keyRow }: Message, { schema }: TableState): readonly string[] {
  const row = after ?? before
  if (row !== null) return [...row.fields.keys()]
  if (schema !== null) return schema.columns.map(({ name }) => name)
  return [...(types ?? keyRow!.fields).keys()]
}

function makeShape(state: TableState, names: readonly string[], types: Message['types']): Shape {
  const fields = names.map((name): Field => {
    const typed = types?.get(name)
    if (typed !== undefined) return typed
    // A column of nothing but nulls is text: that holds whatever comes.
    const kind = state.inferred.get(name) ?? 'string'
    state.inferred.set(name, kind)
    return { name, type: columnType(kind), nullable: true, read: (value) => inferredValue(value, kind) }
  })
  return { fields, schema: makeSchema(state, fields) }
}

function makeSchema(
  { id, table, key }: TableState,
  fields: readonly Pick<Field, 'name' | 'type' | 'nullable'>[],
): TableSchema {
  const positions = key.map((name) => {
    const at = fields.findIndex((field) => field.name === name)
    if (at < 0) throw new BadMessage(`key column ${name} is not among the columns of the row`, KEY_FIX)
    return at
  })
  const columns = fields.map(
    ({ name, type, nullable }): Column => ({
      name,
      type,
      nullable: nullable && !key.includes(name),
      generated: false,
      defaultValue: null,
    }),
  )
  const whole = { id, ...table, dialect: 'plain' as const, columns, key: positions }
  return { ...whole, fingerprint: createHash('sha256').update(JSON.stringify(whole)).digest('hex').slice(0, 32) }
}

function rowsOf(message: Message, shape: Shape): Pick<Change, 'before' | 'after'> {
  const { op, before, after, old, keyRow } = message
  if (op === 'd') return { after: null, before: oldRow(message, before ?? keyRow!, shape) }
  const now = readRow(after!, shape)
  const unsent = op === 'u' ? -1 : now.indexOf(undefined)
  if (unsent >= 0) {
    const { name } = shape.fields[unsent]!
    throw new BadMessage(
      `a new row came without column ${name}: only the row that it was under another key has the value`,
      'Let the source send whole rows (PostgreSQL: ALTER TABLE ... REPLICA IDENTITY FULL).',
    )
  }
  if (op !== 'u') return { after: now, before: null }
  if (old != null) return { after: now, before: replaced(now, old, shape) }
  return { after: now, before: before === null ? null : oldRow(message, before, shape) }
}

function readRow(row: JsonObject, { fields }: Shape): Value[] {
  return fields.map((field) => readField(row, field))
}

function readField(row: JsonObject, field: Field): Value {
  const value = row.get(field.name)
  if (value == null) return value
  if (isUnavailable(value)) return undefined
  try {
    return field.read(value)
  } catch (error) {
    if (!(error instanceof FieldError)) throw error
    throw new BadMessage(`column ${field.name}: ${error.message}`)
  }
}

function oldRow({ beforeOnly }: Message, before: JsonObject, shape: Shape): Row {
  const row = readRow(before, shape)
  const { key } = shape.schema
  if (beforeOnly === undefined || key.length === 0) return row
  const rest = shape.fields.some((field, i) => !key.includes(i) && !isStandIn(before.get(field.name), field))
  return rest ? row : row.map((value, i) => (key.includes(i) ? value : undefined))
}

/** True for what may stand for a value that the source did not send. */
function isStandIn(value: Json | undefined, { fallback }: Field): boolean {
  return value == null || (fallback != null && textOf(value) === textOf(fallback))
}

/** The old row of a message that names only what changed. */
function replaced(now: Row, old: JsonObject, { fields }: Shape): Row {
  return now.map((value, i) => (old.fields.has(fields[i]!.name) ? readField(old, fields[i]!) : value))
}

function requireKey(schema: TableSchema, { op, before, after }: Change): void {
  const row = op === 'd' ? before! : after!
  const unknown = schema.key.find((i) => row[i] == null)
  if (unknown !== undefined) {
    throw new BadMessage(`key column ${schema.columns[unknown]!.name} has no value`, KEY_FIX)
  }
  if (schema.key.length > 0 || op === 'c' || op === 'r') return
  if (before !== null && !before.includes(undefined)) return
  throw new BadMessage('an update or delete of a table without a key does not bring the whole old row', KEY_FIX)
}
