/**
 * The one importer of `pg`. Connections speak text only: every value arrives exactly as the server prints it, under
 * session settings that make that text canonical, on query and replication connections alike (I7).
 */
import { readFileSync } from 'node:fs'
import pg from 'pg'
import { TidemarkError } from '../core/errors.js'
import { classifyPgError, type PgWhere } from './postgres-errors.js'

export { classifyPgError, sqlState } from './postgres-errors.js'
export { formatLsn, parseLsn } from './postgres-lsn.js'

export type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

export interface PgOptions extends PgWhere {
  readonly password: string | undefined
  readonly sslmode: SslMode
  /** Paths of PEM files. */
  readonly sslrootcert?: string | undefined
  readonly sslcert?: string | undefined
  readonly sslkey?: string | undefined
  readonly connectTimeoutMs: number
  readonly applicationName: string
}

export const CONNECT_TIMEOUT_MS_DEFAULT = 30_000
const KEEPALIVE_AFTER_MS = 30_000

/** What the text of values depends on, fixed for every session. */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'iso_8601',
  extra_float_digits: '3',
  bytea_output: 'hex',
  xmloption: 'content',
  lc_monetary: 'C',
  search_path: 'pg_catalog',
  standard_conforming_strings: 'on',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
}

const URL_PARAMETERS = new Set(['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'connect_timeout', 'application_name'])
const SSL_MODES = new Set(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'])

/** Reads `postgres://user:password@host:port/database?sslmode=...`; anything it does not know is an error. */
export function pgOptionsFromUrl(url: string, at = 'url'): PgOptions {
  const bad = (why: string) =>
    new TidemarkError('postgres.url', {
      message: `the url ${why}`,
      fix: 'Write postgres://user:password@host:5432/database',
      at,
    })
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    throw bad('is not a URL')
  }
  if (!/^postgres(ql)?:$/.test(parsed.protocol)) throw bad(`has the scheme ${parsed.protocol}`)
  const get = (name: string) => parsed.searchParams.get(name) ?? undefined
  for (const name of parsed.searchParams.keys()) {
    if (!URL_PARAMETERS.has(name))
      throw bad(`has an unknown parameter ${name}; known are ${[...URL_PARAMETERS].join(', ')}`)
  }
  const sslmode = get('sslmode') ?? 'prefer'
  if (!SSL_MODES.has(sslmode)) throw bad(`has sslmode=${sslmode}; known are ${[...SSL_MODES].join(', ')}`)
  const seconds = get('connect_timeout')
  if (seconds !== undefined && !/^\d+$/.test(seconds))
    throw bad(`has connect_timeout=${seconds}, which is not in seconds`)
  const user = decodeURIComponent(parsed.username) || 'postgres'
  return {
    host: decodeURIComponent(parsed.hostname).replace(/^\[|\]$/g, '') || 'localhost',
    port: Number(parsed.port || 5432),
    user,
    password: parsed.password === '' ? undefined : decodeURIComponent(parsed.password),
    database: decodeURIComponent(parsed.pathname.slice(1)) || user,
    sslmode: sslmode as SslMode,
    sslrootcert: get('sslrootcert'),
    sslcert: get('sslcert'),
    sslkey: get('sslkey'),
    connectTimeoutMs: seconds ? Number(seconds) * 1000 : CONNECT_TIMEOUT_MS_DEFAULT,
    applicationName: get('application_name') ?? 'tidemark',
  }
}

/** The options that `pg` gets, for the replication driver too. `ssl`: from sslAttempts(). */
export function clientConfig(options: PgOptions, ssl: pg.ClientConfig['ssl']): pg.ClientConfig {
  const settings = Object.entries(SESSION_SETTINGS)
    .map(([name, value]) => `-c ${name}=${value.replaceAll(' ', '\\ ')}`)
    .join(' ')
  return {
    host: options.host,
    port: options.port,
    user: options.user,
    password: options.password,
    database: options.database,
    ssl: ssl ?? false,
    application_name: options.applicationName,
    client_encoding: 'UTF8',
    options: settings,
    connectionTimeoutMillis: options.connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_AFTER_MS,
    types: { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig,
  } as pg.ClientConfig
}

/** What to try, in order, as libpq does for each sslmode. */
export function sslAttempts(options: PgOptions): pg.ClientConfig['ssl'][] {
  const { sslmode, sslrootcert, sslcert, sslkey } = options
  const file = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path, 'utf8'))
  if (sslmode === 'disable') return [false]
  const ca = file(sslrootcert)
  const certificate = { cert: file(sslcert), key: file(sslkey), ...(ca === undefined ? {} : { ca }) }
  const blind = { ...certificate, rejectUnauthorized: false }
  const chain = { ...certificate, rejectUnauthorized: true, checkServerIdentity: () => undefined }
  switch (sslmode) {
    case 'allow':
      return [false, blind]
    case 'prefer':
      return [blind, false]
    case 'require':
      return [ca === undefined ? blind : chain]
    case 'verify-ca':
      return [chain]
    case 'verify-full':
      return [{ ...certificate, rejectUnauthorized: true }]
  }
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

/** Opens a connection. An abort of the signal cuts it, then and later. */
export async function connectPg(
  options: PgOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<PgConnection> {
  signal.throwIfAborted()
  let failure: unknown
  for (const ssl of sslAttempts(options)) {
    const connection = new PgConnection(options, new pg.Client(clientConfig(options, ssl)))
    const cut = () => connection.destroy()
    signal.addEventListener('abort', cut, { once: true })
    void connection.ended.then(() => signal.removeEventListener('abort', cut))
    try {
      await connection.client.connect()
      return connection
    } catch (error) {
      connection.destroy()
      signal.removeEventListener('abort', cut)
      signal.throwIfAborted()
      failure = error
      // The second attempt of allow and prefer is for servers that answered the first one with a refusal.
      if (['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN'].includes((error as { code?: string }).code ?? '')) break
    }
  }
  throw classifyPgError(failure, options)
}

export function quoteIdent(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A string literal that is right under either setting of standard_conforming_strings. */
export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}
