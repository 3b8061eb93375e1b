/**
 * Reads `mysql://user:password@host:port/database?ssl-mode=...`. As with PostgreSQL's, a password with a character that means
 * something in a URL is refused before anything is looked up, and what is said repeats no piece of it.
 */

export type MysqlSslMode = 'disabled' | 'preferred' | 'required' | 'verify-ca' | 'verify-identity'
export const MYSQL_SSL_MODES = ['disabled', 'preferred', 'required', 'verify-ca', 'verify-identity'] as const

export interface MysqlUrl {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string | undefined
  readonly database: string | undefined
  readonly sslMode: MysqlSslMode | undefined
  readonly sslCa: string | undefined
  readonly sslCert: string | undefined
  readonly sslKey: string | undefined
}

export const MYSQL_PORT_DEFAULT = 3306
export const MYSQL_URL_FORM = 'Write mysql://user:password@host:3306'
const PARAMETERS = ['ssl-mode', 'ssl-ca', 'ssl-cert', 'ssl-key']
const ENCODE = 'In a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25'

/** Why the text is no connection URL, as a sentence that goes on after "the url"; null: it is one. */
export function mysqlUrlProblem(text: string): string | null {
  const read = readMysqlUrl(text)
  return typeof read === 'string' ? read : null
}

/** The parts, or what is wrong as in mysqlUrlProblem(). */
export function readMysqlUrl(text: string): MysqlUrl | string {
  const wrong = borders(text)
  if (wrong !== null) return wrong
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return `is not a URL. ${MYSQL_URL_FORM}`
  }
  const get = (name: string) => url.searchParams.get(name) ?? undefined
  for (const name of url.searchParams.keys()) {
    if (!PARAMETERS.includes(name)) return `has an unknown parameter ${name}; known are ${PARAMETERS.join(', ')}`
  }
  const sslMode = get('ssl-mode')?.toLowerCase().replaceAll('_', '-')
  if (sslMode !== undefined && !(MYSQL_SSL_MODES as readonly string[]).includes(sslMode)) {
    return `has ssl-mode=${sslMode}; known are ${MYSQL_SSL_MODES.join(', ')}`
  }
  const parts = [url.username, url.password, url.hostname, url.pathname.slice(1)].map(decoded)
  if (parts.includes(null)) return 'has a percent sequence that is no UTF-8 text'
  const [user, password, host, database] = parts as string[]
  return {
    host: host!.replace(/^\[|\]$/g, ''),
    port: Number(url.port || MYSQL_PORT_DEFAULT),
    user: user || 'root',
    password: url.password === '' ? undefined : password,
    database: database || undefined,
    sslMode: sslMode as MysqlSslMode | undefined,
    sslCa: get('ssl-ca'),
    sslCert: get('ssl-cert'),
    sslKey: get('ssl-key'),
  }
}

/** What would make the parts begin or end in the wrong place. */
function borders(text: string): string | null {
  const scheme = /^\s*([a-z][a-z0-9+.-]*):\/\//i.exec(text)
  if (scheme === null) return `is not a URL. ${MYSQL_URL_FORM}`
  if (!/^(mysql|mariadb)$/i.test(scheme[1]!)) return `has the scheme ${scheme[1]}. ${MYSQL_URL_FORM}`
  const rest = text.trim().slice(text.trim().indexOf('://') + 3)
  if (/\p{Cc}/u.test(rest)) return 'holds a line break or another control character'
  if (rest.includes('#')) return `holds a "#". ${ENCODE}`
  if (/%(?![0-9a-f]{2})/i.test(rest)) return `holds a "%" that two hexadecimal digits do not follow. ${ENCODE}`
  const authority = /^[^/?]*/.exec(rest)![0]
  if (rest.slice(authority.length).includes('@')) return `holds an "@" after its host. ${ENCODE}`
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  if (/^(:|$)/.test(host)) return `names no host. ${MYSQL_URL_FORM}`
  if (/^(\[[^\]]*\]|[^:]*)(:\d+)?$/.test(host)) return null
  return 'has a port that is not a number. Put an IPv6 address in brackets: [::1]:3306'
}

function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part)
  } catch {
    return null
  }
}
