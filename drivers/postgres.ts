/**
 * The one importer of `pg`. Connections speak text only: every value arrives exactly as the server prints it, under
 * session settings that make that text canonical, on query and replication connections alike (I7).
 */
import pg from 'pg'
import { TidemarkError } from '../core/errors.js'
import { classifyPgError } from './postgres-errors.js'
import { CLIENT_ENCODING, checkSession, SESSION_QUERY, STARTUP_OPTIONS } from './postgres-session.js'
import { type TlsOptions, type Way, withTls } from './postgres-tls.js'
import { PG_URL_FORM, readPgUrl } from './postgres-url.js'

export { classifyPgError, sqlState } from './postgres-errors.js'
export { formatLsn, parseLsn } from './postgres-lsn.js'
export { SESSION_SETTINGS } from './postgres-session.js'
export { PG_PORT_DEFAULT, pgUrlProblem } from './postgres-url.js'

export interface PgOptions extends TlsOptions {
  readonly password: string | undefined
  readonly connectTimeoutMs: number
  readonly applicationName: string
}

export const CONNECT_TIMEOUT_MS_DEFAULT = 30_000
const KEEPALIVE_AFTER_MS = 30_000

/** The options that a connection URL stands for; anything it does not know is an error. */
export function pgOptionsFromUrl(url: string, at = 'url'): PgOptions {
  const read = readPgUrl(url)
  if (typeof read === 'string') {
    throw new TidemarkError('postgres.url', { message: `the url ${read}`, fix: PG_URL_FORM, at })
  }
  const { connectTimeoutSeconds, applicationName, ...rest } = read
  return {
    ...rest,
    connectTimeoutMs: connectTimeoutSeconds ? connectTimeoutSeconds * 1000 : CONNECT_TIMEOUT_MS_DEFAULT,
    applicationName: applicationName ?? 'tidemark',
  }
}

/** The options that `pg` gets, for the replication driver too. */
export function clientConfig(options: PgOptions, way: Way): pg.ClientConfig {
  return {
    host: options.host,
    port: options.port,
    user: options.user,
    password: options.password,
    database: options.database,
    ...way,
    application_name: options.applicationName,
    client_encoding: CLIENT_ENCODING,
    options: STARTUP_OPTIONS,
    connectionTimeoutMillis: options.connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_AFTER_MS,
    types: { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig,
  } as pg.ClientConfig
}

export type TextRow = (string | null)[]

/** A connection whose results are text. Queries on it run one after the other. */
export class PgConnection {
  readonly options: PgOptions
  readonly client: pg.Client
  /** Resolves when the connection is gone; null after close(). */
  readonly ended: Promise<Error | null>
  #error: Error | null = null
  #closing = false
  #last: Promise<void> = Promise.resolve()

  constructor(options: PgOptions, client: pg.Client) {
    this.options = options
    this.client = client
    client.on('error', (error) => {
      this.#error ??= error
    })
    this.ended = new Promise((resolve) => {
      client.once('end', () =>
        resolve(this.#closing ? null : (this.#error ?? new Error('the server closed the connection'))),
      )
    })
  }

  get pid(): number {
    return (this.client as unknown as { processID: number }).processID
  }

  /** Rows as arrays of text. Several statements in one text give the rows of the last. */
  async query(text: string, params?: readonly unknown[]): Promise<TextRow[]> {
    return (await this.run(text, params)).rows
  }

  /** Rows and the number of rows that the statement touched. */
  async run(text: string, params?: readonly unknown[]): Promise<{ rows: TextRow[]; count: number }> {
    try {
      const result = await this.#inTurn(() =>
        this.client.query({ text, rowMode: 'array', ...(params ? { values: [...params] } : {}) }),
      )
      const last = (Array.isArray(result) ? result.at(-1) : result) as pg.QueryArrayResult<TextRow>
      return { rows: last.rows, count: last.rowCount ?? 0 }
    } catch (error) {
      throw classifyPgError(this.#error ?? error, this.options)
    }
  }

  /** Rows as objects by column name. */
  async queryObjects(text: string, params?: readonly unknown[]): Promise<Record<string, string | null>[]> {
    try {
      const result = await this.#inTurn(() => this.client.query({ text, ...(params ? { values: [...params] } : {}) }))
      return (Array.isArray(result) ? result.at(-1) : result).rows
    } catch (error) {
      throw classifyPgError(this.#error ?? error, this.options)
    }
  }

  /** pg has a queue of its own, but will give it up; a failed query does not hold up the next. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last
    let done: () => void = () => {}
    this.#last = new Promise((resolve) => {
      done = resolve
    })
    await before
    try {
      return await work()
    } finally {
      done()
    }
  }

  /** Cuts the connection without a word to the server. */
  destroy(): void {
    this.#closing = true
    ;(this.client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
  }

  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    await this.client.end().catch(() => {})
  }
}

/** Opens a connection. An abort of the signal cuts it, then and later. `replication`: one that takes replication commands. */
export async function connectPg(
  options: PgOptions,
  { signal, replication = false }: { readonly signal: AbortSignal; readonly replication?: boolean },
): Promise<PgConnection> {
  signal.throwIfAborted()
  return await withTls(options, signal, async (way) => {
    const config = { ...clientConfig(options, way), ...(replication ? { replication: 'database' } : {}) }
    const connection = new PgConnection(options, new pg.Client(config))
    const cut = () => connection.destroy()
    signal.addEventListener('abort', cut, { once: true })
    void connection.ended.then(() => signal.removeEventListener('abort', cut))
    try {
      await connection.client.connect()
      checkSession((await connection.query(SESSION_QUERY))[0], options)
      return connection
    } catch (error) {
      connection.destroy()
      signal.removeEventListener('abort', cut)
      throw error
    }
  })
}

export function quoteIdent(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A string literal that is right under either setting of standard_conforming_strings. */
export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}
