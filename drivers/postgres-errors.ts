/** Classifies what PostgreSQL and its sockets throw: by SQLSTATE or node's error code, never by message text. */
import type { ErrorCode } from '../core/error-codes.js'
import { TidemarkError, toError } from '../core/errors.js'

export interface PgWhere {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
}

interface PgFields {
  readonly code?: string
  readonly detail?: string
  readonly hint?: string
  readonly table?: string
  readonly schema?: string
  readonly column?: string
}

/** Node has codes of five letters too: EPIPE, EPERM. */
const SQL_STATE = /^(?!E[A-Z]{4})[0-9A-Z]{5}$/

/** SQLSTATE of an error that the server sent, null for anything else. */
export function sqlState(thrown: unknown): string | null {
  const cause = thrown instanceof TidemarkError ? thrown.cause : thrown
  const code = (cause as PgFields | null)?.code
  return typeof code === 'string' && SQL_STATE.test(code) ? code : null
}

export function serverOf({ host, port, database }: PgWhere): string {
  return `${host}:${port}/${database}`
}

/** Connection trouble, restarts, deadlocks and full servers pass; everything else stays wrong when tried again. */
const RETRIABLE_STATES = /^(08...|25006|25P03|40001|40003|40P01|53...|55006|57014|57P0[1-5]|58...)$/
const RETRIABLE_SOCKET = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
])

export function classifyPgError(thrown: unknown, where: PgWhere): TidemarkError {
  if (thrown instanceof TidemarkError) return thrown
  const error = toError(thrown)
  const fields = error as PgFields
  const server = serverOf(where)
  const state = sqlState(error)
  if (state === null) return connectionError(error, fields.code ?? '', server)
  const details = [fields.detail, fields.hint].filter(Boolean).join(' ')
  const message = `${server}: ${error.message}${details ? ` (${details})` : ''}`
  const make = (code: ErrorCode, fix: string | undefined, retriable = RETRIABLE_STATES.test(state)) =>
    new TidemarkError(code, { message, fix, retriable, cause: error })
  if (state === '28000') {
    return make(
      'postgres.auth',
      `Check user ${where.user} and the server's pg_hba.conf. It may ask for TLS (sslmode: require), or a client certificate (sslcert, sslkey).`,
    )
  }
  if (state.startsWith('28')) {
    return make('postgres.auth', `Check user ${where.user} and its password, and the server's pg_hba.conf.`)
  }
  if (state === '08P01') {
    return make('postgres.connection', 'If a pooler such as pgbouncer answers there, connect directly to the server.')
  }
  if (state === '3D000') return make('postgres.no_database', 'Check the database name in the url.')
  if (state === '42501')
    return make(
      'postgres.permission',
      `Grant what is missing to ${where.user}; \`tidemark check\` prints the statements.`,
    )
  return make('postgres.query', undefined)
}

function connectionError(error: Error, code: string, server: string): TidemarkError {
  // pg reports a lost connection and a connect time-out without a code. What TLS finds wrong with a connection that was
  // open is a broken one too.
  const lost = RETRIABLE_SOCKET.has(code) || code === '' || code.startsWith('ERR_SSL_')
  const refused = code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN'
  return new TidemarkError('postgres.connection', {
    message: `${server}: ${error.message || code}`,
    fix: refused ? 'Check host and port, and that the server is running and listens there.' : undefined,
    retriable: lost,
    cause: error,
  })
}
