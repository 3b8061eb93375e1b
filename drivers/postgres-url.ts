/**
 * Reads `postgres://user:password@host:port/database?sslmode=...`. A password with a character that means something in
 * a URL moves the borders between its parts, so that a piece of it becomes host or parameter: such a URL is refused
 * before anything is looked up, and what is said about it repeats only parts that cannot hold a piece of the password.
 */
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
const ENCODE = 'In a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25'

/** Why the text is no connection URL, as a sentence that goes on after "the url"; null: it is one. */
export function pgUrlProblem(text: string): string | null {
  const read = readPgUrl(text)
  return typeof read === 'string' ? read : null
}

/** The parts, or what is wrong as in pgUrlProblem(). */
export function readPgUrl(text: string): PgUrl | string {
  const wrong = borders(text)
  if (wrong !== null) return wrong
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return `is not a URL. ${PG_URL_FORM}`
  }
  const parts = [url.username, url.password, url.hostname, url.pathname.slice(1)].map(decoded)
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

/** What would make the parts begin or end in the wrong place. */
function borders(text: string): string | null {
  const scheme = /^\s*([a-z][a-z0-9+.-]*):\/\//i.exec(text)
  if (scheme === null) return `is not a URL. ${PG_URL_FORM}`
  if (!/^postgres(ql)?$/i.test(scheme[1]!)) return `has the scheme ${scheme[1]}. ${PG_URL_FORM}`
  const rest = text.trim().slice(text.trim().indexOf('://') + 3)
  // URL() drops line breaks and tabs without a word.
  if (/\p{Cc}/u.test(rest)) return 'holds a line break or another control character'
  if (rest.includes('#')) return `holds a "#". ${ENCODE}`
  if (/%(?![0-9a-f]{2})/i.test(rest)) return `holds a "%" that two hexadecimal digits do not follow. ${ENCODE}`
  const authority = /^[^/?]*/.exec(rest)![0]
  if (rest.slice(authority.length).includes('@')) return `holds an "@" after its host. ${ENCODE}`
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  if (/^(:|$)/.test(host)) return `names no host. ${PG_URL_FORM}`
  if (/^(\[[^\]]*\]|[^:]*)(:\d+)?$/.test(host)) return null
  return 'has a port that is not a number. Put an IPv6 address in brackets: [::1]:5432'
}

function parameters(given: URLSearchParams): string | null {
  for (const name of given.keys()) {
    if (!PARAMETERS.includes(name)) return `has an unknown parameter ${name}; known are ${PARAMETERS.join(', ')}`
  }
  const sslmode = given.get('sslmode')
  if (sslmode !== null && !SSL_MODES.includes(sslmode)) {
    return `has sslmode=${sslmode}; known are ${SSL_MODES.join(', ')}`
  }
  const seconds = given.get('connect_timeout')
  return seconds === null || /^\d+$/.test(seconds) ? null : `has connect_timeout=${seconds}, which is not in seconds`
}

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part)
  } catch {
    return null
  }
}
