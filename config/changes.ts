/**
 * `changes()`: a database's rows and changes as an async iterable of typed events, for programs with code of their own.
 * The source is given by its options, as in a pipeline file, or as an object made by a custom connector.
 */
import { changeStream } from '../core/changes.js'
import { TidemarkError } from '../core/errors.js'
import { type ChangeBatch, keyOf, type TableId } from '../core/model.js'
import type { StateStore } from '../core/pipeline.js'
import type { Source } from '../core/source.js'
import { type DecodedRow, decodeRow } from '../sinks/formats/typed.js'
import type { Problem } from './problems.js'
import { connectorNamed } from './read-blocks.js'
import { BUILT_IN, type Registry } from './registry.js'
import { type OptionsOrigin, validate } from './validate.js'

/** Where a source must be told its tables and nothing depends on them. */
const ANY_TABLES = '*.*'

/** `{ type: 'postgres', url: ... }` with the options of docs/reference.md. */
export type SourceOptions = { readonly type: string } & Readonly<Record<string, unknown>>

export interface ChangesOptions {
  readonly source: SourceOptions | (() => Source)
  /** Tables to capture, as in a pipeline file; not for a source that is given as a function. */
  readonly tables?: string | readonly string[]
  /** Keys the replication slot; default `changes`. */
  readonly name?: string
  /**
   * A checkpoint of an earlier batch to go on from. null: a first start that will be continued later, so the slot is
   * permanent. Absent and without `store`: a temporary slot, and every run starts anew.
   */
  readonly from?: string | null
  /** Keeps the checkpoint of the last committed batch and gives it back at the next start. */
  readonly store?: StateStore
  /** initial: existing rows first. latest-offset: changes only. */
  readonly mode?: 'initial' | 'latest-offset'
  /** caught-up: the stream ends when everything committed before its start was handed out. */
  readonly until?: 'forever' | 'caught-up'
  readonly signal?: AbortSignal
  /** Lines a person should see; nothing is printed by default. */
  readonly note?: (line: string) => void
  readonly registry?: Registry
}

/** One change. Values are exact: 64-bit integers are bigint, decimals and times text, bytes Uint8Array. */
export interface ChangeEvent {
  /** read (an existing row), insert, update, delete, truncate. */
  readonly op: 'read' | 'insert' | 'update' | 'delete' | 'truncate'
  readonly table: TableId
  /** The key's columns; of the old row for a delete. null for truncate and tables without a key. */
  readonly key: DecodedRow | null
  /** update, delete: the old row as far as the source sent it. */
  readonly before: DecodedRow | null
  /** The new row; columns whose unchanged value was not sent are absent. */
  readonly after: DecodedRow | null
  /** Commit time in the source; of the snapshot for a read. */
  readonly committedAt: Date
}

export interface ChangesBatch {
  readonly events: readonly ChangeEvent[]
  /** Opaque. Save it in the transaction of your own work and give it back as `from`. */
  readonly checkpoint: string
  /** Saves the checkpoint to `store` if there is one, then lets the source forget everything up to it. */
  commit(): Promise<void>
}

export async function* changes(options: ChangesOptions): AsyncGenerator<ChangesBatch, void, void> {
  const { source, tables, name = 'changes', registry = BUILT_IN, ...rest } = options
  const make = typeof source === 'function' ? source : sourceOf(source, tables, name, registry)
  for await (const batch of changeStream({ ...rest, name, source: make })) {
    yield { events: batch.batches.flatMap(eventsOf), checkpoint: batch.checkpoint, commit: () => batch.commit() }
  }
}

export interface DropOptions {
  /** Which tables were captured does not matter here. */
  readonly source: SourceOptions
  /** As given to changes(). */
  readonly name?: string
  readonly registry?: Registry
  readonly signal?: AbortSignal
}

/**
 * Removes what changes() with `from` or `store` left in the source for its next start: the replication slot, which makes
 * the server keep log, and the publication. Nothing may be reading them. Returns a line for each thing removed.
 */
export async function dropChanges(options: DropOptions): Promise<readonly string[]> {
  const { source, name = 'changes', registry = BUILT_IN, signal = new AbortController().signal } = options
  const { definition, parsed } = readSource({ tables: ANY_TABLES, ...source }, registry)
  return await definition.drop(parsed, { pipeline: name, signal })
}

function sourceOf(
  source: SourceOptions,
  tables: string | readonly string[] | undefined,
  pipeline: string,
  registry: Registry,
): () => Source {
  const { definition, parsed } = readSource(tables === undefined ? source : { ...source, tables }, registry)
  return () => definition.create(parsed, { pipeline })
}

function readSource({ type, ...given }: SourceOptions, { sources }: Registry) {
  const definition = connectorNamed(sources, type)
  if (definition === undefined) {
    const known = sources.map((s) => s.connector).join(', ')
    throw new TidemarkError('config.invalid', {
      message: `no source is called "${type}"`,
      fix: `Known are: ${known}.`,
      at: 'source.type',
    })
  }
  const problems: Problem[] = []
  const place = { where: 'source', offset: 0 }
  const origin: OptionsOrigin = {
    problems,
    textOf: () => null,
    isInterpolated: () => false,
    isBroken: () => false,
    keyPlace: () => place,
    valuePlace: () => place,
  }
  const parsed = validate(definition.options, given, { file: origin, path: ['source'], label: `source (${type})` })
  if (problems.length > 0) {
    throw new TidemarkError('config.invalid', {
      message: problems.map(({ message }) => message).join('; '),
      fix: `For example: changes({ source: { type: '${type}', url }, tables: 'public.*' }). docs/reference.md lists the options.`,
      at: 'source',
    })
  }
  return { definition, parsed }
}

const OPS = { r: 'read', c: 'insert', u: 'update', d: 'delete' } as const

function eventsOf(batch: ChangeBatch): ChangeEvent[] {
  const { schema, origin } = batch
  const us = origin.kind === 'log' ? origin.txn.tsUs : origin.tsUs
  const common = { table: schema.id, committedAt: new Date(Number(us / 1000n)) }
  if (batch.kind === 'truncate') return [{ ...common, op: 'truncate', key: null, before: null, after: null }]
  const keySchema = { ...schema, columns: schema.key.map((i) => schema.columns[i]!) }
  return batch.changes.map(({ op, before, after }) => ({
    ...common,
    op: OPS[op],
    key: schema.key.length === 0 ? null : decodeRow(keySchema, keyOf(schema, (after ?? before)!)),
    before: before === null ? null : decodeRow(schema, before),
    after: after === null ? null : decodeRow(schema, after),
  }))
}
