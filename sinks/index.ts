/** The sinks that exist. A new one is one folder and one line here. */
import type { SinkDefinition } from '../core/define.js'
import { blackholeSink } from './blackhole.js'
import { fileSink } from './file/index.js'
import { kafkaSink } from './kafka/index.js'
import { memorySinkDefinition } from './memory.js'
import { mysqlSink } from './mysql/index.js'
import { postgresSink } from './postgres/index.js'
import { stdoutSink } from './stdout.js'

export const SINKS = [
  stdoutSink,
  blackholeSink,
  memorySinkDefinition,
  fileSink,
  postgresSink,
  mysqlSink,
  kafkaSink,
] as unknown as readonly SinkDefinition<unknown>[]
