/** The contract of sources: core/source.ts as cases, and a whole pipeline under a writer, that any source can be held to. */
import type { TableId } from '../model.js'
import type { Source } from '../source.js'
import { type ContractOptions, runContract, type TestFunction } from './contract.js'
import { CHUNK_CASES } from './source-chunk-cases.js'
import { LOG_CASES } from './source-log-cases.js'
import { PIPELINE_CASES } from './source-pipeline-cases.js'

export type RowChange =
  | { readonly insert: number; readonly v: string | null }
  | { readonly update: number; readonly v: string | null }
  | { readonly move: number; readonly to: number }
  | { readonly remove: number }

export interface OpenTransaction {
  write(...changes: RowChange[]): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** A new database with one empty table: an integer key `id` and a text `v`. It is written by other means than the source's own. */
export interface SourceDatabase {
  readonly table: TableId
  /** A source that captures only this table, made as the registry makes it. */
  source(pipeline: string): Source
  /** One transaction. */
  commit(...changes: RowChange[]): Promise<void>
  /** A transaction that stays open; absent where the database has none. */
  begin?(): Promise<OpenTransaction>
  rows(): Promise<readonly { readonly id: string; readonly v: string | null }[]>
  /** Removes what the pipeline made in the source. */
  drop(pipeline: string): Promise<void>
  close(): Promise<void>
}

export interface SourceHarness {
  database(): Promise<SourceDatabase>
}

export function sourceContract(test: TestFunction, harness: SourceHarness, options?: ContractOptions): void {
  runContract(test, [...LOG_CASES, ...CHUNK_CASES, ...PIPELINE_CASES], harness, options)
}
