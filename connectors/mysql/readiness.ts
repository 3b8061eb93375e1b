/** What capture needs of the server and its tables, with the SQL for whatever is missing. */
import type { Finding } from '../../core/define.js'
import { type MysqlConnection, quoteMysqlName } from '../../drivers/mysql.js'
import { type CatalogTable, tableSql } from './catalog.js'
import { keyColumns, unusableKey } from './keys.js'
import type { MysqlSourceOptions } from './options.js'
import type { ServerFacts } from './server.js'

/** Since 9.6 the server itself cascades, above the engine, and logs what it does. */
const CASCADES_LOGGED_SINCE = 90_600
/** As the server prints them: name, parent, rule. */
const TRACELESS =
  /CONSTRAINT `((?:[^`]|``)+)` FOREIGN KEY \([^)]*\) REFERENCES ((?:`[^`]+`\.)?`[^`]+`) \([^)]*\)[^,\n]*?(ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT))/g

/** Rule e: rows of captured tables that a foreign key changes below the log. */
export async function cascades(
  connection: MysqlConnection,
  server: ServerFacts,
  tables: readonly CatalogTable[],
  options: Pick<MysqlSourceOptions, 'foreign-key.cascade'>,
): Promise<Finding[]> {
  const { mariadb, number, variables } = server
  if (!mariadb && number >= CASCADES_LOGGED_SINCE && variables.get('innodb_native_foreign_keys') !== 'ON') return []
  const level = options['foreign-key.cascade'] === 'ignore' ? 'warning' : 'problem'
  const findings: Finding[] = []
  for (const { schema } of tables) {
    // information_schema shows constraints only to users who may change the table.
    const [row] = await connection.query(`SHOW CREATE TABLE ${tableSql(schema)}`)
    for (const [, constraint, parent, rule] of (row?.[1] ?? '').matchAll(TRACELESS)) {
      findings.push({
        level,
        subject: schema.id,
        message: `foreign key ${constraint} to ${parent} is ${rule}, and this server does not log the rows that it changes by it`,
        fix: `ALTER TABLE ${tableSql(schema)} DROP FOREIGN KEY ${quoteMysqlName(constraint!)};  (and add it again with RESTRICT), or foreign-key.cascade: ignore where targets may keep such rows`,
      })
    }
  }
  return findings
}

export function problemsOf(server: ServerFacts, tables: readonly CatalogTable[]): Finding[] {
  return [...serverProblems(server), ...tables.flatMap((table) => tableProblems(server, table))]
}

function serverProblems({ variables, mariadb }: ServerFacts): Finding[] {
  const findings: Finding[] = []
  const value = (name: string) => variables.get(name)
  const problem = (subject: string, message: string, fix: string) =>
    findings.push({ level: 'problem', subject, message, fix })
  const warning = (subject: string, message: string, fix: string) =>
    findings.push({ level: 'warning', subject, message, fix })
  if (value('log_bin') !== 'ON') {
    problem(
      'log_bin',
      'the server writes no binary log',
      'Start the server with --log-bin and a --server-id. On a managed service switch automated backups (RDS) or the log_bin flag on.',
    )
    return findings
  }
  if (value('binlog_format') !== undefined && value('binlog_format') !== 'ROW') {
    problem(
      'binlog_format',
      `it is ${value('binlog_format')}, so the log has statements instead of rows`,
      'SET GLOBAL binlog_format = ROW; and let sessions reconnect. On RDS and Cloud SQL set it in the parameter group or as a flag.',
    )
  }
  if (value('server_id') === '0') problem('server_id', 'it is 0, which allows no readers', 'SET GLOBAL server_id = 1;')
  const image = value('binlog_row_image')
  if (image !== undefined && !/^FULL/.test(image)) {
    warning(
      'binlog_row_image',
      `it is ${image}: updates carry only some columns, which only sinks that keep the others can take`,
      'SET GLOBAL binlog_row_image = FULL; and let sessions reconnect.',
    )
  }
  if (value('binlog_row_value_options')) {
    problem(
      'binlog_row_value_options',
      'updates of JSON are logged in parts',
      "SET GLOBAL binlog_row_value_options = ''; and let sessions reconnect.",
    )
  }
  const metadata = value('binlog_row_metadata')
  if (metadata !== 'FULL') {
    const what = metadata === undefined ? 'the server has no binlog_row_metadata' : `it is ${metadata}`
    warning(
      'binlog_row_metadata',
      `${what}, so rows do not name their columns: DDL on a captured table stops the pipeline`,
      metadata === undefined
        ? 'Nothing can be set; upgrade, or stop the pipeline caught up around DDL.'
        : 'SET GLOBAL binlog_row_metadata = FULL;',
    )
  }
  if (value('binlog_order_commits') === 'OFF') {
    problem(
      'binlog_order_commits',
      'commits become visible out of the order of the log',
      'SET GLOBAL binlog_order_commits = ON;',
    )
  }
  if (!mariadb && value('gtid_mode') !== 'ON') {
    warning(
      'gtid_mode',
      `it is ${value('gtid_mode') ?? 'unknown to this server'}: what a SELECT shows is known only by waiting visibility.margin, and a failover cannot be followed`,
      'SET GLOBAL enforce_gtid_consistency = ON; then gtid_mode = OFF_PERMISSIVE, ON_PERMISSIVE, ON, one after the other.',
    )
  }
  for (const name of ['sync_binlog', 'innodb_flush_log_at_trx_commit']) {
    if (value(name) === undefined || value(name) === '1') continue
    warning(
      name,
      `it is ${value(name)}: after a crash of the server's host, rows that were copied may be gone there`,
      `SET GLOBAL ${name} = 1;`,
    )
  }
  return findings
}

function tableProblems(server: ServerFacts, table: CatalogTable): Finding[] {
  const { schema, engine } = table
  const problem = (message: string, fix: string): Finding[] => [{ level: 'problem', subject: schema.id, message, fix }]
  if (schema.key.length === 0) {
    return problem(
      'it has no primary key and no unique index on columns that are NOT NULL',
      `ALTER TABLE ${tableSql(schema)} ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY INVISIBLE;  (or leave it out with tables.exclude)`,
    )
  }
  const odd = unusableKey(keyColumns(table))
  if (odd !== undefined) {
    return problem(
      `its key has column ${odd.name} of type ${odd.column.type.native}, whose values cannot be compared exactly`,
      'Give it another primary key, or leave the table out with tables.exclude.',
    )
  }
  if (server.cut === 'snapshot' && !/^(innodb|rocksdb)$/i.test(engine)) {
    return problem(
      `its engine ${engine} has no snapshots, so its rows cannot be told from later ones`,
      `ALTER TABLE ${tableSql(schema)} ENGINE = InnoDB;  (or leave it out with tables.exclude)`,
    )
  }
  return []
}
