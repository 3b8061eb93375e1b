/**
 * A PostgreSQL server of one's own that speaks TLS, with an authority and certificates made by the `openssl` command
 * line, and one role for each kind of pg_hba.conf line. The superuser `postgres` comes in either way, without a password.
 */
import { execFileSync } from 'node:child_process'
import { chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import pg from 'pg'
import { startPostgres, type TestServer } from './postgres.js'

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

const ROLES = `
  create role tls_only login superuser replication;
  create role plain_only login;
  create role anyone login;
  create role secret login password 'right';
  create role cautious login password 'right';
  create role certified login`

/** `secret` could come in without TLS and `cautious` with it, whatever the password. */
const HBA = `
local     all all            trust
host      all postgres   all trust
hostssl   all tls_only   all trust
hostnossl all plain_only all trust
host      all anyone     all trust
hostssl   all secret     all scram-sha-256
hostnossl all secret     all trust
hostnossl all cautious   all scram-sha-256
hostssl   all cautious   all trust
hostssl   all certified  all cert
`

/** Any startup packet is longer. */
const SSL_REQUEST_BYTES = 8

export class Certificates {
  readonly folder = mkdtempSync(join(tmpdir(), 'tidemark-test-tls-'))

  constructor(t: Teardown) {
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }))
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  authority(name: string): void {
    this.#openssl('req', '-x509', ...this.#key(name), '-out', `${name}.crt`, '-subj', `/CN=${name}`, '-days', '2')
  }

  /** days: -1 makes one that has expired. */
  leaf(name: string, authority: string, subject: string, days = 2): void {
    this.#openssl('req', '-new', ...this.#key(name), '-out', `${name}.csr`, '-subj', `/CN=${subject}`)
    writeFileSync(this.path(`${name}.ext`), `subjectAltName=DNS:${subject}\n`)
    const signed = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-extfile', `${name}.ext`]
    this.#openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-days', String(days), '-out', `${name}.crt`)
  }

  #key(name: string): string[] {
    return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`]
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' })
  }
}

export interface TlsServer extends TestServer {
  readonly port: number
  readonly certificates: Certificates
  /** Restarts the server with another certificate. */
  present(leaf: string): Promise<void>
  at(options: At): string
}

/** Where and how to connect: parts of a URL. `user` may have a password behind a colon. */
export interface At {
  readonly user?: string
  readonly host?: string
  readonly port?: number
  readonly database?: string
  readonly [parameter: string]: string | number | undefined
}

export async function startTlsServer(t: Teardown): Promise<TlsServer> {
  const certificates = new Certificates(t)
  certificates.authority('ca')
  certificates.authority('other')
  certificates.leaf('server', 'ca', 'localhost')
  certificates.leaf('expired', 'ca', 'localhost', -1)
  certificates.leaf('certified', 'ca', 'certified')
  certificates.leaf('stranger', 'other', 'certified')
  const server = await startPostgres(t, { version: '15' })
  await asSuperuser(server.url, ROLES)
  const put = (name: string, text: string | Buffer) => {
    const path = join(server.dataDir, name)
    writeFileSync(path, text, { mode: 0o600 })
    const { uid, gid } = statSync(server.dataDir)
    chownSync(path, uid, gid)
  }
  const present = async (leaf: string) => {
    await server.stop()
    for (const kind of ['crt', 'key']) put(`server.${kind}`, readFileSync(certificates.path(`${leaf}.${kind}`)))
    await server.start()
  }
  await asSuperuser(server.url, `alter system set ssl = on; alter system set ssl_ca_file = 'ca.crt'`.split(';'))
  put('ca.crt', readFileSync(certificates.path('ca.crt')))
  put('pg_hba.conf', HBA)
  await present('server')
  const port = Number(new URL(server.url).port)
  return { ...server, port, certificates, present, at: (options) => urlOf({ port, ...options }) }
}

function urlOf({ user = 'anyone', host = 'localhost', port, database = 'postgres', ...parameters }: At): string {
  return `postgres://${user}@${host}:${port}/${database}?${new URLSearchParams(parameters as Record<string, string>)}`
}

async function asSuperuser(url: string, statements: string | readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url, ssl: false })
  await client.connect()
  try {
    for (const text of [statements].flat()) await client.query(text)
  } finally {
    await client.end()
  }
}

/** What a pooler may do: ends TLS, and passes everything on but the `options` of the startup packet. */
export async function startForgetfulProxy(t: Teardown, { url, certificates }: TlsServer): Promise<number> {
  const read = (kind: string) => readFileSync(certificates.path(`server.${kind}`))
  const identity = { isServer: true, cert: read('crt'), key: read('key') }
  const { hostname, port } = new URL(url)
  const server = createServer((client) => {
    const upstream = connectSocket(Number(port), hostname)
    const forward = (from: Socket) => {
      from.once('data', (startup) => {
        upstream.write(withoutOptions(startup))
        from.pipe(upstream)
      })
      upstream.pipe(from)
    }
    client.once('data', (first) => {
      client.pause()
      if (first.length !== SSL_REQUEST_BYTES) {
        forward(client)
        client.unshift(first)
        client.resume()
        return
      }
      client.write('S')
      forward(new TLSSocket(client, identity).on('error', () => {}))
    })
    for (const socket of [client, upstream]) {
      socket.on('error', () => {})
      socket.on('close', () => [client, upstream].map((each) => each.destroy()))
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return (server.address() as AddressInfo).port
}

/** Length, protocol version, then names and values, each ending in a zero byte, and one more. */
function withoutOptions(startup: Buffer): Buffer {
  const words = startup.toString('latin1', 8).split('\0').slice(0, -2)
  const at = words.findIndex((word, index) => index % 2 === 0 && word === 'options')
  if (at >= 0) words.splice(at, 2)
  const body = Buffer.from(`${words.map((word) => `${word}\0`).join('')}\0`, 'latin1')
  const head = Buffer.from(startup.subarray(0, 8))
  head.writeUInt32BE(head.length + body.length)
  return Buffer.concat([head, body])
}
