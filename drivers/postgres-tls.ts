/**
 * TLS as libpq documents it: what each sslmode offers and verifies, and when `prefer` and `allow` go the other way.
 * What is always true: the other way is taken only after the server, or the check of its certificate, refused the
 * first one as such. A wrong password or a lost connection ends both.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, createSecureContext, type PeerCertificate } from 'node:tls'
import { TidemarkError, toError } from '../core/errors.js'
import { classifyPgError, type PgWhere, serverOf, sqlState } from './postgres-errors.js'

export type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

export interface TlsOptions extends PgWhere {
  /** Default `prefer`, or `verify-full` where sslrootcert is `system`. */
  readonly sslmode?: SslMode | undefined
  /** Path of a PEM file, or `system`. The default of each is libpq's file in ~/.postgresql, where that exists. */
  readonly sslrootcert?: string | undefined
  readonly sslcert?: string | undefined
  readonly sslkey?: string | undefined
}

/** The part of pg's configuration that says how to connect. */
export interface Way {
  readonly ssl: false | ConnectionOptions
  readonly stream: () => Socket
}

interface Failure {
  readonly error: TidemarkError
  /** This way was refused, so that the other one may be tried. */
  readonly refused: boolean
  /** false: the server has no TLS. */
  readonly offered?: boolean
}

/** Connects by `open` as sslmode says, by a second way where libpq would. An error tells of both. */
export async function withTls<T>(options: TlsOptions, signal: AbortSignal, open: (way: Way) => Promise<T>): Promise<T> {
  const [ssl, other] = waysOf(options)
  const first = await attempt(options, signal, ssl!, open)
  if ('value' in first) return first.value
  if (!first.refused || other === undefined) throw first.error
  const second = await attempt(options, signal, other, open)
  if ('value' in second) return second.value
  // That the server has no TLS is nothing to tell: prefer does not ask for it.
  if (first.offered === false) throw second.error
  throw bothFailed(first.error, second.error, serverOf(options), ssl !== false)
}

async function attempt<T>(
  options: TlsOptions,
  signal: AbortSignal,
  ssl: Way['ssl'],
  open: (way: Way) => Promise<T>,
): Promise<{ readonly value: T } | Failure> {
  const socket = new Socket()
  // The first byte is the answer to the request for TLS (S or N), or to the startup packet (R or, for an error, E).
  let answer = ''
  socket.once('data', (data: Buffer) => {
    answer = data.toString('latin1', 0, 1)
  })
  try {
    return { value: await open({ ssl, stream: () => socket }) }
  } catch (thrown) {
    signal.throwIfAborted()
    return judge(thrown, options, ssl !== false, answer)
  }
}

function judge(thrown: unknown, options: TlsOptions, tls: boolean, answer: string): Failure {
  const error = classifyPgError(thrown, options)
  if (!tls) return { error, refused: answer === 'E' }
  if (answer === 'N') return { error: notOffered(options), refused: true, offered: false }
  const cause = error.cause as TlsError | undefined
  if (answer !== 'S' || !isOfTls(cause)) return { error, refused: sqlState(error) === '28000' }
  return { error: cause.code === 'ECONNRESET' ? error : handshakeFailed(cause, options), refused: true }
}

interface TlsError extends Error {
  readonly code?: unknown
  readonly syscall?: string
  /** OpenSSL's words alone. */
  readonly reason?: string
  readonly cert?: PeerCertificate
}

/** TLS gives a code and no system call. ECONNRESET so: the server closed the connection within the handshake. */
function isOfTls(error: TlsError | undefined): error is TlsError {
  if (typeof error?.code !== 'string' || sqlState(error) !== null) return false
  if (error.code.startsWith('ERR_')) return /^ERR_(SSL|TLS|OSSL)_/.test(error.code)
  return error.syscall === undefined || error.code === 'EPROTO'
}

// ---- what is offered and verified

/** What to try, in order. */
function waysOf(options: TlsOptions): Way['ssl'][] {
  const system = options.sslrootcert === 'system'
  const mode = options.sslmode ?? (system ? 'verify-full' : 'prefer')
  // libpq has no TLS on a Unix socket, whatever the sslmode.
  if (mode === 'disable' || options.host.startsWith('/')) return [false]
  const ca = system ? undefined : pem(options, 'sslrootcert', (text) => new X509Certificate(text))
  if (system && mode !== 'verify-full') {
    throw badOptions(`sslrootcert: system needs sslmode: verify-full, not ${mode}`, 'Set sslmode: verify-full.')
  }
  if (mode.startsWith('verify') && !system && ca === undefined) {
    throw badOptions(
      `sslmode: ${mode} needs to know whom to trust, and there is no ${homeFile('sslrootcert')}`,
      'Give sslrootcert the PEM file of the authority that signed the server certificate, or set sslrootcert: system.',
    )
  }
  const tls: ConnectionOptions = {
    secureContext: createSecureContext({ ...(ca && { ca: ca.text }), ...identity(options) }),
    // Where libpq has the certificate of an authority, it verifies in every mode.
    rejectUnauthorized: system || ca !== undefined,
    ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  }
  return mode === 'allow' ? [false, tls] : mode === 'prefer' ? [tls, false] : [tls]
}

/** The client's certificate and its key. */
function identity(options: TlsOptions): { cert?: string; key?: string } {
  const cert = pem(options, 'sslcert', (text) => new X509Certificate(text))
  if (cert === undefined) return {}
  const key = pem(options, 'sslkey', (text) => createPrivateKey(text))
  if (key === undefined) throw badOptions(`sslcert has no sslkey, and there is no ${homeFile('sslkey')}`, PEM_FIX)
  if (!cert.value.checkPrivateKey(key.value)) throw badOptions('sslkey is not the key of sslcert', PEM_FIX)
  return { cert: cert.text, key: key.text }
}

const HOME_FILES = { sslrootcert: 'root.crt', sslcert: 'postgresql.crt', sslkey: 'postgresql.key' } as const
const PEM_FIX =
  'sslrootcert, sslcert and sslkey take PEM files that this user may read; the key belongs to the certificate and has no passphrase.'

function homeFile(name: keyof typeof HOME_FILES): string {
  return join(homedir(), '.postgresql', HOME_FILES[name])
}

/** A file that is given must be there; one of the home folder may be. */
function pem<T>(options: TlsOptions, name: keyof typeof HOME_FILES, parse: (text: string) => T) {
  const path = options[name] || homeFile(name)
  if (!options[name] && !existsSync(path)) return undefined
  try {
    const text = readFileSync(path, 'utf8')
    return { text, value: parse(text) }
  } catch (error) {
    throw badOptions(`${name} ${path} cannot be used: ${toError(error).message}`, PEM_FIX, error)
  }
}

// ---- errors

function badOptions(message: string, fix: string, cause?: unknown): TidemarkError {
  return new TidemarkError('postgres.tls_options', { message, fix, cause })
}

function notOffered(options: TlsOptions): TidemarkError {
  return new TidemarkError('postgres.tls', {
    message: `${serverOf(options)}: the server does not offer TLS, which sslmode: ${options.sslmode ?? 'verify-full'} asks for`,
    fix: 'Set ssl = on and a certificate in its postgresql.conf, or sslmode: disable for a network that you trust.',
  })
}

function handshakeFailed(error: TlsError, options: TlsOptions): TidemarkError {
  const fail = (why: string, fix: string) =>
    new TidemarkError('postgres.tls', { message: `${serverOf(options)}: ${why}`, fix, cause: error })
  const why = (error.reason ?? error.message).trim()
  const code = String(error.code)
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = (error.cert?.subjectaltname ?? String(error.cert?.subject.CN)).replace(/(DNS|IP Address):/g, '')
    return fail(
      `the server certificate is not for ${options.host} but for ${names}`,
      `Connect to a name that the certificate has (${names}), or set sslmode: verify-ca to check only who signed it.`,
    )
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return fail(`the server certificate: ${why}`, "Renew the certificate, or correct this machine's clock.")
  }
  if (code.startsWith('ERR_') || code === 'EPROTO') {
    return fail(
      `the TLS handshake failed: ${why}`,
      'Check sslcert and sslkey, the ssl_ca_file of the server, and that both sides share a TLS version (1.2 or later).',
    )
  }
  return fail(
    `the server certificate is not trusted: ${why}`,
    'Give sslrootcert the PEM file of the authority that signed the server certificate.',
  )
}

function bothFailed(first: TidemarkError, second: TidemarkError, server: string, tlsFirst: boolean): TidemarkError {
  const before = first.message.replace(`${server}: `, '')
  return new TidemarkError(second.code, {
    message: `${second.message}; before that, ${tlsFirst ? 'with' : 'without'} TLS: ${before}`,
    fix: [...new Set([first.fix, second.fix])].filter(Boolean).join(' '),
    retriable: second.retriable,
    cause: second.cause,
  })
}
