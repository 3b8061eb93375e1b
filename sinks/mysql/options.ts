/** Options of the mysql sink, and the connection that they describe. */
import { z } from 'zod'
import { duration } from '../../core/options.js'
import {
  MYSQL_CONNECT_TIMEOUT_MS_DEFAULT,
  MYSQL_PORT_DEFAULT,
  MYSQL_SSL_MODES,
  type MysqlOptions,
  mysqlOptionsFromUrl,
  mysqlUrlProblem,
} from '../../drivers/mysql.js'

const COMMIT_TIMEOUT_MS_DEFAULT = 60_000
const FENCE_TIMEOUT_MS_DEFAULT = 10_000
const LOCK_TIMEOUT_MS_DEFAULT = 60_000
const DURATION_MS_MIN = 100
const DURATION_MS_MAX = 3_600_000
export const STATE_DATABASE_DEFAULT = 'tidemark'

const limit = (fallbackMs: number, about: string) =>
  duration(DURATION_MS_MIN, DURATION_MS_MAX).default(fallbackMs).describe(about)

const text = (about: string) => z.string().min(1).optional().describe(about)

export const mysqlSinkOptions = z
  .strictObject({
    url: z
      .string()
      .min(1)
      .superRefine((url, context) => {
        const why = mysqlUrlProblem(url)
        if (why !== null && url !== '') context.addIssue({ code: 'custom', message: `the url ${why}` })
      })
      .optional()
      .describe('The server to write to, `mysql://user:password@host:3306/database?ssl-mode=...`.'),
    hostname: text('Host of the server, instead of `url`.'),
    port: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .optional()
      .describe(`Port of the server. Default: ${MYSQL_PORT_DEFAULT}.`),
    username: text('User to connect as. Default: root.'),
    password: z.string().optional().describe("The user's password."),
    database: text(
      'The database that all tables go to. Default: that of `url`; without one every table goes to the database that has the name of its own schema or database.',
    ),
    'ssl-mode': z
      .enum(MYSQL_SSL_MODES)
      .optional()
      .describe(
        'TLS as the mysql client has it. Default: preferred, which verifies nothing. verify-identity checks the host name.',
      ),
    'ssl-ca': text('PEM file with the authorities to trust (default: those of Node).'),
    'ssl-cert': text('PEM file with the client certificate.'),
    'ssl-key': text('PEM file with its key.'),
    'state.database': z
      .string()
      .min(1)
      .default(STATE_DATABASE_DEFAULT)
      .describe('The database that holds the table of checkpoints; made where the user may and it is absent.'),
    existing: z
      .enum(['refuse', 'upsert', 'truncate'])
      .default('refuse')
      .describe(
        'What to do on a first start when a target holds rows: refuse to start, write over rows with the same key and keep the others (upsert), or empty it first (truncate).',
      ),
    'target.constraints': z
      .enum(['refuse', 'allow'])
      .default('refuse')
      .describe(
        'Whether existing targets may have triggers, or unique constraints beside the key. Rows of different keys arrive out of order, so these can fail or act wrongly: allow only what cannot.',
      ),
    'connect.timeout': limit(MYSQL_CONNECT_TIMEOUT_MS_DEFAULT, 'How long connecting may take.'),
    'commit.timeout': limit(
      COMMIT_TIMEOUT_MS_DEFAULT,
      'How long a COMMIT may take. After that the connection is cut and the committed state is read back.',
    ),
    'fence.timeout': limit(
      FENCE_TIMEOUT_MS_DEFAULT,
      'How long to wait at the start for the open transaction of an earlier owner of the pipeline, before its connection is killed. Whole seconds.',
    ),
    'lock.timeout': limit(
      LOCK_TIMEOUT_MS_DEFAULT,
      'How long to wait for locks that others hold on target rows and tables, before trying again from the last checkpoint. Whole seconds.',
    ),
  })
  .superRefine((options, context) => {
    const { url, hostname } = options
    if (url === undefined && hostname === undefined) {
      context.addIssue({ code: 'custom', message: 'give `url` or `hostname`' })
    }
    for (const name of ['hostname', 'port', 'username', 'password'] as const) {
      if (url === undefined || options[name] === undefined) continue
      context.addIssue({ code: 'custom', path: [name], message: `give either \`url\` or \`${name}\`` })
    }
  })

export type MysqlSinkOptions = z.output<typeof mysqlSinkOptions>

export function connectionOf(options: MysqlSinkOptions, pipeline: string): MysqlOptions {
  const base: MysqlOptions = options.url
    ? mysqlOptionsFromUrl(options.url, 'sink.url')
    : {
        host: options.hostname!,
        port: options.port ?? MYSQL_PORT_DEFAULT,
        user: options.username ?? 'root',
        password: options.password,
        sslMode: 'preferred',
        sslCa: undefined,
        sslCert: undefined,
        sslKey: undefined,
        connectTimeoutMs: 0,
        program: '',
      }
  return {
    ...base,
    sslMode: options['ssl-mode'] ?? base.sslMode,
    sslCa: options['ssl-ca'] ?? base.sslCa,
    sslCert: options['ssl-cert'] ?? base.sslCert,
    sslKey: options['ssl-key'] ?? base.sslKey,
    connectTimeoutMs: options['connect.timeout'],
    program: `tidemark:${pipeline}`,
  }
}

/** The one database that all tables go to, null: each goes to its own. */
export function targetDatabase({ url, database }: MysqlSinkOptions): string | null {
  return database ?? (url === undefined ? null : (mysqlOptionsFromUrl(url, 'sink.url').database ?? null))
}
