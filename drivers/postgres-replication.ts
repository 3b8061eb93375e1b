/**
 * The one importer of `pg-logical-replication`. Its connection and handshake are kept; its decode loop and its
 * acknowledgements are not: the library acknowledges what was received, one byte too far, on a timer. Here the server
 * hears exactly one position, the last one released (I1), when it asks, on a timer, and soon after a release.
 */
import type { Socket } from 'node:net'
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication'
import { classifyPgError, clientConfig, type PgOptions, quoteIdent, quoteLiteral } from './postgres.js'
import { formatLsn, parseLsn } from './postgres-lsn.js'
import { checkSession, SESSION_QUERY } from './postgres-session.js'
import { SERVER_RUN_SQL, type ServerRun, serverRunOf } from './postgres-timeline.js'
import { type Way, withTls } from './postgres-tls.js'

/** How often the server hears from us without asking, unless wal_sender_timeout asks for more. */
export const STATUS_INTERVAL_MS_MAX = 10_000
/** A release is told to the server at most this often. */
const RELEASE_INTERVAL_MS = 100
/** Reads smaller than this are left to grow for a moment: the server sends a row a packet to an eager reader. */
const COALESCE_BYTES = 16 * 1024
const COALESCE_MS = 1
const EPOCH_2000_MS = 946_684_800_000
const KEEPALIVE = 0x6b

export interface ReplicationHandlers {
  /** One CopyData payload; valid during the call only. */
  readonly message: (payload: Buffer) => void
  /** The data at hand was handed over. */
  readonly drained: () => void
}

interface RawConnection {
  readonly stream: Socket
  on(event: string, handler: (message: { chunk: Buffer }) => void): void
  once(event: string, handler: () => void): void
  sendCopyFromChunk(chunk: Buffer): void
}

class Plugin extends PgoutputPlugin {
  /** Where the stream starts: what was asked for, or where a temporary slot came into being. */
  from: bigint
  readonly #o: ReplicationOptions
  readonly #where: PgOptions

  constructor(where: PgOptions, options: ReplicationOptions) {
    super({ protoVersion: 1, publicationNames: [] })
    this.#where = where
    this.#o = options
    this.from = options.from
  }

  override async start(client: Parameters<PgoutputPlugin['start']>[0]): Promise<unknown> {
    const { slot, publication, messages, temporary } = this.#o
    const session = await client.query<(string | null)[]>({ text: SESSION_QUERY, rowMode: 'array' })
    checkSession(session.rows[0], this.#where)
    const run = await client.query<(string | null)[]>({ text: SERVER_RUN_SQL, rowMode: 'array' })
    this.#o.verify?.(serverRunOf(run.rows[0]))
    const name = quoteIdent(slot)
    if (temporary) {
      // A temporary slot belongs to the session that made it, so it is made here.
      this.#o.making?.((client as unknown as { processID: number }).processID)
      const made = await client.query(`CREATE_REPLICATION_SLOT ${name} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`)
      this.from = parseLsn((made.rows[0] as { consistent_point: string }).consistent_point)
    }
    const parameters = [`proto_version '1'`, `publication_names ${quoteLiteral(quoteIdent(publication))}`]
    if (messages) parameters.push(`messages 'true'`)
    return client.query(`START_REPLICATION SLOT ${name} LOGICAL ${formatLsn(this.from)} (${parameters.join(', ')})`)
  }
}

/** The library's connection and handshake without its decode loop: row messages go to `onCopyData` alone. */
class Service extends LogicalReplicationService {
  raw: RawConnection | null = null
  onCopyData: (chunk: Buffer) => void = () => {}

  override async acknowledge(): Promise<boolean> {
    return true
  }

  constructor(...parameters: ConstructorParameters<typeof LogicalReplicationService>) {
    super(...parameters)
    const self = this as unknown as { client: () => Promise<[unknown, RawConnection]> }
    const connect = self.client.bind(this)
    self.client = async () => {
      const [client, raw] = await connect()
      this.raw = raw
      raw.on('copyData', ({ chunk }) => this.onCopyData(chunk))
      // subscribe() attaches its own loop to what it gets here, so it gets only the event it needs.
      const quiet = { once: raw.once.bind(raw), on: () => quiet, sendCopyFromChunk: () => {} }
      return [client, quiet as unknown as RawConnection]
    }
  }
}

export interface ReplicationOptions {
  readonly slot: string
  readonly publication: string
  readonly from: bigint
  /** The server can send logical messages (14 and later). */
  readonly messages: boolean
  /** Make the slot for this connection alone and start where it begins. */
  readonly temporary: boolean
  /** Throws when the connection led to another server, or to another run of it. */
  readonly verify?: (run: ServerRun) => void
  /** Called with the backend's pid before it makes a temporary slot, which may take long. */
  readonly making?: ((pid: number) => void) | undefined
  /** Well below wal_sender_timeout: nothing is read while the consumer is full, so nothing is answered then. */
  readonly statusIntervalMs: number
}

/** A running replication stream. */
export class ReplicationStream {
  /** Rejects when the stream ends for any reason but stop(). */
  readonly failed: Promise<never>
  /** Where it started. */
  from = 0n
  #service: Service
  #released: bigint
  #told = 0n
  #releaseTimer: NodeJS.Timeout | null = null
  #statusTimer: NodeJS.Timeout
  #stopped = false
  #paused = false

  private constructor(service: Service, released: bigint, statusIntervalMs: number, failed: Promise<never>) {
    this.#service = service
    this.#released = released
    this.failed = failed
    this.#statusTimer = setInterval(() => this.#status(), statusIntervalMs)
  }

  static async start(
    options: PgOptions,
    replication: ReplicationOptions,
    handlers: ReplicationHandlers,
    signal: AbortSignal,
  ): Promise<ReplicationStream> {
    signal.throwIfAborted()
    return await withTls(options, signal, (way) =>
      ReplicationStream.#attempt(options, way, replication, handlers, signal),
    )
  }

  static async #attempt(
    options: PgOptions,
    way: Way,
    replication: ReplicationOptions,
    handlers: ReplicationHandlers,
    signal: AbortSignal,
  ): Promise<ReplicationStream> {
    // Every default that we depend on is passed: the library would acknowledge received positions by itself (I1).
    const service = new Service(clientConfig(options, way), {
      acknowledge: { auto: false, timeoutSeconds: 0 },
      flowControl: { enabled: false },
    })
    let reject: (error: unknown) => void = () => {}
    const failed = new Promise<never>((_, r) => {
      reject = (error) => r(classifyPgError(error, options))
    })
    failed.catch(() => {})
    const plugin = new Plugin(options, replication)
    const stream = new ReplicationStream(service, replication.from, replication.statusIntervalMs, failed)
    service.onCopyData = (chunk) => stream.#receive(chunk, handlers, reject)
    service.on('error', reject)
    const begun = new Promise<void>((resolve) => service.once('start', () => resolve()))
    const ended = service.subscribe(plugin, '', formatLsn(replication.from)).then(() => {
      throw new Error('the server ended the replication stream')
    })
    ended.catch(reject)
    // Ends whatever the connection waits for.
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    try {
      await Promise.race([begun, ended, failed])
    } catch (error) {
      await stream.stop()
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', abort)
    }
    stream.from = plugin.from
    stream.#pace(handlers, reject)
    return stream
  }

  #receive(chunk: Buffer, { message }: ReplicationHandlers, reject: (error: unknown) => void): void {
    if (this.#stopped) return
    try {
      if (chunk[0] === KEEPALIVE && chunk[17] === 1) this.#status()
      message(chunk)
    } catch (error) {
      this.#stopped = true
      reject(error)
    }
  }

  /** Runs behind the parser for each piece of data read from the socket. */
  #pace({ drained }: ReplicationHandlers, reject: (error: unknown) => void): void {
    const socket = this.#service.raw!.stream
    let growing = false
    const read = (size: number) => {
      if (this.#stopped) return
      try {
        drained()
      } catch (error) {
        reject(error)
      }
      if (this.#paused || growing || size >= COALESCE_BYTES) return
      growing = true
      socket.pause()
      setTimeout(() => {
        growing = false
        if (this.#paused || this.#stopped) return
        // TLS gives every record by itself, and the server sends a row a record: all that has come is one piece here.
        socket.read()
        if (!growing && !this.#paused) socket.resume()
      }, COALESCE_MS)
    }
    socket.on('data', (chunk: Buffer) => read(chunk.length))
    socket.on('close', () => reject(new Error('the replication connection was closed')))
    read(COALESCE_BYTES)
  }

  /** Backpressure: nothing more is read until resume(). */
  pause(): void {
    this.#paused = true
    this.#service.raw?.stream.pause()
  }

  resume(): void {
    this.#paused = false
    this.#service.raw?.stream.resume()
  }

  /** I1: the server may forget everything before `lsn`. Sent exactly, soon. */
  release(lsn: bigint): void {
    if (lsn <= this.#released) return
    this.#released = lsn
    this.#releaseTimer ??= setTimeout(() => {
      this.#releaseTimer = null
      if (this.#released > this.#told) this.#status()
    }, RELEASE_INTERVAL_MS)
  }

  /** A standby status update: written, flushed and applied are all the released position. */
  #status(): void {
    if (this.#stopped) return
    const b = Buffer.alloc(34)
    b[0] = 0x72
    for (const o of [1, 9, 17]) b.writeBigUInt64BE(this.#released, o)
    b.writeBigInt64BE(BigInt(Date.now() - EPOCH_2000_MS) * 1000n, 25)
    this.#told = this.#released
    this.#service.raw?.sendCopyFromChunk(b)
  }

  /** Tells the released position a last time and closes. */
  async stop(): Promise<void> {
    this.#status()
    this.#stopped = true
    clearInterval(this.#statusTimer)
    if (this.#releaseTimer) clearTimeout(this.#releaseTimer)
    const socket = this.#service.raw?.stream
    this.#service.on('error', () => {})
    socket?.destroy()
    await this.#service.stop().catch(() => {})
  }
}
