/** `tidemark check`, `status` and `drop` for MySQL and MariaDB: on a connection of their own, and nothing is changed. */
import type { ConnectorContext, Finding } from '../../core/define.js'
import type { Abortable } from '../../core/source.js'
import { connectMysql, type MysqlConnection } from '../../drivers/mysql.js'
import { type CatalogTable, readTables } from './catalog.js'
import { keyColumns, mysqlKeyOrder } from './keys.js'
import { type MysqlSourceOptions, mysqlConnectionOf } from './options.js'
import { CHUNK_ROWS_HINT } from './plan.js'
import { cascades, problemsOf } from './readiness.js'
import { readServer, type ServerFacts } from './server.js'

type Context = ConnectorContext & Abortable

const DAY_S = 86_400
/** A log kept for less than this is easily gone before a pipeline comes back. */
const RETENTION_DAYS_MIN = 2

export async function checkMysql(options: MysqlSourceOptions, context: Context): Promise<Finding[]> {
  const where = mysqlConnectionOf(options, 'source', `tidemark ${context.pipeline}`)
  const connection = await connectMysql(where, { signal: context.signal })
  try {
    const server = await readServer(connection)
    const tables = await readTables(connection, options, server)
    return [
      {
        level: 'ok',
        subject: 'server',
        message: `${server.mariadb ? 'MariaDB' : 'MySQL'} ${server.version}; ${exactness(server)}`,
      },
      ...(await grants(connection, server)),
      ...problemsOf(server, tables),
      ...(await cascades(connection, server, tables, options)),
      ...retention(server),
      ...tables.map(describe),
    ]
  } finally {
    await connection.close()
  }
}

function exactness({ cut }: ServerFacts): string {
  switch (cut) {
    case 'gtid':
      return 'chunks are read above gtid_executed and completed from the log'
    case 'snapshot':
      return 'chunks are read at an exact place of the log'
    case 'margin':
      return 'chunks are read visibility.margin after their window opened: exact only while no commit takes longer to become visible'
  }
}

/** Rule n: what the user must be allowed. */
async function grants(connection: MysqlConnection, { mariadb, number }: ServerFacts): Promise<Finding[]> {
  const rows = await connection.query('SHOW GRANTS')
  const text = rows.map(([grant]) => grant!.toUpperCase()).join('\n')
  const everything = /GRANT ALL PRIVILEGES ON \*\.\*/.test(text)
  const monitor = mariadb && number >= 100_500 ? 'BINLOG MONITOR' : 'REPLICATION CLIENT'
  const missing = ['REPLICATION SLAVE', monitor].filter((privilege) => !everything && !text.includes(privilege))
  if (missing.length === 0)
    return [{ level: 'ok', subject: 'grants', message: `REPLICATION SLAVE and ${monitor} are there` }]
  const [[user]] = (await connection.query('SELECT CURRENT_USER()')) as [[string]]
  const [name, host] = user.split('@')
  return [
    {
      level: 'problem',
      subject: 'grants',
      message: `user ${user} lacks ${missing.join(' and ')}`,
      fix: `GRANT ${missing.join(', ')} ON *.* TO '${name}'@'${host}';`,
    },
  ]
}

function retention({ variables }: ServerFacts): Finding[] {
  const seconds =
    Number(variables.get('binlog_expire_logs_seconds') ?? 0) || Number(variables.get('expire_logs_days') ?? 0) * DAY_S
  if (seconds === 0) return [{ level: 'ok', subject: 'log retention', message: 'binary logs are not purged by age' }]
  const days = seconds / DAY_S
  if (days >= RETENTION_DAYS_MIN)
    return [{ level: 'ok', subject: 'log retention', message: `binary logs are kept for ${days.toFixed(1)} days` }]
  return [
    {
      level: 'warning',
      subject: 'log retention',
      message: `binary logs are kept for ${(seconds / 3600).toFixed(1)} hours: a pipeline that is stopped for longer must start anew`,
      fix: 'SET GLOBAL binlog_expire_logs_seconds = 604800;',
    },
  ]
}

function describe(table: CatalogTable): Finding {
  const { schema, rows, types } = table
  const key = schema.key.map((i) => `${schema.columns[i]!.name} ${types[i]!.type.native}`).join(', ')
  const count = rows === null ? 'unknown number of rows' : `about ${rows} rows`
  const chunks = rows === null ? '' : `, about ${Math.max(1, Math.ceil(rows / CHUNK_ROWS_HINT))} chunks`
  const located = mysqlKeyOrder(keyColumns(table)).located
    ? ' (ordered by the server); changes during the snapshot are placed by queries'
    : ''
  return { level: 'ok', subject: schema.id, message: `${count}${chunks}, key ${key}${located}` }
}

/** A binlog reader leaves nothing on the server. */
export async function statusMysql(_options: MysqlSourceOptions, _context: Context): Promise<Finding[]> {
  return []
}

export async function dropMysql(_options: MysqlSourceOptions, _context: Context): Promise<string[]> {
  return []
}
