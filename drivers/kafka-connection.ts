/**
 * One connection to one broker. kafkajs brings TCP, TLS, framing, time-outs and SASL, and is imported here only. Its
 * requests are not used: ours are written to the socket as they are, in the order of the calls, without a copy. What is
 * always true: a request that is not answered in time ends the connection, so that whatever was behind it is known to
 * be unknown.
 */
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls'
import { TidemarkError, toError } from '../core/errors.js'
import { ConnectionLost, connectFailed, TokenRefused } from './kafka-errors.js'
import { WireReader, WireWriter } from './kafka-wire.js'
import { onDemand } from './on-demand.js'

export interface KafkaOptions {
  /** host:port each. */
  readonly brokers: readonly string[]
  readonly clientId: string
  /** Where we are, so that the kafka source may read from a replica nearby. */
  readonly rack?: string | undefined
  readonly tls?: false | KafkaTls | undefined
  readonly sasl?: KafkaSasl | undefined
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  /** How long a request is repeated while the cluster answers that it is busy or a connection is lost. */
  readonly retryMs: number
}

/** PEM texts. */
export interface KafkaTls {
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly passphrase?: string | undefined
  readonly serverName?: string | undefined
  readonly rejectUnauthorized: boolean
  /** False: whatever name the certificate has is accepted. */
  readonly verifyName?: boolean | undefined
}

export type KafkaSasl =
  | {
      readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
      readonly username: string
      readonly password: string
    }
  | { readonly mechanism: 'oauthbearer'; readonly token: () => Promise<string> }

/** What is used of kafkajs' class, which its types do not show. */
interface RawConnection {
  readonly socket: Socket
  readonly requestQueue: {
    readonly inflight: Map<number, unknown>
    push(request: {
      entry: object
      expectResponse: boolean
      requestTimeout: number | null
      sendRequest: () => void
    }): void
    destroy(): void
  }
  connect(): Promise<unknown>
  authenticate(): Promise<void>
  isAuthenticated(): boolean
  isConnected(): boolean
  nextCorrelationId(): number
  setVersions(versions: object): void
  setSupportAuthenticationProtocol(supported: boolean): void
}

// kafkajs has no `exports` map and is pinned exactly; its types end at its public door.
const connectionClass = onDemand<new (options: object) => RawConnection>('kafkajs/src/network/connection')

/** kafkajs logs what it throws. */
const SILENT = { namespace: () => SILENT, debug() {}, info() {}, warn() {}, error() {} }
const KEEP_ALIVE_MS = 60_000
/** A session that ends sooner is not used for another request. */
const SESSION_LEFT_MS_MIN = 10_000
const API_VERSIONS = 18
const ADDRESS = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/

export interface Api {
  readonly key: number
  readonly name: string
  readonly version: number
  readonly flexible: boolean
}

interface Answer {
  readonly payload: Buffer
}

export class Link {
  readonly address: string
  readonly #options: KafkaOptions
  readonly #raw: RawConnection
  #versions: ReadonlyMap<number, readonly [min: number, max: number]> = new Map()
  #lost = false
  readonly #asked = new Set<(error: Error) => void>()

  private constructor(address: string, raw: RawConnection, options: KafkaOptions) {
    this.address = address
    this.#raw = raw
    this.#options = options
  }

  static async open(address: string, options: KafkaOptions, signal: AbortSignal): Promise<Link> {
    signal.throwIfAborted()
    const mechanism = options.sasl?.mechanism.toUpperCase() ?? null
    let socket: Socket | null = null
    const stop = () => socket?.destroy(toError(signal.reason))
    signal.addEventListener('abort', stop)
    let link: Link | null = null
    try {
      const raw = new (connectionClass())(
        rawOptions(address, options, (opened) => {
          socket = opened
        }),
      )
      link = new Link(address, raw, options)
      await raw.connect()
      await link.#start()
      return link
    } catch (error) {
      link?.close()
      signal.throwIfAborted()
      throw connectFailed(error, address, mechanism)
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  async #start(): Promise<void> {
    let answer: Buffer
    try {
      answer = await this.request({ key: API_VERSIONS, name: 'ApiVersions', version: 0, flexible: false }, [])
    } catch (error) {
      const { message } = toError(error)
      throw new Error(`${message} (before the broker said what it is; does this listener speak TLS?)`, { cause: error })
    }
    const reader = new WireReader(answer)
    reader.int16()
    this.#versions = new Map(reader.array(() => [reader.int16(), [reader.int16(), reader.int16()]] as const))
    const forKafkajs = Object.fromEntries(
      [...this.#versions].map(([key, [minVersion, maxVersion]]) => [key, { minVersion, maxVersion }]),
    )
    this.#raw.setVersions(forKafkajs)
    this.#raw.setSupportAuthenticationProtocol(true)
    await this.#raw.authenticate()
  }

  /** The first of `versions` that the broker speaks. */
  version(key: number, name: string, versions: readonly number[]): number {
    const [min, max] = this.#versions.get(key) ?? [0, -1]
    const found = versions.find((version) => version >= min && version <= max)
    if (found !== undefined) return found
    throw new TidemarkError('kafka.version', {
      message: `${this.address}: the broker does not speak ${name} in version ${versions.join(' or ')} (it has ${max < 0 ? 'none' : `${min} to ${max}`})`,
      fix: 'Tidemark needs Apache Kafka 2.5 or later, or a server compatible with it.',
    })
  }

  speaks(key: number, version: number): boolean {
    const [min, max] = this.#versions.get(key) ?? [0, -1]
    return version >= min && version <= max
  }

  get alive(): boolean {
    return !this.#lost && this.#raw.isConnected()
  }

  /** False: the SASL session is about to end. A new connection takes over once this one is idle. */
  get fresh(): boolean {
    return this.#options.sasl === undefined || this.#raw.isAuthenticated()
  }

  get inFlight(): number {
    return this.#raw.requestQueue.inflight.size
  }

  /** One structure in, one out. */
  async call<T>(api: Api, write: (to: WireWriter) => void, read: (from: WireReader) => T, timeoutMs = 0): Promise<T> {
    const writer = new WireWriter(api.flexible)
    write(writer)
    const reader = new WireReader(await this.request(api, [writer.end().bytes()], timeoutMs), api.flexible)
    // The header of a flexible response has tagged fields of its own.
    reader.end()
    return read(reader)
  }

  /**
   * Writes a request before it returns and resolves with the answer's bytes behind its correlation id. Rejects with
   * ConnectionLost when it was not answered; the connection is of no use then. The parts must not change meanwhile.
   */
  request(api: Api, body: readonly Buffer[], timeoutMs = 0): Promise<Buffer> {
    return new Promise<Buffer>((resolve, reject) => {
      const fail = (error: Error) => reject(new ConnectionLost(`${this.address}: ${error.message}`, { cause: error }))
      if (!this.alive) {
        fail(new Error('the connection is closed'))
        return
      }
      this.#asked.add(fail)
      const correlationId = this.#raw.nextCorrelationId()
      const parts = [header(api, correlationId, this.#options.clientId, body), ...body]
      const entry = {
        apiKey: api.key,
        apiName: api.name,
        apiVersion: api.version,
        correlationId,
        resolve: (answer: Answer) => {
          this.#asked.delete(fail)
          resolve(answer.payload)
        },
        reject: (thrown: unknown) => this.close(toError(thrown)),
      }
      const sendRequest = () => {
        const { socket } = this.#raw
        socket.cork()
        for (const part of parts) socket.write(part)
        socket.uncork()
      }
      const requestTimeout = timeoutMs > 0 ? this.#options.requestTimeoutMs + timeoutMs : null
      this.#raw.requestQueue.push({ entry, expectResponse: true, requestTimeout, sendRequest })
    })
  }

  /** Drops what is under way. */
  close(why: Error = new Error('the connection was closed')): void {
    if (this.#lost) return
    this.#lost = true
    const { socket, requestQueue } = this.#raw
    requestQueue.destroy()
    socket?.destroy()
    // kafkajs may be rejecting them one by one at this moment, and is not to be called into then.
    requestQueue.inflight.clear()
    for (const fail of this.#asked) fail(why)
    this.#asked.clear()
  }
}

function header(api: Api, correlationId: number, clientId: string, body: readonly Buffer[]): Buffer {
  // The client id is an ordinary string in every version of the header.
  const client = Buffer.from(clientId)
  const bytes = Buffer.allocUnsafe(4 + 8 + 2 + client.length + (api.flexible ? 1 : 0))
  let size = bytes.length - 4
  for (const part of body) size += part.length
  bytes.writeInt32BE(size, 0)
  bytes.writeInt16BE(api.key, 4)
  bytes.writeInt16BE(api.version, 6)
  bytes.writeInt32BE(correlationId, 8)
  bytes.writeInt16BE(client.length, 12)
  client.copy(bytes, 14)
  if (api.flexible) bytes[bytes.length - 1] = 0
  return bytes
}

function rawOptions(address: string, options: KafkaOptions, opened: (socket: Socket) => void): object {
  const match = ADDRESS.exec(address)
  const port = Number(match?.[3])
  if (!match || port < 1 || port > 65_535) {
    throw new TidemarkError('kafka.connection', {
      message: `${address} is no address of a broker`,
      fix: 'Write bootstrap servers as host:port, separated by commas.',
    })
  }
  const host = match[1] ?? match[2]!
  const tls = withContext(options.tls)
  return {
    host,
    port,
    clientId: options.clientId,
    logger: SILENT,
    sasl: saslOf(options.sasl),
    ssl: tls ? {} : null,
    connectionTimeout: options.connectTimeoutMs,
    requestTimeout: options.requestTimeoutMs,
    enforceRequestTimeout: true,
    reauthenticationThreshold: SESSION_LEFT_MS_MIN,
    maxInFlightRequests: null,
    socketFactory: ({ onConnect }: { onConnect: () => void }) => {
      const socket = openSocket(host, port, tls, onConnect)
      opened(socket)
      return socket
    },
  }
}

function openSocket(
  host: string,
  port: number,
  tls: (KafkaTls & { readonly context: SecureContext }) | null,
  onConnect: () => void,
): Socket {
  const settings = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }
  if (!tls) return connectPlain(settings, onConnect)
  const { serverName, rejectUnauthorized, verifyName = true, context } = tls
  // An address is no server name.
  const servername = serverName ?? (isIP(host) ? '' : host)
  const identity = verifyName ? {} : { checkServerIdentity: () => undefined }
  return connectTls({ ...settings, servername, rejectUnauthorized, ...identity, secureContext: context }, onConnect)
}

function withContext(tls: KafkaOptions['tls']): (KafkaTls & { readonly context: SecureContext }) | null {
  if (!tls) return null
  const { ca, cert, key, passphrase } = tls
  try {
    const context = createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(passphrase === undefined ? {} : { passphrase }),
    })
    return { ...tls, context }
  } catch (error) {
    throw new TidemarkError('kafka.tls', {
      message: `the certificates or the key for TLS cannot be used: ${toError(error).message}`,
      fix: 'Give PEM texts: the authority, our certificate and its key, and the passphrase of the key.',
      cause: error,
    })
  }
}

/** A new object each time: kafkajs keeps things in it. */
function saslOf(sasl: KafkaSasl | undefined): object | null {
  if (sasl === undefined) return null
  if (sasl.mechanism !== 'oauthbearer') return { ...sasl }
  return { mechanism: sasl.mechanism, authenticationProvider: bearer(sasl.token) }
}

interface SaslExchange {
  readonly saslAuthenticate: (messages: {
    readonly request: { readonly encode: () => Promise<Buffer> }
    readonly response: {
      readonly decode: (raw: Buffer) => Promise<Buffer>
      readonly parse: (raw: Buffer) => Promise<Buffer>
    }
  }) => Promise<Buffer>
}

/** RFC 7628. kafkajs' own takes a refused token for an accepted one: the refusal is a text in an answer without an error. */
function bearer(token: () => Promise<string>) {
  return ({ saslAuthenticate }: SaslExchange) => ({
    authenticate: async () => {
      const value = await token()
      const answer = await saslAuthenticate({
        request: { encode: async () => sized(`n,,\x01auth=Bearer ${value}\x01\x01`) },
        response: { decode: async (raw) => raw, parse: async (raw) => raw },
      })
      const refusal = answer.toString('utf8', SIZE_BYTES)
      if (refusal !== '') throw new TokenRefused(`the token was refused: ${refusal}`)
    },
  })
}

const SIZE_BYTES = 4

function sized(text: string): Buffer {
  const bytes = Buffer.alloc(SIZE_BYTES + Buffer.byteLength(text))
  bytes.writeInt32BE(bytes.length - SIZE_BYTES)
  bytes.write(text, SIZE_BYTES)
  return bytes
}
