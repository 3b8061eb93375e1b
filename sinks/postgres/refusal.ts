/** What the server's refusal of a write means for the pipeline, with the table named. By SQLSTATE only. */
import { type ErrorCode, TidemarkError } from '../../core/errors.js'
import { sqlState } from '../../drivers/postgres.js'

export const UNIQUE_VIOLATION = '23505'
const LOCK_NOT_AVAILABLE = '55P03'
const UNDEFINED_TABLE = '42P01'
const UNDEFINED_COLUMN = '42703'

interface ServerFields {
  readonly message?: string
  readonly detail?: string
  readonly where?: string
  readonly column?: string
}

/** True: one of the rows is at fault. */
export function isBadRow(error: unknown): boolean {
  return /^(22|23|42804|42846)/.test(sqlState(error) ?? '')
}

/** `row`: the key of the row at fault, where it is known. */
export function refused(error: unknown, table: string, row: string | null): unknown {
  const state = sqlState(error)
  if (state === null || !(error instanceof TidemarkError)) return error
  const { message, detail, where } = error.cause as ServerFields
  const context = row === null ? where : `row with ${row}`
  const says = [message, detail, context].filter(Boolean).join('; ')
  const make = (code: ErrorCode, fix: string, retriable = false) =>
    new TidemarkError(code, { message: `${table}: ${says}`, fix, retriable, cause: error })
  switch (state) {
    case LOCK_NOT_AVAILABLE:
      return make('sink.locked', `Find the session that locks ${table} in pg_locks, or raise \`lock.timeout\`.`, true)
    case UNDEFINED_TABLE:
      return make('sink.target_gone', 'Restore the table; nothing after the last checkpoint was written.')
    case UNDEFINED_COLUMN:
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

export function rowsSwallowed(table: string, count: number): TidemarkError {
  return new TidemarkError('sink.constraints', {
    message: `${table} took ${count} of the rows written to it without keeping them: a trigger or a rule of the target drops them`,
    fix: 'Remove it from the target; nothing after the last checkpoint was written.',
  })
}
