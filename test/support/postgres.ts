/**
 * PostgreSQL for tests. createDatabase gives a database of one's own on the shared server of a version, which comes from
 * TIDEMARK_TEST_POSTGRES_<version>=URL (test-servers.mjs sets it) or is started once for this test file. startPostgres
 * gives a whole server. Queries go through `pg` directly, with every value as text: tests do not judge our driver by itself.
 */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import t from 'tap'
import type { StopMode } from '../../cli/demo/postgres-server.js'
import type { PostgresVersion } from './servers/locate.js'
import { type StartedServer, startServer } from './servers/start.js'
import { until } from './until.js'

export type { PostgresVersion } from './servers/locate.js'

interface Teardown {
  teardown(handler: () => Promise<void>): unknown
}

export type TextRow = Record<string, string | null>

export interface TestDatabase {
  readonly url: string
  readonly name: string
  /** All values as the server's text. A connection of its own per call in flight, up to QUERIES_MAX. */
  query(sql: string, params?: readonly unknown[]): Promise<TextRow[]>
  /** One connection for statements that belong together (BEGIN ... COMMIT). Ended at teardown at the latest. */
  connect(): Promise<TestConnection>
}

export interface TestConnection {
  readonly pid: number
  query(sql: string, params?: readonly unknown[]): Promise<TextRow[]>
  end(): Promise<void>
}

export interface TestServer {
  readonly url: string
  readonly dataDir: string
  readonly logFile: string
  /** What the server wrote to its log last. */
  logTail(): string
  stop(mode?: StopMode): Promise<void>
  /** SIGKILL of the postmaster and all its children; resolves when they are gone. */
  kill(): Promise<void>
  start(): Promise<void>
}

export const DEFAULT_VERSION = (process.env.TIDEMARK_TEST_POSTGRES ?? '15') as PostgresVersion
const QUERIES_MAX = 10
const SLOT_GONE_MS = 30_000

const TEXT_TYPES = { getTypeParser: () => (value: unknown) => value }

/** A fresh database on the shared server of that version, dropped with its slots when the test ends. */
export async function createDatabase(
  t: Teardown,
  options: { readonly version?: PostgresVersion; readonly server?: TestServer; readonly template?: string } = {},
): Promise<TestDatabase> {
  const server = options.server?.url ?? (await sharedServer(options.version ?? DEFAULT_VERSION))
  const name = `t_${process.pid}_${randomBytes(4).toString('hex')}`
  await once(server, `CREATE DATABASE ${name} ${options.template ?? ''}`)
  const url = withDatabase(server, name)
  const pool = new pg.Pool({ connectionString: url, max: QUERIES_MAX, types: TEXT_TYPES })
  // A connection that a test's server crash ends while idle is no failure of the test.
  pool.on('error', () => {})
  const open = new Set<pg.Client>()
  t.teardown(async () => {
    await Promise.all([...open].map((client) => client.end().catch(() => {})))
    await pool.end()
    await dropDatabase(server, name).catch((error: Error) => {
      // A server of the test's own may be gone by now, its databases with it.
      if (!options.server) throw error
    })
  })
  return {
    url,
    name,
    query: async (sql, params) => rowsOf(await pool.query(sql, params ? [...params] : undefined)),
    connect: () => connect(url, open),
  }
}

/** A server of the test's own, for tests that change server-wide settings or crash it. */
export async function startPostgres(
  t: Teardown,
  options: { readonly version?: PostgresVersion; readonly settings?: Readonly<Record<string, string>> } = {},
): Promise<TestServer> {
  const { server, folder } = await startServer(options.version ?? DEFAULT_VERSION, options.settings)
  t.teardown(async () => {
    await server.stop('immediate')
    folder.remove()
  })
  return {
    url: server.url,
    dataDir: server.dataDir,
    logFile: server.logFile,
    logTail: () => server.logTail(),
    stop: (mode) => server.stop(mode),
    kill: () => server.kill(),
    start: () => server.start(),
  }
}

const started = new Map<PostgresVersion, Promise<StartedServer>>()

async function sharedServer(version: PostgresVersion): Promise<string> {
  const url = process.env[`TIDEMARK_TEST_POSTGRES_${version}`]
  if (url) return url
  let running = started.get(version)
  if (!running) {
    running = startServer(version)
    started.set(version, running)
    t.teardown(async () => {
      const { server, folder } = await running!
      await server.stop('immediate')
      folder.remove()
    })
  }
  return (await running).server.url
}

/** Ends the database's sessions, drops its slots and then itself. */
async function dropDatabase(server: string, name: string): Promise<void> {
  const client = await connect(server, new Set())
  try {
    await until(
      async () => {
        await client.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`,
          [name],
        )
        const slots = await client.query(
          `SELECT slot_name, active, temporary FROM pg_replication_slots WHERE database = $1`,
          [name],
        )
        for (const { slot_name, active } of slots) {
          if (active === 'f') await client.query('SELECT pg_drop_replication_slot($1)', [slot_name]).catch(() => {})
        }
        return slots.length === 0
      },
      { timeoutMs: SLOT_GONE_MS, what: `the replication slots of ${name} are gone` },
    )
    const prepared = await client.query('SELECT gid FROM pg_prepared_xacts WHERE database = $1', [name])
    if (prepared.length > 0) await rollbackPrepared(withDatabase(server, name), prepared)
    await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
  } finally {
    await client.end()
  }
}

/** A prepared transaction can be ended only from its own database, and keeps that from being dropped. */
async function rollbackPrepared(url: string, prepared: readonly TextRow[]): Promise<void> {
  for (const { gid } of prepared) await once(url, `ROLLBACK PREPARED '${String(gid).replaceAll("'", "''")}'`)
}

async function once(url: string, sql: string): Promise<void> {
  const client = await connect(url, new Set())
  await client.query(sql).finally(() => client.end())
}

async function connect(url: string, open: Set<pg.Client>): Promise<TestConnection> {
  const client = new pg.Client({ connectionString: url, types: TEXT_TYPES })
  client.on('error', () => {})
  await client.connect()
  open.add(client)
  const [row] = rowsOf(await client.query('SELECT pg_backend_pid() AS pid'))
  return {
    pid: Number(row?.pid),
    query: async (sql, params) => rowsOf(await client.query(sql, params ? [...params] : undefined)),
    end: async () => {
      open.delete(client)
      await client.end()
    },
  }
}

/** Several statements in one text give several results: the last one counts. */
function rowsOf(result: pg.QueryResult | pg.QueryResult[]): TextRow[] {
  const last = Array.isArray(result) ? result.at(-1) : result
  return (last?.rows ?? []) as TextRow[]
}

function withDatabase(server: string, name: string): string {
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.href
}
