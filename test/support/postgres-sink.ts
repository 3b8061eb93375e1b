/** Makes table schemas and batches for tests of the postgres sink, and opens its sessions directly. */
import type { Change, ChangeBatch, Column, ColumnType, Row, TableSchema, TypeKind } from '../../core/model.js'
import { tableId } from '../../core/model.js'
import type { SinkSession } from '../../core/sink.js'
import { postgresSink } from '../../sinks/postgres/index.js'

const KINDS: Readonly<Record<string, TypeKind>> = {
  smallint: 'int16',
  integer: 'int32',
  bigint: 'int64',
  numeric: 'decimal',
  bytea: 'bytes',
  boolean: 'bool',
  uuid: 'uuid',
}

export function typeOf(native: string, more: Partial<ColumnType> = {}): ColumnType {
  const base = native.replace(/\(.*\)|\[\]/g, '')
  return {
    kind: native.endsWith('[]') ? 'array' : (KINDS[base] ?? 'string'),
    native,
    base,
    precision: null,
    scale: null,
    length: null,
    element: native.endsWith('[]') ? typeOf(native.slice(0, -2)) : null,
    labels: null,
    domain: null,
    ...more,
  }
}

let version = 0

/** `columns`: name to type; `key`: names. */
export function schemaOf(
  name: string,
  columns: Readonly<Record<string, string | ColumnType>>,
  key: readonly string[],
  more: Partial<TableSchema> = {},
): TableSchema {
  const names = Object.keys(columns)
  const list: Column[] = names.map((column) => {
    const type = columns[column]!
    return {
      name: column,
      type: typeof type === 'string' ? typeOf(type) : type,
      nullable: !key.includes(column),
      generated: false,
      defaultValue: null,
    }
  })
  return {
    id: tableId('public', name),
    database: 'source',
    namespace: 'public',
    name,
    dialect: 'postgres',
    columns: list,
    key: key.map((column) => names.indexOf(column)),
    fingerprint: `test-${++version}`,
    ...more,
  }
}

export const change = {
  r: (after: Row): Change => ({ op: 'r', before: null, after, at: 0 }),
  c: (after: Row): Change => ({ op: 'c', before: null, after, at: 0 }),
  u: (after: Row, before: Row | null = null): Change => ({ op: 'u', before, after, at: 0 }),
  d: (before: Row): Change => ({ op: 'd', before, after: null, at: 0 }),
}

const origin = { kind: 'log', txn: { ordinal: 1n, previous: 0n, tsUs: 0n } } as const

export function batch(schema: TableSchema, ...changes: Change[]): ChangeBatch {
  return { kind: 'rows', schema, origin, changes, bytes: changes.length * 100 }
}

export function truncate(schema: TableSchema): ChangeBatch {
  return { kind: 'truncate', schema, origin, at: 0, bytes: 100 }
}

export const signal: AbortSignal = new AbortController().signal

export interface OpenOptions {
  readonly pipeline?: string
  /** Ids of tables never written; default: all of them on a first start. */
  readonly first?: readonly TableSchema[]
  readonly source?: Readonly<Record<string, string>>
  readonly captured?: readonly TableSchema[]
  readonly [option: string]: unknown
}

/** Opens a session and prepares the tables, as a pipeline does at its start. */
export async function openSink(
  url: string,
  tables: readonly TableSchema[],
  { pipeline = 'p', first, source = {}, captured = [], ...options }: OpenOptions = {},
): Promise<SinkSession> {
  const parsed = postgresSink.options.parse({ url, ...options })
  const sink = postgresSink.create(parsed, { pipeline })
  const session = await sink.open({ pipeline, signal, note: () => {} })
  const unwritten = first ?? (session.checkpoint === null ? tables : [])
  try {
    await session.prepare(tables, {
      signal,
      first: new Set(unwritten.map((t) => t.id)),
      source: { identity: source, tables: captured.map((t) => t.id) },
    })
  } catch (error) {
    await session.close()
    throw error
  }
  return session
}

/** One write and one commit. */
export async function put(session: SinkSession, checkpoint: string, ...batches: ChangeBatch[]): Promise<void> {
  await session.write(batches, { signal })
  await session.commit(checkpoint, { signal })
}
