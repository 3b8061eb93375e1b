/**
 * Reads `postgres://user:password@host:port/database?sslmode=...`. A password with a character that means something in
 * a URL moves the borders between its parts, so that a piece of it becomes host or parameter: such a URL is refused
 * before anything is looked up, and what is said about it repeats only parts that cannot hold a piece of the password.
 */
import { decodedPart, unknownParameter, wrongBorders } from './connection-url.js'
import type { SslMode } from './postgres-tls.js'

export interface PgUrl {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string | undefined
  readonly database: string
  readonly sslmode: SslMode | undefined
  readonly sslrootcert: string | undefined
  readonly sslcert: string | undefined
  readonly sslkey: string | undefined
  readonly connectTimeoutSeconds: number | undefined
  readonly applicationName: string | undefined
}

export const PG_PORT_DEFAULT = 5432
const PARAMETERS = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'connect_timeout', 'application_name']
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']
export const PG_URL_FORM = 'Write postgres://user:password@host:5432/database'
const SHAPE = { schemes: /^postgres(ql)?$/i, form: PG_URL_FORM, port: PG_PORT_DEFAULT }

/** Why the text is no connection URL, as a sentence that goes on after "the url"; null: it is one. */
export function pgUrlProblem(text: string): string | null {
  const read = readPgUrl(text)
  return typeof read === 'string' ? read : null
}

/** The parts, or what is wrong as in pgUrlProblem(). */
export function readPgUrl(text: string): PgUrl | string {
  const wrong = wrongBorders(text, SHAPE)
  if (wrong !== null) return wrong
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return `is not a URL. ${PG_URL_FORM}`
  }
  const parts = [url.username, url.password, url.hostname, url.pathname.slice(1)].map(decodedPart)
  if (parts.includes(null)) return 'has a percent sequence that is no UTF-8 text'
  const [user, password, host, database] = parts as string[]
  const get = (name: string) => url.searchParams.get(name) ?? undefined
  const wrongParameter = parameters(url.searchParams)
  if (wrongParameter !== null) return wrongParameter
  const seconds = get('connect_timeout')
  return {
    host: host!.replace(/^\[|\]$/g, ''),
    port: Number(url.port || PG_PORT_DEFAULT),
    user: user || 'postgres',
    password: url.password === '' ? undefined : password,
    database: database || user || 'postgres',
    sslmode: get('sslmode') as SslMode | undefined,
    sslrootcert: get('sslrootcert'),
    sslcert: get('sslcert'),
    sslkey: get('sslkey'),
    connectTimeoutSeconds: seconds ? Number(seconds) : undefined,
    applicationName: get('application_name'),
  }
}

function parameters(given: URLSearchParams): string | null {
  const unknown = unknownParameter(given, PARAMETERS)
  if (unknown !== null) return unknown
  const sslmode = given.get('sslmode')
  if (sslmode !== null && !SSL_MODES.includes(sslmode)) {
    return `has sslmode=${sslmode}; known are ${SSL_MODES.join(', ')}`
  }
  const seconds = given.get('connect_timeout')
  return seconds === null || /^\d+$/.test(seconds) ? null : `has connect_timeout=${seconds}, which is not in seconds`
}
