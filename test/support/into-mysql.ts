/** Pipelines into MySQL, run inside the test. */
import { mysqlSource } from '../../connectors/mysql/index.js'
import { postgresSource } from '../../connectors/postgres/index.js'
import { runPipeline } from '../../core/pipeline.js'
import type { Sink } from '../../core/sink.js'
import type { Transform } from '../../core/transform.js'
import { mysqlSink } from '../../sinks/mysql/index.js'
import type { MysqlTestDatabase } from './mysql.js'
import { sinkOptions } from './mysql-sink.js'
import type { TestDatabase } from './postgres.js'

export interface IntoOptions {
  readonly tables: string
  readonly sink?: Readonly<Record<string, unknown>>
  readonly transform?: Transform
  readonly until?: 'once' | 'caught-up'
}

const signal = () => AbortSignal.timeout(60_000)

/** Until everything committed before now is there. */
export async function mysqlInto(from: MysqlTestDatabase, to: MysqlTestDatabase, options: IntoOptions): Promise<void> {
  const sink = () => mysqlSink.create(sinkOptions(to, options.sink) as never, { pipeline: from.name })
  await mysqlIntoSink(from, sink, options)
}

export async function mysqlIntoSink(from: MysqlTestDatabase, sink: () => Sink, options: IntoOptions): Promise<void> {
  const source = mysqlSource.options.parse({ url: from.captureUrl, tables: options.tables, 'visibility.margin': 50 })
  await runPipeline({
    name: from.name,
    source: () => mysqlSource.create(source as never, { pipeline: from.name }),
    sink,
    until: options.until ?? 'caught-up',
    readers: 2,
    checkpointIntervalMs: 20,
    signal: signal(),
    note: () => {},
    ...(options.transform === undefined ? {} : { transform: options.transform }),
  })
}

export async function postgresInto(from: TestDatabase, to: MysqlTestDatabase, options: IntoOptions): Promise<void> {
  const source = postgresSource.options.parse({ url: from.url, tables: options.tables, 'no-primary-key': 'full-row' })
  await runPipeline({
    name: from.name,
    source: () => postgresSource.create(source as never, { pipeline: from.name }),
    sink: () => mysqlSink.create(sinkOptions(to, options.sink) as never, { pipeline: from.name }),
    until: options.until ?? 'caught-up',
    readers: 2,
    checkpointIntervalMs: 20,
    signal: signal(),
    note: () => {},
    ...(options.transform === undefined ? {} : { transform: options.transform }),
  })
}
