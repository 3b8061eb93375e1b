/** Opens sessions of the mysql sink directly, as a pipeline does at its start, each test with a table of checkpoints of its own. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import type { TableSchema } from '../../core/model.js'
import type { SinkSession } from '../../core/sink.js'
import { mysqlSink } from '../../sinks/mysql/index.js'
import type { MysqlSinkOptions } from '../../sinks/mysql/options.js'
import type { MysqlTestDatabase } from './mysql.js'
import { type OpenOptions, signal } from './postgres-sink.js'

/** Options of a sink whose tables and checkpoints are all in the test's own database. */
export function sinkOptions(db: MysqlTestDatabase, more: Readonly<Record<string, unknown>> = {}): MysqlSinkOptions {
  return mysqlSink.options.parse({ url: db.url, 'state.database': db.name, ...more }) as MysqlSinkOptions
}

/** Opens a session and prepares the tables. */
export async function openMysqlSink(
  db: MysqlTestDatabase,
  tables: readonly TableSchema[],
  { pipeline = 'p', first, source = {}, captured = [], ...options }: OpenOptions = {},
): Promise<SinkSession> {
  const sink = mysqlSink.create(sinkOptions(db, options) as never, { pipeline })
  const session = await sink.open({ pipeline, signal, note: () => {} })
  const unwritten = first ?? (session.checkpoint === null ? tables : [])
  try {
    await session.prepare(tables, {
      signal,
      first: new Set(unwritten.map((t) => t.id)),
      source: { identity: source, tables: captured.map((t) => t.id) },
    })
  } catch (error) {
    await session.close()
    throw error
  }
  return session
}

const CLIENTS = ['/usr/bin/mariadb', '/usr/bin/mysql']

/**
 * What the client of the distribution prints for a statement, one line a row with tabs between: a judge that shares no
 * code with the sink. null: there is none on this machine.
 */
export async function clientRows(db: MysqlTestDatabase, sql: string): Promise<string[] | null> {
  const program = CLIENTS.find((path) => existsSync(path))
  if (program === undefined) return null
  const { hostname, port } = new URL(db.url)
  const args = [
    '-h',
    hostname,
    '-P',
    port,
    '-u',
    'root',
    '--default-character-set=utf8mb4',
    '-N',
    '-B',
    '-e',
    sql,
    db.name,
  ]
  const { stdout } = await promisify(execFile)(program, args, { maxBuffer: 64 * 1024 * 1024 })
  return stdout.split('\n').slice(0, -1)
}
