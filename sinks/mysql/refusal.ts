/** What the server's refusal of a write means for the pipeline, with the table named. By number and SQLSTATE only. */
import { type ErrorCode, TidemarkError } from '../../core/errors.js'
import { MYSQL_ERROR, mysqlErrno, mysqlState } from '../../drivers/mysql.js'

/** Data that a column cannot hold, whose SQLSTATE says HY000: values that are no text, labels, JSON, vectors, and rows that no page holds. */
const BAD_DATA: ReadonlySet<number> = new Set([
  1118, 1265, 1366, 1364, 1411, 1416, 1525, 3140, 3141, 3156, 3616, 3617, 3819, 4025, 6138,
])
/** What triggers signal. */
const SIGNAL_STATE = '45'

/** True: one of the rows is at fault. */
export function isBadRow(error: unknown): boolean {
  const errno = mysqlErrno(error)
  const state = mysqlState(error)
  if (errno === null || state === null) return false
  return BAD_DATA.has(errno) || /^2[123]/.test(state) || state.startsWith(SIGNAL_STATE)
}

/** `row`: the key of the row at fault, where it is known. */
export function refused(error: unknown, table: string, row: string | null): unknown {
  const errno = mysqlErrno(error)
  if (errno === null || !(error instanceof TidemarkError)) return error
  const says = `${(error.cause as Error).message}${row === null ? '' : `; row with ${row}`}`
  const make = (code: ErrorCode, fix: string, retriable = false) =>
    new TidemarkError(code, { message: `${table}: ${says}`, fix, retriable, cause: error })
  switch (errno) {
    case MYSQL_ERROR.lockWaitTimeout:
      return make(
        'sink.locked',
        `Find the session that locks ${table} (SHOW ENGINE INNODB STATUS, SHOW PROCESSLIST), or raise \`lock.timeout\`.`,
        true,
      )
    case MYSQL_ERROR.noSuchTable:
    case MYSQL_ERROR.noSuchDatabase:
      return make('sink.target_gone', 'Restore the table; nothing after the last checkpoint was written.')
    case MYSQL_ERROR.badField:
      return make('sink.column_missing', 'Add the column to the target again, then start the pipeline.')
  }
  if (!isBadRow(error)) return error
  return make('sink.rejected', 'Change the target so that it takes the row, then start the pipeline again.')
}

export function rowMissing(table: string, key: string): TidemarkError {
  return new TidemarkError('sink.row_missing', {
    message: `${table}: an update of the row with ${key} does not carry all values, and the target has no such row`,
    fix: 'Something else deleted it from the target. Put the row back, or drop the pipeline and load the table anew.',
  })
}

export function rowTooLong(table: string, key: string, bytes: number, packetBytes: number): TidemarkError {
  return new TidemarkError('sink.rejected', {
    message: `${table}: a statement for the row with ${key} takes ${bytes} bytes, and the server takes ${packetBytes}`,
    fix: `Raise it (SET GLOBAL max_allowed_packet = ...; up to 1 GiB, and in the server's configuration), then start the pipeline again.`,
  })
}
