/**
 * What every session of the sink sets, whatever the server's defaults are, and what it must know of the server. Always
 * true: nothing that changes, cuts or rounds a value is left to a default (I7).
 */
import { TidemarkError } from '../../core/errors.js'
import { connectMysql, type MysqlConnection } from '../../drivers/mysql.js'
import { connectionOf, type MysqlSinkOptions } from './options.js'

export interface TargetServer {
  readonly mariadb: boolean
  readonly version: string
  /** 10.11.19 as 101119. */
  readonly number: number
  /** As the MySQL source names its server. */
  readonly identity: string
  /** Longest statement that it takes. */
  readonly packetBytes: number
  /** A collation of utf8mb4 that tells any two texts apart. */
  readonly collation: string
  /** False: the collation takes texts that differ in trailing spaces only for one key. */
  readonly exactKeys: boolean
  /** Longest key, and longest column of a key. */
  readonly keyBytes: number
  readonly keyColumnBytes: number
  readonly settings: ReadonlyMap<string, string>
}

/**
 * Zero dates and other dates that no calendar has are stored as they came; 0 is no request for a number; whatever does
 * not fit is an error.
 */
const SQL_MODE = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'
/** A pipeline may be idle for long: the server closes no session of ours. */
const IDLE_SECONDS_MAX = 2_147_483
const NET_SECONDS = 600

const FACTS = [
  'server_uuid',
  'server_id',
  'hostname',
  'port',
  'max_allowed_packet',
  'read_only',
  'super_read_only',
  'innodb_read_only',
  'log_bin',
  'binlog_format',
  'innodb_large_prefix',
  'innodb_flush_log_at_trx_commit',
  'innodb_doublewrite',
  'sync_binlog',
  'lower_case_table_names',
]

const MYSQL_NO_PAD_SINCE = 80_017
const MARIADB_NO_PAD_SINCE = 100_202
const MYSQL_LONG_KEYS_SINCE = 50_700
const KEY_BYTES_MAX = 3_072
const OLD_KEY_COLUMN_BYTES_MAX = 767

export async function connectTarget(
  options: MysqlSinkOptions,
  pipeline: string,
  signal: AbortSignal,
): Promise<{ readonly connection: MysqlConnection; readonly server: TargetServer }> {
  const connection = await connectMysql(connectionOf(options, pipeline), { signal, countsFound: true })
  try {
    const server = await readServer(connection)
    await configure(connection, server, options)
    return { connection, server }
  } catch (error) {
    connection.destroy()
    throw error
  }
}

async function readServer(connection: MysqlConnection): Promise<TargetServer> {
  const [[version]] = (await connection.query('SELECT VERSION()')) as [[string]]
  const names = FACTS.map((name) => `'${name}'`).join(', ')
  const rows = await connection.query(`SHOW GLOBAL VARIABLES WHERE Variable_name IN (${names})`)
  const settings = new Map(rows.map(([name, value]) => [name!.toLowerCase(), value ?? '']))
  const mariadb = /mariadb/i.test(version)
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  const number = major * 10_000 + minor * 100 + patch
  const exactKeys = number >= (mariadb ? MARIADB_NO_PAD_SINCE : MYSQL_NO_PAD_SINCE)
  const longKeys = mariadb || number >= MYSQL_LONG_KEYS_SINCE || settings.get('innodb_large_prefix') === 'ON'
  return {
    mariadb,
    version,
    number,
    identity:
      settings.get('server_uuid') || `${settings.get('server_id')}@${settings.get('hostname')}:${settings.get('port')}`,
    packetBytes: Number(settings.get('max_allowed_packet')),
    collation: !exactKeys ? 'utf8mb4_bin' : mariadb ? 'utf8mb4_nopad_bin' : 'utf8mb4_0900_bin',
    exactKeys,
    keyBytes: KEY_BYTES_MAX,
    keyColumnBytes: longKeys ? KEY_BYTES_MAX : OLD_KEY_COLUMN_BYTES_MAX,
    settings,
  }
}

async function configure(
  connection: MysqlConnection,
  { collation, settings }: TargetServer,
  options: MysqlSinkOptions,
): Promise<void> {
  // Statements of READ COMMITTED cannot be logged as statements.
  const asStatements = settings.get('log_bin') === 'ON' && settings.get('binlog_format') === 'STATEMENT'
  const lockSeconds = wholeSeconds(options['lock.timeout'])
  await connection.query(`SET NAMES utf8mb4 COLLATE ${collation};
    SET SESSION autocommit = 1, sql_mode = '${SQL_MODE}', time_zone = '+00:00', foreign_key_checks = 0, unique_checks = 1,
      sql_safe_updates = 0, innodb_lock_wait_timeout = ${lockSeconds}, lock_wait_timeout = ${lockSeconds},
      wait_timeout = ${IDLE_SECONDS_MAX}, net_read_timeout = ${NET_SECONDS}, net_write_timeout = ${NET_SECONDS};
    SET SESSION TRANSACTION ISOLATION LEVEL ${asStatements ? 'REPEATABLE READ' : 'READ COMMITTED'};
    SET SESSION TRANSACTION READ WRITE`)
}

/** The server counts waits in seconds. */
export function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000))
}

/** A server that takes no writes, as a sentence after its name; null: it takes them. */
export function readOnlyReason({ settings }: TargetServer): string | null {
  for (const name of ['super_read_only', 'read_only', 'innodb_read_only']) {
    const value = settings.get(name)
    if (value !== undefined && value !== 'OFF' && value !== '0') return `has ${name} = ${value}`
  }
  return null
}

export function requireWritable(connection: MysqlConnection, server: TargetServer): void {
  const why = readOnlyReason(server)
  if (why === null) return
  const { host, port } = connection.options
  throw new TidemarkError('sink.read_only', {
    message: `${host}:${port} ${why}: it takes no writes`,
    fix: 'Give the sink the address of the primary.',
    retriable: true,
  })
}
