/**
 * The checkpoint: everything a restart needs, as JSON text that sinks store beside their data. Versioned; golden files
 * in test/fixtures/checkpoints hold what every released version wrote. Finished ranges with passed cuts are one
 * range, so its size follows the work in flight and not the table (a checked 1,000,000 chunks in under 1 MiB).
 */
import { type Cut, type CutData, cutFromJSON } from './cut.js'
import { TidemarkError } from './errors.js'
import type { Bound } from './key.js'
import type { Position, TableId, TxnRef, Value } from './model.js'
import { newRange, type Range } from './range.js'
import type { MarkState } from './snapshot-marks.js'
import type { SavedPlace, SourceIdentity } from './source.js'
import type { TableMerge } from './table-merge.js'

export const CHECKPOINT_VERSION = 1

/** JSON form of a value: bigint as {n}, bytes as {b: hex}. */
type SavedValue = string | number | boolean | null | { n: string } | { b: string } | SavedValue[]
type SavedBound = readonly [side: 'before' | 'after', ...key: SavedValue[]] | null
/** ordinal, xid or '', commit time in us, gtid source, gtid number. */
type SavedTxn = readonly [string, string?, string?, string?, string?]

interface SavedRange {
  /** Upper bound; the lower one is the range's before. */
  readonly hi: SavedBound
  readonly state: 'waiting' | 'finished'
  /** Index into `cuts`. */
  readonly cut?: number
  readonly remembered?: readonly SavedTxn[]
  readonly single?: true
}

export interface SavedTable {
  /** Names and types of the key the bounds are made of. */
  readonly key: readonly string[]
  readonly started: boolean
  /** 1.10 j: no cut of the table is in a checkpoint yet. */
  readonly added?: true
  /** Which marks its rows were given; absent where the sink never asked. */
  readonly marks?: MarkState
  /** What the source said of the table, see Source.tag. */
  readonly tag?: string
  readonly ranges: readonly SavedRange[]
}

export interface CheckpointState {
  readonly version: number
  readonly pipeline: string
  readonly connector: string
  /** creating: the log feed may or may not exist and nothing was delivered. */
  readonly phase: 'creating' | 'running'
  readonly source: SourceIdentity
  readonly position: Position
  readonly ordinal: string
  readonly cuts: readonly CutData[]
  /** The same as a table's, of the whole snapshot. */
  readonly marks?: MarkState
  readonly tables: Readonly<Record<string, SavedTable>>
}

export function writeCheckpoint(state: CheckpointState): string {
  return JSON.stringify(state)
}

export function readCheckpoint(text: string): CheckpointState {
  let state: CheckpointState
  try {
    state = JSON.parse(text) as CheckpointState
  } catch (cause) {
    throw unreadable('it is not JSON', cause)
  }
  if (typeof state?.version !== 'number') throw unreadable('it has no version')
  if (state.version > CHECKPOINT_VERSION) {
    throw unreadable(`it has version ${state.version}, this program reads up to ${CHECKPOINT_VERSION}`)
  }
  if (!state.phase || !state.source || typeof state.tables !== 'object') throw unreadable('parts of it are missing')
  return state
}

function unreadable(why: string, cause?: unknown): TidemarkError {
  return new TidemarkError('core.checkpoint_unreadable', {
    message: `the checkpoint cannot be read: ${why}`,
    fix: 'Run the version that wrote it. To start anew, `tidemark drop FILE` removes it; targets must then be emptied.',
    cause,
  })
}

/** What the source judges a change of its identity by. */
export function savedPlace({ source, phase, position, cuts }: CheckpointState): SavedPlace {
  let shown = 0n
  for (const cut of cuts) {
    const { resolvedAfter } = cutFromJSON(cut)
    if (resolvedAfter > shown) shown = resolvedAfter
  }
  return { identity: source, position: phase === 'running' ? position : null, shown }
}

// ---- tables

export function keyNames(table: TableMerge): string[] {
  const { columns, key } = table.table.schema
  return key.map((i) => `${columns[i]!.name} ${columns[i]!.type.native}`)
}

export function saveTables(tables: Iterable<TableMerge>): Pick<CheckpointState, 'cuts' | 'tables'> {
  const cuts: CutData[] = []
  const indexes = new Map<Cut, number>()
  const indexOf = (cut: Cut) => {
    const known = indexes.get(cut)
    if (known !== undefined) return known
    indexes.set(cut, cuts.push(cut.toJSON()) - 1)
    return cuts.length - 1
  }
  const saved: Record<string, SavedTable> = {}
  for (const table of tables) {
    saved[table.table.schema.id] = {
      key: keyNames(table),
      started: table.started,
      ...(table.added && !table.ranges.some((r) => r.state === 'finished') ? { added: true as const } : {}),
      ...(table.marks === null ? {} : { marks: table.marks.state }),
      ranges: joinWaiting(table.ranges.map((range) => saveRange(range, indexOf))),
    }
  }
  return { cuts, tables: saved }
}

/**
 * What an open range knows is what a waiting one remembers (1.10 b, c): held events are dropped by a restart, and so is a
 * row that is kept.
 */
function saveRange(range: Range, indexOf: (cut: Cut) => number): SavedRange {
  const hi = saveBound(range.hi)
  if (range.state === 'finished') {
    return range.cut === null ? { hi, state: 'finished' } : { hi, state: 'finished', cut: indexOf(range.cut) }
  }
  const remembered = new Map(range.remembered)
  for (const { txn } of range.held) remembered.set(txn.ordinal, txn)
  return {
    hi,
    state: 'waiting',
    ...(remembered.size > 0 ? { remembered: [...remembered.values()].map(saveTxn) } : {}),
    ...(range.single ? { single: true as const } : {}),
  }
}

/** Neighbours that wait and remember nothing are one: plans are made anew. */
function joinWaiting(ranges: readonly SavedRange[]): SavedRange[] {
  const out: SavedRange[] = []
  for (const range of ranges) {
    const last = out.at(-1)
    const plain = (r: SavedRange | undefined) => r?.state === 'waiting' && !r.remembered && !r.single
    if (plain(last) && plain(range)) out[out.length - 1] = range
    else out.push(range)
  }
  return out
}

export function loadTable(table: TableMerge, saved: SavedTable, state: CheckpointState): void {
  const key = keyNames(table)
  const whole = saved.ranges.length === 1
  if (!whole && key.join() !== saved.key.join()) {
    throw new TidemarkError('core.identity_changed', {
      message: `the key of ${table.table.schema.id} was (${saved.key.join(', ')}) and is now (${key.join(', ')}), so its half-read chunks cannot be continued`,
      fix: 'Restore the key, or run `tidemark drop FILE`, empty the targets and start anew.',
    })
  }
  const cuts = state.cuts.map(cutFromJSON)
  let lo: Bound | null = null
  table.started = saved.started
  table.added = saved.added ?? false
  // Without marks in the checkpoint, what left cannot be called the first any more.
  if (table.marks !== null) table.marks.state = saved.marks ?? (saved.started ? 'begun' : 'none')
  table.ranges = saved.ranges.map((from) => {
    const range = newRange(lo, loadBound(from.hi), from.state)
    if (from.cut !== undefined) range.cut = cuts[from.cut] ?? null
    for (const txn of from.remembered ?? []) {
      const loaded = loadTxn(txn)
      range.remembered.set(loaded.ordinal, loaded)
    }
    if (from.single && range.hi) {
      range.single = range.hi.key
      range.planned = true
    }
    lo = range.hi
    return range
  })
  if (table.marks !== null && saved.marks === undefined && table.pure) table.marks.state = 'over'
}

function saveBound(bound: Bound | null): SavedBound {
  return bound === null ? null : [bound.side, ...bound.key.map(saveValue)]
}

function loadBound(saved: SavedBound): Bound | null {
  if (saved === null) return null
  const [side, ...key] = saved
  return { side, key: key.map(loadValue) }
}

function saveValue(value: Value): SavedValue {
  if (typeof value === 'bigint') return { n: `${value}` }
  if (value instanceof Uint8Array) return { b: Buffer.from(value).toString('hex') }
  if (Array.isArray(value)) return value.map(saveValue)
  return value as string | number | boolean | null
}

function loadValue(saved: SavedValue): Value {
  if (Array.isArray(saved)) return saved.map(loadValue)
  if (saved === null || typeof saved !== 'object') return saved
  return 'n' in saved ? BigInt(saved.n) : Buffer.from(saved.b, 'hex')
}

function saveTxn({ ordinal, xid, tsUs, gtid }: TxnRef): SavedTxn {
  const head = [`${ordinal}`, xid === undefined ? '' : `${xid}`] as const
  return gtid ? [...head, `${tsUs}`, gtid.source, `${gtid.number}`] : tsUs === 0n ? head : [...head, `${tsUs}`]
}

function loadTxn([ordinal, xid = '', tsUs = '0', source, number = '0']: SavedTxn): TxnRef {
  return {
    ordinal: BigInt(ordinal),
    previous: 0n,
    tsUs: BigInt(tsUs),
    ...(xid === '' ? {} : { xid: BigInt(xid) }),
    ...(source === undefined ? {} : { gtid: { source, number: BigInt(number) } }),
  }
}

// ---- for people

export interface CheckpointDescription {
  readonly pipeline: string
  readonly phase: 'creating' | 'running'
  readonly source: SourceIdentity
  readonly position: string
  readonly tables: readonly { id: TableId; state: 'waiting' | 'snapshot' | 'streaming'; rangesLeft: number }[]
}

export function describeCheckpoint(text: string): CheckpointDescription {
  const { pipeline, phase, source, position, tables } = readCheckpoint(text)
  return {
    pipeline,
    phase,
    source,
    position,
    tables: Object.entries(tables).map(([id, { ranges }]) => {
      const rangesLeft = ranges.filter((r) => r.state === 'waiting').length
      const state = rangesLeft === 0 ? 'streaming' : rangesLeft === ranges.length ? 'waiting' : 'snapshot'
      return { id: id as TableId, state, rangesLeft }
    }),
  }
}
