/** The settings that every session runs under: asked for by startup options, and looked at once it is open. */
import { TidemarkError } from '../core/errors.js'
import { type PgWhere, serverOf } from './postgres-errors.js'

/** What the text of values depends on, fixed for every session. */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'iso_8601',
  extra_float_digits: '3',
  bytea_output: 'hex',
  xmloption: 'content',
  lc_monetary: 'C',
  search_path: 'pg_catalog',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  quote_all_identifiers: 'off',
  // A policy that would hide rows makes a query fail instead: the log shows every row.
  row_security: 'off',
  // Nobody reads them.
  client_min_messages: 'error',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
}

export const CLIENT_ENCODING = 'UTF8'

/** Startup options win over the defaults of role, database and server. */
export const STARTUP_OPTIONS = Object.entries(SESSION_SETTINGS)
  .map(([name, value]) => `-c ${name}=${value.replaceAll(' ', '\\ ')}`)
  .join(' ')

const EXPECTED = Object.entries({ ...SESSION_SETTINGS, client_encoding: CLIENT_ENCODING })

/** Limits that only newer servers have, so that a startup option would keep older ones from answering: 14 and 17. */
const NEWER_TIMEOUTS = ['idle_session_timeout', 'transaction_timeout']

/** One row: the values that checkSession() judges, and behind them limits that are lifted where the server has them. */
export const SESSION_QUERY = `select ${[
  ...EXPECTED.map(([name]) => `pg_catalog.current_setting('${name}')`),
  ...NEWER_TIMEOUTS.map(
    (name) =>
      `case when pg_catalog.current_setting('${name}', true) is not null then pg_catalog.set_config('${name}', '0', false) end`,
  ),
].join(', ')}`

/** A pooler may drop startup options: values would then arrive in another form without an error (I7). */
export function checkSession(row: readonly (string | null)[] | undefined, where: PgWhere): void {
  const wrong = EXPECTED.filter(([, value], index) => row?.[index] !== value)
  if (wrong.length === 0) return
  throw new TidemarkError('postgres.session', {
    message: `${serverOf(where)}: the session lacks the settings that it was opened with: ${wrong.map(([name]) => name).join(', ')}`,
    fix: 'Connect directly to the server, not through a transaction pooler such as pgbouncer.',
  })
}
