/** The options of the MySQL and MariaDB source, under the names that Flink CDC's users know where it has one. */
import { z } from 'zod'
import { parseDurationMs } from '../../core/duration.js'
import { TidemarkError } from '../../core/errors.js'
import { duration, tableLists, tablePatterns } from '../../core/options.js'
import {
  MYSQL_CONNECT_TIMEOUT_MS_DEFAULT,
  MYSQL_PORT_DEFAULT,
  MYSQL_SSL_MODES,
  type MysqlOptions,
  mysqlOptionsFromUrl,
  mysqlUrlProblem,
} from '../../drivers/mysql.js'

const HEARTBEAT_MS_DEFAULT = 30_000
const MARGIN_MS_DEFAULT = 1_000
const MARGIN_MS_MAX = 3_600_000
const CONNECT_MS_MAX = 600_000
const SERVER_ID_MAX = 4_294_967_295

const options = z.strictObject({
  url: z
    .string()
    .superRefine((url, context) => {
      const why = mysqlUrlProblem(url)
      if (why !== null) context.addIssue({ code: 'custom', message: `the url ${why}` })
    })
    .optional()
    .describe('mysql://user:password@host:3306?ssl-mode=...; instead of the single options.'),
  hostname: z.string().optional().describe('Host name or address of the server.'),
  port: z.number().int().min(1).max(65_535).optional().describe('Port of the server (default 3306).'),
  username: z.string().optional().describe('User to connect as.'),
  password: z.string().optional().describe('Password; better as ${VARIABLE} than in the file.'),
  'ssl-mode': z
    .enum(MYSQL_SSL_MODES)
    .optional()
    .describe(
      'TLS as the mysql client has it (default preferred: without verification). verify-identity checks the host name.',
    ),
  'ssl-ca': z.string().optional().describe('PEM file with the authorities to trust (default: those of Node).'),
  'ssl-cert': z.string().optional().describe('PEM file with the client certificate.'),
  'ssl-key': z.string().optional().describe('PEM file with its key.'),
  'connect.timeout': duration(100, CONNECT_MS_MAX)
    .optional()
    .describe('How long a connection may take to open (default 30s).'),
  tables: tableLists().describe(
    'Tables to capture: database.table, * and ? match any name, commas or a list for several; with \\. Flink syntax.',
  ),
  'tables.exclude': z
    .union([tablePatterns(), z.array(tablePatterns())])
    .optional()
    .describe('Tables to leave out, in the same syntax.'),
  'server-id': z
    .number()
    .int()
    .min(1)
    .max(SERVER_ID_MAX)
    .optional()
    .describe(
      'server_id of the binlog reader, unique among all replicas (default: from the pipeline name and the server).',
    ),
  'scan.startup.mode': z
    .enum(['initial', 'latest-offset', 'snapshot'])
    .default('initial')
    .describe('initial: existing rows, then changes. latest-offset: changes only. snapshot: existing rows, then done.'),
  'scan.incremental.snapshot.chunk.size': z
    .number()
    .int()
    .min(100)
    .max(10_000_000)
    .optional()
    .describe('Rows that one chunk aims at (default 100000, fewer when rows are large).'),
  'visibility.margin': duration(0, MARGIN_MS_MAX)
    .default(MARGIN_MS_DEFAULT)
    .describe(
      'MySQL without GTID: how long a transaction may be in the binlog before every SELECT shows it. Longer than rpl_semi_sync_source_timeout and binlog_group_commit_sync_delay together.',
    ),
  'table.rewrites': z
    .enum(['stop', 'ignore'])
    .default('stop')
    .describe(
      'DDL on what was copied already that no row event shows: partitions, tablespaces, columns added with a value that is not known. ignore: targets need nothing of it.',
    ),
  'foreign-key.cascade': z
    .enum(['refuse', 'ignore'])
    .default('refuse')
    .describe(
      'Captured tables whose rows a foreign key deletes or changes without a trace in the log (MariaDB, MySQL before 9.6). ignore: targets need nothing of it.',
    ),
  'heartbeat.interval': z
    .union([z.string(), z.number()])
    .superRefine((text, context) => {
      if (parseDurationMs(text) === null)
        context.addIssue({
          code: 'custom',
          message: `"${text}" is not a length of time. Write for example 500ms, 1s or 2min.`,
        })
    })
    .default(HEARTBEAT_MS_DEFAULT)
    .describe('How often the source is looked at while captured tables are idle.'),
})

export const mysqlOptions = options.superRefine((given, context) => {
  const { url, hostname, username } = given
  if (url === undefined && (hostname === undefined || username === undefined)) {
    context.addIssue({ code: 'custom', message: 'give `url`, or `hostname`, `username` and `password`' })
  }
  for (const name of ['hostname', 'port', 'username', 'password'] as const) {
    if (url === undefined || given[name] === undefined) continue
    context.addIssue({ code: 'custom', path: [name], message: `give either \`url\` or \`${name}\`` })
  }
})

export type MysqlSourceOptions = z.infer<typeof mysqlOptions>

/** url or single options to what the driver takes. */
export function mysqlConnectionOf(options: MysqlSourceOptions, at: string, program: string): MysqlOptions {
  const base = options.url === undefined ? null : mysqlOptionsFromUrl(options.url, `${at}.url`)
  const host = base?.host ?? options.hostname
  const user = base?.user ?? options.username
  if (host === undefined || user === undefined) {
    throw new TidemarkError('config.invalid', {
      message: `${at} does not say where the server is`,
      fix: 'Give url: mysql://user:password@host:3306, or hostname, username and password.',
      at,
    })
  }
  return {
    host,
    user,
    port: base?.port ?? options.port ?? MYSQL_PORT_DEFAULT,
    password: base?.password ?? options.password,
    sslMode: options['ssl-mode'] ?? base?.sslMode ?? 'preferred',
    sslCa: options['ssl-ca'] ?? base?.sslCa,
    sslCert: options['ssl-cert'] ?? base?.sslCert,
    sslKey: options['ssl-key'] ?? base?.sslKey,
    connectTimeoutMs: options['connect.timeout'] ?? MYSQL_CONNECT_TIMEOUT_MS_DEFAULT,
    program,
  }
}
