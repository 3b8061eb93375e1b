/** Options of the postgres sink, and the connection that they describe. */
import { z } from 'zod'
import { duration } from '../../core/options.js'
import { CONNECT_TIMEOUT_MS_DEFAULT, type PgOptions, pgOptionsFromUrl, pgUrlProblem } from '../../drivers/postgres.js'

const PORT_DEFAULT = 5432
const COMMIT_TIMEOUT_MS_DEFAULT = 60_000
const FENCE_TIMEOUT_MS_DEFAULT = 10_000
const LOCK_TIMEOUT_MS_DEFAULT = 60_000
const DURATION_MS_MIN = 100
const DURATION_MS_MAX = 3_600_000
/** What the server shows of an application name. */
const APPLICATION_NAME_BYTES_MAX = 63

const limit = (fallbackMs: number, about: string) =>
  duration(DURATION_MS_MIN, DURATION_MS_MAX).default(fallbackMs).describe(about)

const text = (about: string) => z.string().min(1).optional().describe(about)

export const postgresSinkOptions = z
  .strictObject({
    url: z
      .string()
      .min(1)
      .superRefine((url, context) => {
        const why = pgUrlProblem(url)
        if (why !== null && url !== '') context.addIssue({ code: 'custom', message: `the url ${why}` })
      })
      .optional()
      .describe('The database to write to, `postgres://user:password@host:5432/database?sslmode=...`.'),
    hostname: text('Host of the server, instead of `url`.'),
    port: z.number().int().min(1).max(65_535).optional().describe(`Port of the server. Default: ${PORT_DEFAULT}.`),
    username: text('User to connect as. Default: postgres.'),
    password: z.string().optional().describe("The user's password."),
    database: text('Database to write to.'),
    sslmode: z
      .enum(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'])
      .optional()
      .describe('TLS, as in libpq. Default: prefer.'),
    sslrootcert: text('PEM file with the authorities to trust (default ~/.postgresql/root.crt if there), or system.'),
    sslcert: text('PEM file with the client certificate (default ~/.postgresql/postgresql.crt if there).'),
    sslkey: text('PEM file with its key, without a passphrase (default ~/.postgresql/postgresql.key).'),
    schema: text('The schema that all tables go to. Default: every table keeps the name of its own schema.'),
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
        'Whether existing targets may have foreign keys, triggers, rules, or unique constraints beside the key. Rows of different keys arrive out of order, so these can fail or act wrongly: allow only what cannot.',
      ),
    'connect.timeout': limit(CONNECT_TIMEOUT_MS_DEFAULT, 'How long connecting may take.'),
    'commit.timeout': limit(
      COMMIT_TIMEOUT_MS_DEFAULT,
      'How long a COMMIT may take. After that the connection is cut and the committed state is read back.',
    ),
    'fence.timeout': limit(
      FENCE_TIMEOUT_MS_DEFAULT,
      'How long to wait at the start for the open transaction of an earlier owner of the pipeline, before its backend is terminated.',
    ),
    'lock.timeout': limit(
      LOCK_TIMEOUT_MS_DEFAULT,
      'How long to wait for locks that others hold on target tables, before trying again from the last checkpoint.',
    ),
  })
  .superRefine((options, context) => {
    const { url, hostname, database } = options
    if (url === undefined && (hostname === undefined || database === undefined)) {
      context.addIssue({ code: 'custom', message: 'give `url`, or `hostname` and `database`' })
    }
    for (const name of ['hostname', 'port', 'username', 'password', 'database'] as const) {
      if (url === undefined || options[name] === undefined) continue
      context.addIssue({ code: 'custom', path: [name], message: `give either \`url\` or \`${name}\`` })
    }
  })

export type PostgresSinkOptions = z.output<typeof postgresSinkOptions>

export function pgOptions(options: PostgresSinkOptions, pipeline: string): PgOptions {
  const base: PgOptions = options.url
    ? pgOptionsFromUrl(options.url, 'sink.url')
    : {
        host: options.hostname!,
        port: options.port ?? PORT_DEFAULT,
        user: options.username ?? 'postgres',
        password: options.password,
        database: options.database!,
        connectTimeoutMs: options['connect.timeout'],
        applicationName: '',
      }
  return {
    ...base,
    sslmode: options.sslmode ?? base.sslmode,
    sslrootcert: options.sslrootcert ?? base.sslrootcert,
    sslcert: options.sslcert ?? base.sslcert,
    sslkey: options.sslkey ?? base.sslkey,
    applicationName: applicationName(pipeline),
  }
}

/** Cut at a character, so that the server does not cut inside one. */
function applicationName(pipeline: string): string {
  let name = `tidemark:${pipeline}`
  while (Buffer.byteLength(name) > APPLICATION_NAME_BYTES_MAX) name = name.slice(0, -1)
  return name
}
