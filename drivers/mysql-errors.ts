/** Classifies what MySQL, MariaDB and their sockets throw: by error number or node's error code, never by message text. */
import type { ErrorCode } from '../core/error-codes.js'
import { TidemarkError, toError } from '../core/errors.js'

export interface MysqlWhere {
  readonly host: string
  readonly port: number
  readonly user: string
}

interface MysqlFields {
  readonly errno?: number
  readonly code?: string
  readonly sqlMessage?: string
  readonly sqlState?: string
}

/** The server's error number, null for anything that did not come from it. */
export function mysqlErrno(thrown: unknown): number | null {
  const cause = (thrown instanceof TidemarkError ? thrown.cause : thrown) as MysqlFields | null
  // Node numbers the errors of sockets too: below zero.
  return typeof cause?.errno === 'number' && cause.errno >= 1_000 && cause.code?.startsWith('E') !== false
    ? cause.errno
    : null
}

/** The five characters of the server's SQLSTATE, null for anything that did not come from it. */
export function mysqlState(thrown: unknown): string | null {
  const cause = (thrown instanceof TidemarkError ? thrown.cause : thrown) as MysqlFields | null
  return mysqlErrno(thrown) === null ? null : (cause?.sqlState ?? null)
}

export const MYSQL_ERROR = {
  accessDenied: 1045,
  tableAccessDenied: 1142,
  columnAccessDenied: 1143,
  specificAccessDenied: 1227,
  databaseAccessDenied: 1044,
  noSuchTable: 1146,
  badField: 1054,
  unknownVariable: 1193,
  lockWaitTimeout: 1205,
  deadlock: 1213,
  queryInterrupted: 1317,
  queryTimeout: 3024,
  statementTimeout: 1969,
  tableDefChanged: 1412,
  binlogFatal: 1236,
  syntax: 1064,
  xaRecover: 1401,
  duplicateKey: 1062,
  noSuchThread: 1094,
  notThreadOwner: 1095,
  noSuchDatabase: 1049,
} as const

const ACCESS: readonly number[] = [
  MYSQL_ERROR.tableAccessDenied,
  MYSQL_ERROR.columnAccessDenied,
  MYSQL_ERROR.specificAccessDenied,
  MYSQL_ERROR.databaseAccessDenied,
]

/** Full servers, shutdowns, lost locks and interrupted statements pass; other errors stay wrong when tried again. */
const RETRIABLE_ERRNO = new Set([
  1040, 1053, 1077, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226, 1290, 1317, 1412,
  1836, 1927, 1969, 2013, 3024, 3032, 4031,
])
const RETRIABLE_SOCKET = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  'PROTOCOL_CONNECTION_LOST',
  'PROTOCOL_SEQUENCE_TIMEOUT',
])

export function classifyMysqlError(thrown: unknown, where: MysqlWhere): TidemarkError {
  if (thrown instanceof TidemarkError) return thrown
  const error = toError(thrown)
  const { code = '' } = error as MysqlFields
  const server = `${where.host}:${where.port}`
  const errno = mysqlErrno(error)
  if (errno === null) {
    const refused = code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN'
    return new TidemarkError('mysql.connection', {
      message: `${server}: ${error.message || code}`,
      fix: refused ? 'Check host and port, and that the server is running and listens there.' : undefined,
      retriable: RETRIABLE_SOCKET.has(code) || code === '',
      cause: error,
    })
  }
  const make = (kind: ErrorCode, fix?: string) =>
    new TidemarkError(kind, {
      message: `${server}: ${error.message}`,
      fix,
      retriable: RETRIABLE_ERRNO.has(errno),
      cause: error,
    })
  if (errno === MYSQL_ERROR.accessDenied) return make('mysql.auth', `Check user ${where.user} and its password.`)
  if (ACCESS.includes(errno)) {
    return make('mysql.permission', `Grant what is missing to ${where.user}; \`tidemark check\` prints the statements.`)
  }
  return make('mysql.query')
}
