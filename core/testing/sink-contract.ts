/** The contract of sinks: core/sink.ts and the sink laws of docs/invariants.md, as cases that any sink can be held to. */
import type { Op, TableSchema } from '../model.js'
import type { Sink } from '../sink.js'
import { type ContractOptions, runContract, type TestFunction } from './contract.js'
import { ANY_SINK_CASES, EXACTLY_ONCE_CASES } from './sink-cases.js'

/** A value as text, null for NULL, undefined where an event does not carry it. */
export type TextRow = readonly (string | null | undefined)[]

export interface CommittedEvent {
  /** `t`: a truncate; key and row are empty. */
  readonly op: Op | 't'
  readonly key: readonly string[]
  /** Null for `d` and `t`. */
  readonly row: TextRow | null
}

/** What a reader of the target sees: rows of a table that is updated in place, or the events of a log in order. */
export type Contents =
  | { readonly kind: 'rows'; readonly rows: readonly TextRow[] }
  | { readonly kind: 'events'; readonly events: readonly CommittedEvent[] }

/** A new and empty place to write to. */
export interface SinkTarget {
  /** Made as the registry makes it; every sink of one target writes to the same place. */
  sink(pipeline: string): Sink
  /** Read by other means than the sink's own, where there are any. Columns in the schema's order. */
  contents(table: TableSchema): Promise<Contents>
  close(): Promise<void>
}

export interface SinkHarness {
  readonly guarantee: Sink['guarantee']
  target(): Promise<SinkTarget>
}

/** Registers every case that the sink's guarantee promises. */
export function sinkContract(test: TestFunction, harness: SinkHarness, options?: ContractOptions): void {
  const exact = harness.guarantee === 'exactly-once'
  const cases = exact ? [...ANY_SINK_CASES, ...EXACTLY_ONCE_CASES] : ANY_SINK_CASES
  runContract(test, cases, harness, options)
}
