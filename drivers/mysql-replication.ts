/**
 * The binlog as packets: @vlasky/zongji connects, identifies itself and asks for the dump (a file place, a GTID set, MariaDB's
 * connect state); from then on packets come here as they are, and nothing of the library decodes, skips or guesses. What is
 * always true: an error of any kind ends the stream once, and no event is handed over after it.
 */
import type ZongJi from '@vlasky/zongji'
import { TidemarkError, toError } from '../core/errors.js'
import { classifyMysqlError, MYSQL_ERROR, type MysqlOptions, mysql2Config, mysqlErrno } from './mysql.js'
import { onDemand } from './on-demand.js'

const zongjiLibrary = onDemand<typeof import('@vlasky/zongji')>('@vlasky/zongji')

/** The server says that it lives this often while it has nothing to send. */
export const HEARTBEAT_MS = 1_000
/** Without a byte for so long, while the socket is read, the peer is taken for dead. */
const SILENCE_MS_MAX = 60_000
/** A slow sink pauses the socket; the server must not take that for a dead client. */
const NET_WRITE_TIMEOUT_SECONDS = 86_400

export type BinlogStart =
  | { readonly kind: 'gtid'; readonly set: string }
  | { readonly kind: 'file'; readonly file: string; readonly position: number }

export interface BinlogOptions {
  readonly start: BinlogStart
  /** Unique among all readers of the server. */
  readonly serverId: number
  /** Identifies the reader to MySQL's list of replicas. */
  readonly uuid: string
}

export interface BinlogHandlers {
  /** One event, from its header on. The bytes are valid only during the call. */
  event(bytes: Buffer, start: number, end: number): void
  /** Everything at hand was handed over. */
  drained(): void
}

interface Packet {
  readonly buffer: Buffer
  readonly offset: number
  readonly end: number
  asError(encoding: string): Error
}
interface Connection {
  sequenceId: number
  handlePacket(packet: { readonly sequenceId?: number } | undefined): unknown
  query(sql: string, done: (error: Error | null) => void): void
  pause(): void
  resume(): void
}
interface Internals {
  readonly connection: Connection
  readonly BinlogClass: { prototype: { binlogData: unknown } }
  _isChecksumEnabled: (next: (error: Error | null, enabled?: boolean) => void) => void
}

export class BinlogStream {
  /** Rejects when the stream has ended, for whatever reason but stop(). */
  readonly failed: Promise<never>
  readonly #zongji: ZongJi
  readonly #where: MysqlOptions
  readonly #handlers: BinlogHandlers
  #fail: (error: Error) => void = () => {}
  /** Resolves when the stream is over, by stop() too. */
  readonly #ended: Promise<void>
  #setEnded: () => void = () => {}
  #over = false
  #paused = false
  #drainQueued = false
  #heard = Date.now()
  #watchdog: NodeJS.Timeout | null = null

  private constructor(where: MysqlOptions, zongji: ZongJi, handlers: BinlogHandlers) {
    this.#where = where
    this.#zongji = zongji
    this.#handlers = handlers
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
    this.#ended = new Promise((resolve) => {
      this.#setEnded = resolve
    })
  }

  /** Resolves when the dump was asked for. An abort of the signal ends the stream. */
  static async start(
    where: MysqlOptions,
    tls: boolean,
    options: BinlogOptions,
    handlers: BinlogHandlers,
    signal: AbortSignal,
  ): Promise<BinlogStream> {
    signal.throwIfAborted()
    // The library reads what it asks of the server from objects.
    const config = { ...mysql2Config(where, tls), rowsAsArray: false, typeCast: true }
    const zongji = new (zongjiLibrary().default)(config as never)
    const stream = new BinlogStream(where, zongji, handlers)
    const stop = () => void stream.stop()
    signal.addEventListener('abort', stop, { once: true })
    const ready = stream.#begin(options)
    await Promise.race([ready, stream.failed, stream.#ended])
    signal.throwIfAborted()
    return stream
  }

  #begin({ start, serverId, uuid }: BinlogOptions): Promise<void> {
    const zongji = this.#zongji
    const internals = zongji as unknown as Internals
    zongji.on('error', (error: Error) => this.#end(error))
    // Files may hold checksums whatever the setting is now; each file's first event says whether it does.
    internals._isChecksumEnabled = (next) => {
      const names = ['@master_binlog_checksum', '@source_binlog_checksum']
      internals.connection.query(`SET ${names.map((name) => `${name} = 'CRC32'`).join(', ')}`, (error) =>
        next(error, true),
      )
    }
    return new Promise((resolve) => {
      zongji.on('ready', () => {
        const nanoseconds = HEARTBEAT_MS * 1_000_000
        // Sent before the dump command, which is queued behind them.
        for (const sql of [
          `SET @master_heartbeat_period = ${nanoseconds}, @source_heartbeat_period = ${nanoseconds}`,
          `SET @slave_uuid = '${uuid}', @replica_uuid = '${uuid}'`,
          `SET SESSION net_write_timeout = ${NET_WRITE_TIMEOUT_SECONDS}`,
        ]) {
          internals.connection.query(sql, (error) => error && this.#end(error))
        }
        internals.BinlogClass.prototype.binlogData = this.#packets()
        unnumbered(internals.connection)
        this.#watch()
        resolve()
      })
      const from = start.kind === 'gtid' ? { gtidSet: start.set } : { filename: start.file, position: start.position }
      zongji.start({ serverId, ...from })
    })
  }

  /** What takes packets instead of the library's parser; it answers which function takes the next one. */
  #packets(): unknown {
    const take = (packet: Packet) => {
      const { buffer, offset, end } = packet
      if (this.#over) return take
      this.#heard = Date.now()
      const mark = buffer[offset]
      if (mark === 0xff) {
        this.#end(packet.asError('utf8'))
        return null
      }
      if (mark === 0xfe && end - offset < 9) {
        this.#end(new Error('the server ended the binlog stream'))
        return null
      }
      this.#queueDrain()
      try {
        this.#handlers.event(buffer, offset + 1, end)
      } catch (thrown) {
        this.#end(toError(thrown))
      }
      return take
    }
    return take
  }

  /** Packets of one piece of the socket come in one go, and microtasks run behind it. */
  #queueDrain(): void {
    if (this.#drainQueued) return
    this.#drainQueued = true
    queueMicrotask(() => {
      this.#drainQueued = false
      if (this.#over) return
      try {
        this.#handlers.drained()
      } catch (thrown) {
        this.#end(toError(thrown))
      }
    })
  }

  #watch(): void {
    this.#watchdog = setInterval(() => {
      if (this.#paused || Date.now() - this.#heard < SILENCE_MS_MAX) return
      const message = `no byte of the binlog for ${SILENCE_MS_MAX / 1000} s, not even a heartbeat`
      this.#end(Object.assign(new Error(message), { code: 'ETIMEDOUT' }))
    }, SILENCE_MS_MAX / 4)
    this.#watchdog.unref()
  }

  pause(): void {
    if (this.#over || this.#paused) return
    this.#paused = true
    ;(this.#zongji as unknown as Internals).connection.pause()
  }

  resume(): void {
    if (this.#over || !this.#paused) return
    this.#paused = false
    this.#heard = Date.now()
    ;(this.#zongji as unknown as Internals).connection.resume()
  }

  #end(error: Error): void {
    if (this.#over) return
    this.#fail(error instanceof TidemarkError ? error : dumpError(error, this.#where))
    void this.stop()
  }

  /** Idempotent; `failed` then stays pending. */
  async stop(): Promise<void> {
    if (this.#over) return
    this.#over = true
    this.#setEnded()
    if (this.#watchdog !== null) clearInterval(this.#watchdog)
    await new Promise<void>((resolve) => {
      this.#zongji.on('stopped', () => resolve())
      this.#zongji.stop()
    })
  }
}

/** Two readers of one server_id end each other for ever, so the second time within this is a mistake (rule n). */
const EVICTED_AGAIN_MS = 60_000
const evicted = new Map<string, number>()

/** The server has one number for all that keeps it from sending the log; only the text tells them apart. */
function dumpError(error: Error, where: MysqlOptions): TidemarkError {
  if (mysqlErrno(error) !== MYSQL_ERROR.binlogFatal) return classifyMysqlError(error, where)
  const server = `${where.host}:${where.port}`
  const message = `${server}: ${error.message}`
  if (/same server_(uuid|id)/i.test(error.message)) {
    const before = evicted.get(server)
    evicted.set(server, Date.now())
    return new TidemarkError('mysql.server_id', {
      message,
      fix: 'Give this pipeline a server-id of its own, and run it only once.',
      retriable: before === undefined || Date.now() - before > EVICTED_AGAIN_MS,
      cause: error,
    })
  }
  return new TidemarkError('mysql.position_lost', {
    message,
    fix: 'The log does not hold what lies behind the checkpoint. Keep binary logs longer; run `tidemark drop FILE`, empty the targets and start anew.',
    cause: error,
  })
}

/** The last packet to a reader that another one replaced has a number of its own; mysql2 would print that on stderr. */
function unnumbered(connection: Connection): void {
  const handle = connection.handlePacket.bind(connection)
  connection.handlePacket = (packet) => {
    if (packet?.sequenceId !== undefined) connection.sequenceId = packet.sequenceId
    return handle(packet)
  }
}
