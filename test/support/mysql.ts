/**
 * MySQL and MariaDB for tests. createMysqlDatabase gives a database of one's own on the shared server of a kind, which comes
 * from the environment (test-servers.mjs sets it) or is started once for this test file; startMysql gives a whole server.
 * Queries go through mysql2's plain interface with every value as text, so that tests do not judge our driver by itself.
 */
import { randomBytes } from 'node:crypto'
import mysql from 'mysql2/promise'
import t from 'tap'
import { MYSQL_VARIABLE, type MysqlKind, MysqlServer } from './servers/mysql.js'

export type { MysqlKind } from './servers/mysql.js'
export { MysqlServer } from './servers/mysql.js'

interface Teardown {
  teardown(handler: () => Promise<void>): unknown
}

export type MysqlRow = Record<string, string | null>

export interface MysqlTestConnection {
  query(sql: string, values?: readonly unknown[]): Promise<MysqlRow[]>
  end(): Promise<void>
}

export interface MysqlTestDatabase {
  /** Of root, for writers. */
  readonly url: string
  /** Of a user who has only the documented grants. */
  readonly captureUrl: string
  readonly name: string
  readonly server: string
  query(sql: string, values?: readonly unknown[]): Promise<MysqlRow[]>
  connect(): Promise<MysqlTestConnection>
}

const started = new Map<MysqlKind, Promise<MysqlServer>>()

/** The URL of the shared server of that kind, as root. */
export async function sharedMysql(kind: MysqlKind): Promise<string> {
  const url = process.env[MYSQL_VARIABLE[kind]]
  if (url) return url
  let running = started.get(kind)
  if (!running) {
    running = MysqlServer.start(kind)
    started.set(kind, running)
    t.teardown(async () => (await running!).remove())
  }
  return (await running).url
}

/** A server of the test's own, for tests that change global settings or crash it. */
export async function startMysql(
  t: Teardown,
  kind: MysqlKind,
  settings: Readonly<Record<string, string>> = {},
): Promise<MysqlServer> {
  const server = await MysqlServer.start(kind, settings)
  t.teardown(() => server.remove())
  return server
}

/** A fresh database, and a user for it with the documented grants; both dropped when the test ends. */
export async function createMysqlDatabase(
  t: Teardown,
  kind: MysqlKind,
  options: { readonly server?: MysqlServer; readonly charset?: string } = {},
): Promise<MysqlTestDatabase> {
  const server = options.server?.url ?? (await sharedMysql(kind))
  const name = `t_${process.pid}_${randomBytes(4).toString('hex')}`
  const user = `u${randomBytes(6).toString('hex')}`
  const root = await connect(server)
  await root.query(`CREATE DATABASE ${name} CHARACTER SET ${options.charset ?? 'utf8mb4'}`)
  await root.query(`CREATE USER ${user}@'%' IDENTIFIED BY 'capture'`)
  const monitor = kind === 'mariadb' ? 'BINLOG MONITOR' : 'REPLICATION CLIENT'
  await root.query(`GRANT SELECT ON *.* TO ${user}@'%'`)
  await root.query(`GRANT REPLICATION SLAVE, ${monitor} ON *.* TO ${user}@'%'`)
  await root.end()
  const url = withDatabase(server, name)
  const pool = mysql.createPool({ uri: url, ...TEXT, connectionLimit: 8 })
  const open = new Set<mysql.Connection>()
  t.teardown(async () => {
    for (const connection of open) connection.destroy()
    await pool.end()
    try {
      const again = await connect(server)
      await again.query(`DROP DATABASE IF EXISTS ${name}`)
      await again.query(`DROP USER IF EXISTS ${user}@'%'`).catch(() => {})
      await again.end()
    } catch (error) {
      // A server of the test's own may be gone by now.
      if (!options.server) throw error
    }
  })
  const capture = new URL(server)
  capture.username = user
  capture.password = 'capture'
  return {
    url,
    captureUrl: capture.href,
    name,
    server,
    query: async (sql, values) => rowsOf(await pool.query(sql, values as unknown[])),
    connect: async () => {
      const connection = await mysql.createConnection({ uri: url, ...TEXT })
      connection.on('error', () => {})
      open.add(connection)
      return {
        query: async (sql, values) => rowsOf(await connection.query(sql, values as unknown[])),
        end: async () => {
          open.delete(connection)
          await connection.end()
        },
      }
    },
  }
}

const TEXT = {
  charset: 'UTF8MB4_GENERAL_CI',
  multipleStatements: true,
  supportBigNumbers: true,
  bigNumberStrings: true,
  dateStrings: true,
  jsonStrings: true,
  timezone: 'Z',
  typeCast: (field: { string(encoding?: string): string | null }) => field.string('utf8'),
} as const

async function connect(url: string): Promise<mysql.Connection> {
  return mysql.createConnection({ uri: url, ...TEXT })
}

function rowsOf([result]: [unknown, unknown]): MysqlRow[] {
  const last = Array.isArray(result) && Array.isArray(result.at(-1)) ? result.at(-1) : result
  return (Array.isArray(last) ? last : []) as MysqlRow[]
}

function withDatabase(server: string, name: string): string {
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.href
}
