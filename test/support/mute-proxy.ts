/** A proxy in front of a database server: what it does to a connection whose COMMIT nobody answers. */
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from 'node:net'

interface Teardown {
  teardown(handler: () => Promise<void>): unknown
}

export interface MuteProxy {
  /** The server's URL, through the proxy. */
  readonly url: string
  cut(): void
  /** From the first bytes of a client that hold the text, it hears nothing more. */
  loseAnswersTo(text: string): void
}

/** Passes bytes on; can keep the server's answers to itself after a statement that holds a text. */
export async function startMuteProxy(t: Teardown, url: string): Promise<MuteProxy> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let muteAt: string | null = null
  const server = createServer((client) => {
    const upstream = connectSocket(Number(target.port), target.hostname)
    let muted = false
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (data) => {
      if (muteAt !== null && data.includes(muteAt)) muted = true
      upstream.write(data)
    })
    upstream.on('data', (data) => {
      if (!muted) client.write(data)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(() => {
    cut()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  const through = new URL(url)
  through.port = String((server.address() as AddressInfo).port)
  return {
    url: through.href,
    cut,
    loseAnswersTo(text: string) {
      muteAt = text
    },
  }
}
