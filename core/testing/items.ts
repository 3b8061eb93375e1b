/** The table that sink cases write: a 64-bit key, two texts and a long decimal. */
import assert from 'node:assert/strict'
import {
  type Change,
  type ChangeBatch,
  type Column,
  type ColumnType,
  type Row,
  type TableSchema,
  tableId,
} from '../model.js'
import type { SinkSession } from '../sink.js'
import type { CommittedEvent, Contents, SinkTarget, TextRow } from './sink-contract.js'

function column(name: string, type: Pick<ColumnType, 'kind' | 'native' | 'base'> & Partial<ColumnType>): Column {
  const rest = { precision: null, scale: null, length: null, element: null, labels: null, domain: null }
  return { name, type: { ...rest, ...type }, nullable: name !== 'id', generated: false, defaultValue: null }
}

const text = { kind: 'string', native: 'text', base: 'text' } as const

export const ITEMS: TableSchema = {
  id: tableId('public', 'contract_items'),
  database: 'contract',
  namespace: 'public',
  name: 'contract_items',
  dialect: 'postgres',
  columns: [
    column('id', { kind: 'int64', native: 'bigint', base: 'int8' }),
    column('name', text),
    column('note', text),
    column('amount', { kind: 'decimal', native: 'numeric(38,10)', base: 'numeric', precision: 38, scale: 10 }),
  ],
  key: [0],
  fingerprint: 'contract-items-1',
}

/** The same table after a column was added in the source. */
export const ITEMS_WIDER: TableSchema = {
  ...ITEMS,
  columns: [...ITEMS.columns, column('extra', text)],
  fingerprint: 'contract-items-2',
}

export const item = (id: number | string, name = `name ${id}`, note: string | null = null, amount = '1.5000000000') =>
  [String(id), name, note, amount] as const

export const read = (after: Row): Change => ({ op: 'r', before: null, after, at: 0 })
export const insert = (after: Row): Change => ({ op: 'c', before: null, after, at: 0 })
export const update = (after: Row): Change => ({ op: 'u', before: null, after, at: 0 })
export const remove = (id: number | string): Change => ({
  op: 'd',
  before: [String(id), undefined, undefined, undefined],
  after: null,
  at: 0,
})
export const move = (from: number, after: Row): Change => ({
  op: 'u',
  before: [String(from), undefined, undefined, undefined],
  after,
  at: 0,
})

let ordinal = 0n
const BYTES_PER_CHANGE = 100

export function log(changes: readonly Change[], schema = ITEMS): ChangeBatch {
  const txn = { ordinal: ++ordinal, previous: ordinal - 1n, tsUs: 1_700_000_000_000_000n + ordinal, xid: ordinal }
  return { kind: 'rows', schema, origin: { kind: 'log', txn }, changes, bytes: changes.length * BYTES_PER_CHANGE }
}

export function snapshot(changes: readonly Change[]): ChangeBatch {
  const origin = { kind: 'snapshot', tsUs: 1_700_000_000_000_000n, at: ordinal, xid: ordinal } as const
  return { kind: 'rows', schema: ITEMS, origin, changes, bytes: changes.length * BYTES_PER_CHANGE }
}

export function truncate(): ChangeBatch {
  const txn = { ordinal: ++ordinal, previous: ordinal - 1n, tsUs: 1_700_000_000_000_000n, xid: ordinal }
  return { kind: 'truncate', schema: ITEMS, origin: { kind: 'log', txn }, at: 0, bytes: BYTES_PER_CHANGE }
}

export const signal: AbortSignal = new AbortController().signal
export const PIPELINE = 'contract'

/** A session that is ready to write. */
export async function start(target: SinkTarget, pipeline = PIPELINE, lastClaim?: string): Promise<SinkSession> {
  const session = await target.sink(pipeline).open({ pipeline, lastClaim, signal, note: () => {} })
  const first = new Set(session.checkpoint === null ? [ITEMS.id] : [])
  await session.prepare([ITEMS], { signal, first, source: { identity: {}, tables: [] } })
  return session
}

export async function put(session: SinkSession, checkpoint: string, ...batches: ChangeBatch[]): Promise<void> {
  await session.write(batches, { signal })
  await session.commit(checkpoint, { signal })
}

/** Judges the target by every change committed so far: its rows, or its events one by one. */
export async function shows(target: SinkTarget, changes: readonly (Change | 'truncate')[]): Promise<void> {
  const contents = await target.contents(ITEMS)
  if (contents.kind === 'rows') assert.deepEqual(sorted(contents.rows), sorted(rowsAfter(changes)))
  else assert.deepEqual(contents.events.map(plain), changes.flatMap(eventsOf).map(plain))
}

function rowsAfter(changes: readonly (Change | 'truncate')[]): TextRow[] {
  const rows = new Map<string, TextRow>()
  for (const change of changes) {
    if (change === 'truncate') rows.clear()
    else if (change.op === 'd') rows.delete(String(change.before![0]))
    else {
      const from = String((change.before ?? change.after)![0])
      const old = rows.get(from)
      rows.delete(from)
      const row = change.after!.map((v, i) => (v === undefined ? old?.[i] : (v as string | null)))
      rows.set(String(row[0]), row)
    }
  }
  return [...rows.values()]
}

function eventsOf(change: Change | 'truncate'): CommittedEvent[] {
  if (change === 'truncate') return [{ op: 't', key: [], row: null }]
  const { op, before, after } = change
  if (op === 'd') return [{ op, key: [String(before![0])], row: null }]
  const key = [String(after![0])]
  const row = after as TextRow
  if (before === null || before[0] === after![0]) return [{ op, key, row }]
  return [
    { op: 'd', key: [String(before[0])], row: null },
    { op: 'c', key, row },
  ]
}

/** Whether a row was read or inserted is not every log's business. */
const plain = ({ op, key, row }: CommittedEvent) => ({ op: op === 'r' ? 'c' : op, key: [...key], row: row && [...row] })
const sorted = (rows: readonly TextRow[]) => rows.map((row) => [...row]).sort((a, b) => (a.join() < b.join() ? -1 : 1))

export type { Contents }
