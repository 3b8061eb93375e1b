/**
 * Reads `mysql://user:password@host:port/database?ssl-mode=...`. As with PostgreSQL's, a password with a character that means
 * something in a URL is refused before anything is looked up, and what is said repeats no piece of it.
 */
import { decodedPart, unknownParameter, wrongBorders } from './connection-url.js'

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
const SHAPE = { schemes: /^(mysql|mariadb)$/i, form: MYSQL_URL_FORM, port: MYSQL_PORT_DEFAULT }

/** Why the text is no connection URL, as a sentence that goes on after "the url"; null: it is one. */
export function mysqlUrlProblem(text: string): string | null {
  const read = readMysqlUrl(text)
  return typeof read === 'string' ? read : null
}

/** The parts, or what is wrong as in mysqlUrlProblem(). */
export function readMysqlUrl(text: string): MysqlUrl | string {
  const wrong = wrongBorders(text, SHAPE)
  if (wrong !== null) return wrong
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return `is not a URL. ${MYSQL_URL_FORM}`
  }
  const get = (name: string) => url.searchParams.get(name) ?? undefined
  const unknown = unknownParameter(url.searchParams, PARAMETERS)
  if (unknown !== null) return unknown
  const sslMode = get('ssl-mode')?.toLowerCase().replaceAll('_', '-')
  if (sslMode !== undefined && !(MYSQL_SSL_MODES as readonly string[]).includes(sslMode)) {
    return `has ssl-mode=${sslMode}; known are ${MYSQL_SSL_MODES.join(', ')}`
  }
  const parts = [url.username, url.password, url.hostname, url.pathname.slice(1)].map(decodedPart)
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
