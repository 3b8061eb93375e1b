/** The sinks that exist. A new one is one folder and one line here. */
import type { SinkDefinition } from '../core/define.js'
import { postgresSink } from './postgres/index.js'

export const SINKS: readonly SinkDefinition<unknown>[] = [postgresSink as unknown as SinkDefinition<unknown>]
