/**
 * A connector is one object: its name, its options as a zod schema (from which documentation, JSON Schema and error
 * messages come), and functions that make, check, describe and remove what it owns.
 */
import type { ZodType } from 'zod'
import type { TidemarkError } from './errors.js'
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

/** What is to be said of an option that is fine by itself. */
export interface OptionNote {
  /** Its name in the block. */
  readonly option: string
  readonly message: string
  /** `no effect` beside what else was given is worth a warning; everything else is a mistake. */
  readonly level: 'mistake' | 'warning'
}

export interface Inspected extends ConnectorContext {
  /** The options as given, without defaults. */
  readonly given: Readonly<Record<string, unknown>>
}

/** `complete`: no more tables will come up. */
export type TableMistakes = (tables: readonly TableSchema[], complete: boolean) => readonly TidemarkError[]

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
  /** What the options say together that their schema cannot see. Connects nowhere. */
  inspect?(options: O, context: Inspected): readonly OptionNote[]
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
  /** What the options say together that their schema cannot see. Connects nowhere. */
  inspect?(options: O, context: Inspected): readonly OptionNote[]
  /** Finds options that do not fit the tables, before anything is made for them; null: none of these options speaks of tables. */
  tableMistakes?(options: O, context: ConnectorContext): TableMistakes | null
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
