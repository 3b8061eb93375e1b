/**
 * A proxy in front of Kafka brokers that knows the frames of the protocol: it can lose the answer to a chosen request, cut
 * a connection before one, hold one back, or change an answer. Brokers name themselves in metadata; the proxy puts its own
 * ports there, so that a client never gets past it.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

export const ApiKey = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  FindCoordinator: 10,
  InitProducerId: 22,
  AddPartitionsToTxn: 24,
  EndTxn: 26,
} as const

export type ApiName = keyof typeof ApiKey

/** What happens to a request: `lose-answer`: the broker gets it, then both sides are cut. `cut`: the broker never gets it. */
export type Fate = 'lose-answer' | 'cut' | 'hold' | ((answer: Buffer) => Buffer)

interface Rule {
  readonly api: number
  skip: number
  times: number
  readonly fate: Fate
  readonly met: () => void
}

export interface Meeting {
  /** Resolves when the rule was met for the first time. */
  readonly met: Promise<void>
}

interface Frame {
  readonly api: number
  readonly version: number
}

const HEADER_BYTES = 12

export class KafkaProxy {
  /** Bootstrap servers for a client that is to stay behind the proxy. */
  readonly bootstrap: string
  readonly #rules: Rule[] = []
  readonly #ports: ReadonlyMap<number, number>
  readonly #sockets = new Set<Socket>()
  /** How many requests of each kind came by. */
  readonly counts = new Map<number, number>()

  private constructor(ports: ReadonlyMap<number, number>, servers: readonly Server[], brokers: readonly string[]) {
    this.#ports = ports
    this.bootstrap = brokers.map((broker) => `127.0.0.1:${ports.get(portOf(broker))}`).join(',')
    servers.forEach((server, index) => {
      server.on('connection', (client) => this.#join(client, brokers[index]!))
    })
  }

  /** In front of `host:port,...`. */
  static async start(t: Teardown, bootstrap: string): Promise<KafkaProxy> {
    const brokers = bootstrap.split(',')
    const servers = await Promise.all(
      brokers.map(
        () =>
          new Promise<Server>((resolve) => {
            const server = createServer()
            server.listen(0, '127.0.0.1', () => resolve(server))
          }),
      ),
    )
    const ports = new Map(
      brokers.map((broker, index) => [portOf(broker), (servers[index]!.address() as AddressInfo).port]),
    )
    const proxy = new KafkaProxy(ports, servers, brokers)
    t.teardown(async () => {
      proxy.cutAll()
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
    })
    return proxy
  }

  /** The next `times` requests of that kind after `skip` others. */
  on(api: ApiName, fate: Fate, { skip = 0, times = 1 } = {}): Meeting {
    let met = () => {}
    const meeting = new Promise<void>((resolve) => {
      met = resolve
    })
    this.#rules.push({ api: ApiKey[api], skip, times, fate, met })
    return { met: meeting }
  }

  /** No rule applies any more. Requests that are held stay held; cutAll() ends them. */
  clear(): void {
    this.#rules.length = 0
  }

  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  count(api: ApiName): number {
    return this.counts.get(ApiKey[api]) ?? 0
  }

  #join(client: Socket, broker: string): void {
    const server = connect(portOf(broker), broker.slice(0, broker.lastIndexOf(':')))
    const cut = () => {
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket
        .on('error', () => {})
        .on('close', () => {
          this.#sockets.delete(socket)
          cut()
        })
    }
    const asked = new Map<number, { readonly frame: Frame; readonly fate: Fate | null }>()
    client.on(
      'data',
      framed((bytes) => {
        const frame = { api: bytes.readInt16BE(4), version: bytes.readInt16BE(6) }
        this.counts.set(frame.api, (this.counts.get(frame.api) ?? 0) + 1)
        const fate = this.#fateOf(frame)
        if (fate === 'cut') cut()
        if (fate === 'cut' || fate === 'hold') return
        asked.set(bytes.readInt32BE(8), { frame, fate })
        server.write(bytes)
      }),
    )
    server.on(
      'data',
      framed((bytes) => {
        const correlation = bytes.readInt32BE(4)
        const { frame, fate } = asked.get(correlation) ?? { frame: { api: -1, version: 0 }, fate: null }
        asked.delete(correlation)
        if (fate === 'lose-answer') {
          cut()
          return
        }
        if (frame.api === ApiKey.Metadata || frame.api === ApiKey.FindCoordinator) this.#rename(bytes)
        client.write(typeof fate === 'function' ? withSize(fate(bytes)) : bytes)
      }),
    )
  }

  #fateOf({ api }: Frame): Fate | null {
    for (const rule of this.#rules) {
      if (rule.api !== api || rule.times === 0) continue
      if (rule.skip > 0) {
        rule.skip--
        continue
      }
      rule.times--
      rule.met()
      return rule.fate
    }
    return null
  }

  /** Wherever an answer has our host in front of a broker's port. */
  #rename(bytes: Buffer): void {
    const host = Buffer.from('127.0.0.1')
    for (let at = bytes.indexOf(host); at >= 0; at = bytes.indexOf(host, at + host.length)) {
      const where = at + host.length
      const port = where + 4 <= bytes.length ? this.#ports.get(bytes.readInt32BE(where)) : undefined
      if (port !== undefined) bytes.writeInt32BE(port, where)
    }
  }
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1))
}

/** Calls back with whole frames, their size in front. */
function framed(frame: (bytes: Buffer) => void): (chunk: Buffer) => void {
  let pieces: Buffer[] = []
  let have = 0
  return (chunk) => {
    pieces.push(chunk)
    have += chunk.length
    while (have >= 4) {
      if (pieces[0]!.length < 4) pieces = [Buffer.concat(pieces)]
      const need = 4 + pieces[0]!.readInt32BE(0)
      if (have < need) return
      const all = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
      pieces = all.length > need ? [all.subarray(need)] : []
      have -= need
      if (need >= HEADER_BYTES - 4) frame(all.subarray(0, need))
    }
  }
}

function withSize(answer: Buffer): Buffer {
  answer.writeInt32BE(answer.length - 4, 0)
  return answer
}
