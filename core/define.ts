/**
 * A connector is one object: its name, its options as a zod schema (from which documentation, JSON Schema and error
 * messages come), and functions that make, check, describe and remove what it owns.
 */
import type { ZodType } from 'zod'
import type { TableId, TableSchema } from './model.js'
import type { Sink } from './sink.js'
import type { Abortable, Source, SourceIdentity } from './source.js'

/** One line of `tidemark check`. `problem` makes the command exit 3; `fix` is ready to run. */
export interface Finding {
  readonly level: 'ok' | 'info' | 'warning' | 'problem'
  /** What it is about, e.g. `wal_level`, `public.orders`. */
  readonly subject: string
  readonly message: string
  readonly fix?: string
}

export interface ConnectorContext {
  /** The pipeline's name. */
  readonly pipeline: string
}

export interface SourceDefinition<O = never> {
  readonly connector: string
  /** Other words that `type` may be. */
  readonly aliases?: readonly string[]
  /** One sentence for the reference. */
  readonly summary: string
  readonly options: ZodType<O>
  create(options: O, context: ConnectorContext): Source
  check(options: O, context: ConnectorContext & Abortable): Promise<readonly Finding[]>
  /** What the source holds for the pipeline (slot, retained log), as findings for `status` and the end of a run; all `ok`: nothing. */
  status(options: O, context: ConnectorContext & Abortable): Promise<readonly Finding[]>
  /** Removes what the pipeline made in the source. Returns a line for each thing removed. Idempotent. */
  drop(options: O, context: ConnectorContext & Abortable): Promise<readonly string[]>
}

export interface SinkDefinition<O = never> {
  readonly connector: string
  readonly aliases?: readonly string[]
  readonly summary: string
  readonly options: ZodType<O>
  create(options: O, context: ConnectorContext): Sink
  /**
   * `tables`: what would be written, after transforms and routes. `source`: where from, as prepare() will get it.
   * Both are absent when the source could not be read.
   */
  check(
    options: O,
    context: ConnectorContext &
      Abortable & {
        readonly tables?: readonly TableSchema[]
        readonly source?: { readonly identity: SourceIdentity; readonly tables: readonly TableId[] }
      },
  ): Promise<readonly Finding[]>
  /** The committed checkpoint, read without fencing anybody; null: none. */
  readCheckpoint(options: O, context: ConnectorContext & Abortable): Promise<string | null>
  /** Removes the pipeline's checkpoint (never its data). Returns a line for each thing removed. Idempotent. */
  drop(options: O, context: ConnectorContext & Abortable): Promise<readonly string[]>
}

/** Identity functions that give a custom connector its types. */
export function defineSource<O>(definition: SourceDefinition<O>): SourceDefinition<O> {
  return definition
}

export function defineSink<O>(definition: SinkDefinition<O>): SinkDefinition<O> {
  return definition
}
