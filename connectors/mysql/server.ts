/** What kind of server it is, and how it says what a SELECT shows. */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../../core/errors.js'
import { MYSQL_ERROR, type MysqlConnection, mysqlErrno } from '../../drivers/mysql.js'

/**
 * gtid: a window above gtid_executed. snapshot: an exact position of the consistent snapshot (MariaDB, Percona). margin: a
 * window above a position that is old enough.
 */
export type CutKind = 'gtid' | 'snapshot' | 'margin'

export interface ServerFacts {
  readonly mariadb: boolean
  readonly version: string
  /** 10.11.19 as 101119. */
  readonly number: number
  /** Unique for the server's data: server_uuid, or MariaDB's server_id and host name. */
  readonly identity: string
  readonly cut: CutKind
  /** Transactions have GTIDs by which a reader can go on. */
  readonly gtids: boolean
  readonly variables: ReadonlyMap<string, string>
  /** Collation and character set by number. */
  readonly collations: ReadonlyMap<number, { readonly name: string; readonly charset: string }>
  /** `SHOW BINARY LOG STATUS` or its older name. */
  readonly statusSql: string
}

const VARIABLES = [
  'log_bin',
  'binlog_format',
  'binlog_row_image',
  'binlog_row_metadata',
  'binlog_row_value_options',
  'binlog_transaction_compression',
  'binlog_order_commits',
  'gtid_mode',
  'gtid_strict_mode',
  'server_id',
  'server_uuid',
  'hostname',
  'port',
  'sync_binlog',
  'innodb_flush_log_at_trx_commit',
  'expire_logs_days',
  'binlog_expire_logs_seconds',
  'lower_case_table_names',
  'innodb_native_foreign_keys',
  'show_gipk_in_create_table_and_information_schema',
]

/** MySQL 8.2 has the new name, 8.4 no more the old one. */
const STATUS_RENAMED = 80_200

/** What every session of ours has, so that results do not depend on the server's settings. */
export const SESSION_SQL = `SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00', sql_safe_updates = 0, net_write_timeout = 600,
  lock_wait_timeout = 2, innodb_lock_wait_timeout = 2, max_sort_length = 16384, group_concat_max_len = 1073741824`

export async function readServer(connection: MysqlConnection): Promise<ServerFacts> {
  const [[version]] = (await connection.query('SELECT VERSION()')) as [[string]]
  const list = VARIABLES.map((name) => `'${name}'`).join(', ')
  const rows = await connection.query(`SHOW GLOBAL VARIABLES WHERE Variable_name IN (${list})`)
  const variables = new Map(rows.map(([name, value]) => [name!.toLowerCase(), value ?? '']))
  const mariadb = /mariadb/i.test(version)
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  const number = major * 10_000 + minor * 100 + patch
  const collations = await connection.query(
    'SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL',
  )
  const snapshot = await connection.query(`SHOW STATUS LIKE 'binlog_snapshot_file'`)
  const gtidMode = variables.get('gtid_mode') === 'ON'
  const identity =
    variables.get('server_uuid') ||
    `${variables.get('server_id')}@${variables.get('hostname')}:${variables.get('port')}`
  return {
    mariadb,
    version,
    number,
    identity,
    cut: snapshot.length > 0 ? 'snapshot' : gtidMode ? 'gtid' : 'margin',
    gtids: mariadb || gtidMode,
    variables,
    collations: new Map(
      [...collations, ...(await applicableCollations(connection, mariadb))].map(([id, name, charset]) => [
        Number(id),
        { name: name!, charset: charset! },
      ]),
    ),
    statusSql: !mariadb && number >= STATUS_RENAMED ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS',
  }
}

/** MariaDB since 10.10 has collations that are one name for several character sets, numbered only there. */
async function applicableCollations(connection: MysqlConnection, mariadb: boolean): Promise<(string | null)[][]> {
  if (!mariadb) return []
  try {
    return await connection.query(
      'SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL',
    )
  } catch (error) {
    if (mysqlErrno(error) === MYSQL_ERROR.badField) return []
    throw error
  }
}

export interface LogPlace {
  readonly file: string
  readonly at: number
}

/** The end of the log: everything visible lies before it. */
export async function logEndOf(connection: MysqlConnection, { statusSql }: ServerFacts): Promise<LogPlace> {
  const [row] = await connection.query(statusSql)
  if (row === undefined) throw noBinlog()
  return { file: row[0]!, at: Number(row[1]) }
}

export function noBinlog(): TidemarkError {
  return new TidemarkError('mysql.not_ready', {
    message: 'log_bin: the server writes no binary log',
    fix: 'Start the server with --log-bin, on a managed service switch automated backups or the binary log on.',
  })
}

/** The number that orders the files of a log. */
export function fileNumber(file: string): number {
  return Number(/(\d+)$/.exec(file)?.[1] ?? 0)
}

/** Rule n: from pipeline and server, so that two pipelines of one server differ and a restart keeps it. */
export function readerId(pipeline: string, identity: string): { readonly serverId: number; readonly uuid: string } {
  const digest = createHash('sha256').update(`${identity}\0${pipeline}`).digest()
  const hex = digest.toString('hex', 4, 20)
  const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
  // High numbers: people give their servers low ones.
  return { serverId: 0x4000_0000 + (digest.readUInt32BE(0) & 0x3fff_ffff), uuid }
}
