/** `tidemark/testing`: the suites that a connector outside this repository runs as its own tests. */
export type { ContractOptions, TestFunction } from './contract.js'
export { MemoryDatabase } from './memory-source.js'
export { MemoryTarget } from './memory-target.js'
export {
  type CommittedEvent,
  type Contents,
  type SinkHarness,
  type SinkTarget,
  sinkContract,
  type TextRow,
} from './sink-contract.js'
export {
  type OpenTransaction,
  type RowChange,
  type SourceDatabase,
  type SourceHarness,
  sourceContract,
} from './source-contract.js'
