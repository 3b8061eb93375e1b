/** What programs import from 'tidemark'. Everything else is internal and may change in any version. */
export {
  type ChangeEvent,
  type ChangesBatch,
  type ChangesOptions,
  changes,
  type DropOptions,
  dropChanges,
  type SourceOptions,
} from './config/changes.js'
export type { Registry } from './config/registry.js'
export { type Cut, gtidCut, positionCut, timeCut, xidCut } from './core/cut.js'
export {
  type ConnectorContext,
  defineSink,
  defineSource,
  type Finding,
  type SinkDefinition,
  type SourceDefinition,
} from './core/define.js'
export { type ErrorCode, type ErrorDetails, type ForeignCode, TidemarkError } from './core/errors.js'
export type { Bound, KeyOrder, KeyRange } from './core/key.js'
export { LocatedOrder, type Places } from './core/located-order.js'
export {
  type Change,
  type ChangeBatch,
  type Column,
  type ColumnType,
  type Dialect,
  type Key,
  keyOf,
  type Op,
  type Origin,
  type Position,
  type Row,
  type TableId,
  type TableSchema,
  type TxnRef,
  type TypeKind,
  tableId,
  type Value,
} from './core/model.js'
export type { PackedRows, PackedValues } from './core/packed-rows.js'
export {
  type PipelineOptions,
  type PipelineResult,
  type Progress,
  runPipeline,
  type StateStore,
  type TableProgress,
} from './core/pipeline.js'
export type { Sink, SinkOpenContext, SinkSession, SinkTraits } from './core/sink.js'
export type {
  Abortable,
  ChunkCut,
  ChunkEnd,
  ChunkLimit,
  ChunkRead,
  ChunkRows,
  ChunkSession,
  LogBatch,
  LogItem,
  OpenContext,
  Source,
  SourceIdentity,
  SourceOpen,
  SourceTable,
} from './core/source.js'
export type { Transform } from './core/transform.js'
export { readCommitted } from './sinks/file/index.js'
export type { DecodedRow, DecodedValue } from './sinks/formats/typed.js'
export { type MemorySink, memorySink } from './sinks/memory.js'
