/** Every connector by name. A program that embeds Tidemark passes its own to loadPipeline(). */
import { SOURCES } from '../connectors/index.js'
import type { SinkDefinition, SourceDefinition } from '../core/define.js'
import { SINKS } from '../sinks/index.js'

export interface Registry {
  readonly sources: readonly SourceDefinition<unknown>[]
  readonly sinks: readonly SinkDefinition<unknown>[]
}

export const BUILT_IN: Registry = { sources: SOURCES, sinks: SINKS }
