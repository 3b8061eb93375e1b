/**
 * Connections to MySQL and MariaDB through mysql2, of which only handshake, TLS and packets are used: rows are taken as the
 * bytes of their packets, so nothing between the server's text and ours can round or convert a value (I7).
 */
import { readFileSync } from 'node:fs'
import type mysql from 'mysql2'
import { TidemarkError, toError } from '../core/errors.js'
import { classifyMysqlError, type MysqlWhere } from './mysql-errors.js'
import { MYSQL_URL_FORM, type MysqlSslMode, readMysqlUrl } from './mysql-url.js'
import { onDemand } from './on-demand.js'

const mysql2 = onDemand<typeof mysql>('mysql2')

export { classifyMysqlError, MYSQL_ERROR, mysqlErrno, mysqlState } from './mysql-errors.js'
export { MYSQL_PORT_DEFAULT, MYSQL_SSL_MODES, type MysqlSslMode, mysqlUrlProblem } from './mysql-url.js'

export interface MysqlOptions extends MysqlWhere {
  readonly password: string | undefined
  readonly sslMode: MysqlSslMode
  readonly sslCa: string | undefined
  readonly sslCert: string | undefined
  readonly sslKey: string | undefined
  readonly connectTimeoutMs: number
  readonly program: string
}

export const MYSQL_CONNECT_TIMEOUT_MS_DEFAULT = 30_000
const KEEPALIVE_AFTER_MS = 30_000

/** The options that a connection URL stands for; anything it does not know is an error. */
export function mysqlOptionsFromUrl(url: string, at = 'url'): MysqlOptions & { readonly database: string | undefined } {
  const read = readMysqlUrl(url)
  if (typeof read === 'string') {
    throw new TidemarkError('mysql.url', { message: `the url ${read}`, fix: MYSQL_URL_FORM, at })
  }
  return {
    ...read,
    sslMode: read.sslMode ?? 'preferred',
    connectTimeoutMs: MYSQL_CONNECT_TIMEOUT_MS_DEFAULT,
    program: 'tidemark',
  }
}

/** What mysql2 gets, for the replication driver too. Every option that changes what arrives is given. */
export function mysql2Config(options: MysqlOptions, tls: boolean, countsFound = false): mysql.ConnectionOptions {
  return {
    host: options.host,
    port: options.port,
    user: options.user,
    ...(options.password === undefined ? {} : { password: options.password }),
    // Known to every version; each session then sets what it wants.
    charset: 'UTF8MB4_GENERAL_CI',
    connectTimeout: options.connectTimeoutMs,
    enableKeepAlive: true,
    keepAliveInitialDelay: KEEPALIVE_AFTER_MS,
    multipleStatements: true,
    namedPlaceholders: false,
    stringifyObjects: true,
    supportBigNumbers: true,
    bigNumberStrings: true,
    dateStrings: true,
    decimalNumbers: false,
    jsonStrings: true,
    typeCast: false,
    rowsAsArray: true,
    timezone: 'Z',
    insecureAuth: false,
    enableCleartextPlugin: false,
    disableEval: true,
    flags: ['-LOCAL_FILES', countsFound ? 'FOUND_ROWS' : '-FOUND_ROWS', '-COMPRESS'],
    connectAttributes: { program_name: options.program },
    ...(tls ? { ssl: tlsConfig(options) } : {}),
  } as mysql.ConnectionOptions
}

function tlsConfig({ sslMode, sslCa, sslCert, sslKey }: MysqlOptions): mysql.SslOptions {
  const file = (path: string | undefined) => {
    if (path === undefined) return undefined
    try {
      return readFileSync(path, 'utf8')
    } catch (cause) {
      throw new TidemarkError('mysql.tls', {
        message: `${path}: ${toError(cause).message}`,
        fix: 'Check the path.',
        cause,
      })
    }
  }
  const verify = sslMode === 'verify-ca' || sslMode === 'verify-identity'
  const [ca, cert, key] = [file(sslCa), file(sslCert), file(sslKey)]
  return {
    rejectUnauthorized: verify,
    verifyIdentity: sslMode === 'verify-identity',
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
}

export type MysqlTextRow = (string | null)[]

/** A row's packet: the values' bytes as length-encoded strings from `start` to `end`. Valid only during the call. */
export type RawRow = (bytes: Buffer, start: number, end: number) => void

export interface RawQuery {
  /** Resolves after the last row; rejects with the classified error. */
  readonly over: Promise<void>
  pause(): void
  resume(): void
}

interface Packet {
  readonly buffer: Buffer
  readonly offset: number
  readonly end: number
  isEOF(): boolean
}
interface QueryCommand {
  row(packet: Packet, connection: unknown): unknown
  readonly _resultIndex: number
}
interface Mysql2Internals {
  readonly threadId: number
  readonly stream: { destroy(): void }
  handlePacket: () => void
  pause(): void
  resume(): void
}

/** A connection. Queries on it run one after the other. */
export class MysqlConnection {
  readonly options: MysqlOptions
  /** The connection is encrypted. */
  readonly tls: boolean
  /** Resolves when the connection is gone; null after close(). */
  readonly ended: Promise<Error | null>
  readonly #client: mysql.Connection
  /** Queries that the server has not answered. */
  readonly #pending = new Set<(error: Error) => void>()
  #error: Error | null = null
  #closing = false
  #gone: (error: Error | null) => void = () => {}

  constructor(options: MysqlOptions, client: mysql.Connection, tls: boolean) {
    this.options = options
    this.tls = tls
    this.#client = client
    this.ended = new Promise((resolve) => {
      this.#gone = (error) => {
        resolve(this.#closing ? null : (error ?? new Error('the server closed the connection')))
        for (const reject of this.#pending) reject(error ?? new Error('the connection was cut'))
        this.#pending.clear()
      }
    })
    client.on('error', (error: Error) => {
      this.#error ??= error
      this.#gone(error)
    })
    client.on('end', () => this.#gone(this.#error))
  }

  /** The server's number for it, as in KILL. */
  get threadId(): number {
    return (this.#client as unknown as Mysql2Internals).threadId
  }

  /** Rows of the last statement as text. */
  async query(sql: string): Promise<MysqlTextRow[]> {
    return (await this.queries(sql)).at(-1) ?? []
  }

  /** Rows of every statement in the text, as text. */
  async queries(sql: string): Promise<MysqlTextRow[][]> {
    const results: MysqlTextRow[][] = []
    await this.#run(sql, (index, bytes, start, end) => {
      while (results.length <= index) results.push([])
      results[index]!.push(textRow(bytes, start, end))
    }).over
    return results
  }

  /** How many rows each statement of the text touched; see MysqlConnectOptions.countsFound. */
  async run(sql: string): Promise<number[]> {
    let counts: number[] = []
    const count = (result: unknown) => (result as { affectedRows?: number } | undefined)?.affectedRows ?? 0
    const done = (results: unknown) => {
      counts = Array.isArray(results) ? results.map(count) : [count(results)]
    }
    await this.#run(sql, () => {}, done).over
    return counts
  }

  /** Streams the rows of one statement as bytes. */
  stream(sql: string, row: RawRow): RawQuery {
    return this.#run(sql, (_, bytes, start, end) => row(bytes, start, end))
  }

  #run(
    sql: string,
    row: (index: number, bytes: Buffer, start: number, end: number) => void,
    done: (results: unknown) => void = () => {},
  ): RawQuery {
    const client = this.#client
    const over = new Promise<void>((resolve, fail) => {
      let failure: Error | null = null
      const reject = (error: Error) => fail(classifyMysqlError(error, this.options))
      this.#pending.add(reject)
      const command = client.query(sql, (error: Error | null, results: unknown) => {
        this.#pending.delete(reject)
        if (failure ?? error) return reject((failure ?? this.#error ?? error)!)
        done(results)
        resolve()
      }) as unknown as QueryCommand
      const next = command.row
      // The command asks itself which function takes the next packet, so this one replaces mysql2's row parser.
      const take = function (this: QueryCommand, packet: Packet, connection: unknown): unknown {
        if (isEnd(packet)) return next.call(this, packet, connection)
        if (failure === null) {
          try {
            row(this._resultIndex, packet.buffer, packet.offset, packet.end)
          } catch (thrown) {
            failure = toError(thrown)
          }
        }
        return take
      }
      command.row = take
    })
    const internals = client as unknown as Mysql2Internals
    return { over, pause: () => internals.pause(), resume: () => internals.resume() }
  }

  /** Cuts it: what the server has not answered fails at once. mysql2 alone would wait for the server's own end. */
  destroy(): void {
    this.#closing = true
    this.#client.destroy()
    ;(this.#client as unknown as Mysql2Internals).stream.destroy()
    this.#gone(null)
  }

  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    await new Promise<void>((resolve) => {
      // MySQL 9 answers the end with an error of its own, which mysql2 would print on stderr.
      this.#client.end(() => {
        ;(this.#client as unknown as Mysql2Internals).handlePacket = () => {}
        resolve()
      })
      void this.ended.then(() => resolve())
    })
    this.#client.destroy()
  }
}

/** An EOF packet; a row whose first value is long begins with the same byte. */
function isEnd({ buffer, offset, end }: Packet): boolean {
  return buffer[offset] === 0xfe && end - offset < 9
}

const NULL_MARK = 0xfb

/** Where the value at `at` begins and ends; `next` of a NULL is at + 1 with start -1. */
export function lengthEncoded(bytes: Buffer, at: number): { readonly start: number; readonly end: number } {
  const first = bytes[at]!
  if (first < NULL_MARK) return { start: at + 1, end: at + 1 + first }
  if (first === NULL_MARK) return { start: -1, end: at + 1 }
  if (first === 0xfc) return { start: at + 3, end: at + 3 + bytes.readUInt16LE(at + 1) }
  if (first === 0xfd) return { start: at + 4, end: at + 4 + bytes.readUIntLE(at + 1, 3) }
  return { start: at + 9, end: at + 9 + Number(bytes.readBigUInt64LE(at + 1)) }
}

function textRow(bytes: Buffer, from: number, to: number): MysqlTextRow {
  const row: MysqlTextRow = []
  for (let at = from; at < to; ) {
    const { start, end } = lengthEncoded(bytes, at)
    row.push(start < 0 ? null : bytes.toString('utf8', start, end))
    at = end
  }
  return row
}

export interface MysqlConnectOptions {
  readonly signal: AbortSignal
  /** An UPDATE counts the rows that it found, also those that it left as they were. */
  readonly countsFound?: boolean
}

/** Opens a connection. An abort of the signal cuts it, then and later. */
export async function connectMysql(options: MysqlOptions, wanted: MysqlConnectOptions): Promise<MysqlConnection> {
  wanted.signal.throwIfAborted()
  if (options.sslMode === 'disabled') return open(options, false, wanted)
  try {
    return await open(options, true, wanted)
  } catch (thrown) {
    const offered = (toError(thrown).cause as { code?: string } | undefined)?.code !== 'HANDSHAKE_NO_SSL_SUPPORT'
    if (offered || options.sslMode !== 'preferred') throw thrown
    return open(options, false, wanted)
  }
}

async function open(
  options: MysqlOptions,
  tls: boolean,
  { signal, countsFound = false }: MysqlConnectOptions,
): Promise<MysqlConnection> {
  const client = mysql2().createConnection(mysql2Config(options, tls, countsFound))
  const connection = new MysqlConnection(options, client, tls)
  const cut = () => connection.destroy()
  signal.addEventListener('abort', cut, { once: true })
  void connection.ended.then(() => signal.removeEventListener('abort', cut))
  try {
    await new Promise<void>((resolve, reject) => {
      client.connect((error: Error | null) => (error ? reject(error) : resolve()))
      void connection.ended.then((error) => reject(error ?? signal.reason))
    })
    return connection
  } catch (error) {
    connection.destroy()
    signal.removeEventListener('abort', cut)
    signal.throwIfAborted()
    throw classifyMysqlError(error, options)
  }
}

export function quoteMysqlName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** A string literal; every session of ours has NO_BACKSLASH_ESCAPES off. */
export function quoteMysqlText(text: string): string {
  return `'${text.replace(/[\\'\0]/g, (c) => (c === '\0' ? '\\0' : `\\${c}`))}'`
}
