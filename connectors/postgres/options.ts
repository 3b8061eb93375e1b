/** The options of the PostgreSQL source, under the names that Flink CDC's users know where it has one. */
import { z } from 'zod'
import { parseDurationMs } from '../../core/duration.js'
import { TidemarkError } from '../../core/errors.js'
import { tableLists, tablePatterns } from '../../core/options.js'
import { parseTablePatterns } from '../../core/table-pattern.js'
import { CONNECT_TIMEOUT_MS_DEFAULT, type PgOptions, pgOptionsFromUrl, pgUrlProblem } from '../../drivers/postgres.js'

const HEARTBEAT_MS_DEFAULT = 30_000
/** How long slot creation waits for transactions that were running before it. */
const SLOT_TIMEOUT_MS_DEFAULT = 300_000

/** Stays as it was written: the core reads the heartbeat's too. */
export const duration = () =>
  z.union([z.string(), z.number()]).superRefine((text, context) => {
    if (parseDurationMs(text) !== null) return
    context.addIssue({
      code: 'custom',
      message: `"${text}" is not a length of time. Write for example 500ms, 1s or 2min.`,
    })
  })

/** Connection options that every PostgreSQL connector takes. */
export const connectionShape = {
  url: z
    .string()
    .superRefine((url, context) => {
      const why = pgUrlProblem(url)
      if (why !== null) context.addIssue({ code: 'custom', message: `the url ${why}` })
    })
    .optional()
    .describe('postgres://user:password@host:5432/database?sslmode=...; instead of the single options.'),
  hostname: z.string().optional().describe('Host name or address of the server.'),
  port: z.number().int().min(1).max(65_535).optional().describe('Port of the server (default 5432).'),
  username: z.string().optional().describe('User to connect as.'),
  password: z.string().optional().describe('Password; better as ${VARIABLE} than in the file.'),
  database: z
    .string()
    .optional()
    .describe('Database to connect to. Not needed where every pattern of `tables` begins with its name.'),
  sslmode: z
    .enum(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'])
    .optional()
    .describe('TLS, as in libpq (default prefer).'),
  sslrootcert: z
    .string()
    .optional()
    .describe('PEM file with the authorities to trust (default ~/.postgresql/root.crt if there), or system.'),
  sslcert: z
    .string()
    .optional()
    .describe('PEM file with the client certificate (default ~/.postgresql/postgresql.crt if there).'),
  sslkey: z
    .string()
    .optional()
    .describe('PEM file with its key, without a passphrase (default ~/.postgresql/postgresql.key).'),
  'connect.timeout': duration().optional().describe('How long a connection may take to open (default 30s).'),
}

export type ConnectionOptions = { readonly [K in keyof typeof connectionShape]?: z.infer<(typeof connectionShape)[K]> }

type WithTables = ConnectionOptions & { readonly tables?: string | readonly string[] }

/** Files of Flink CDC have no `database`: each pattern of `tables` begins with the one that is meant. */
function databaseOf({ database, tables = [] }: WithTables): string | undefined {
  if (database !== undefined) return database
  const named = new Set(parseTablePatterns(tables).map((pattern) => pattern.database))
  const [only] = named
  return named.size === 1 ? (only ?? undefined) : undefined
}

/** Two answers to one question: which one counts would be a guess. */
function urlOrParts(options: WithTables, context: z.RefinementCtx): void {
  const { url, hostname, username } = options
  let database: string | undefined
  try {
    database = databaseOf(options)
  } catch {
    // A pattern that cannot be read is reported as such.
    return
  }
  if (url === undefined && (hostname === undefined || username === undefined || database === undefined)) {
    context.addIssue({ code: 'custom', message: 'give `url`, or `hostname`, `username`, `password` and `database`' })
  }
  for (const name of ['hostname', 'port', 'username', 'password', 'database'] as const) {
    if (url === undefined || options[name] === undefined) continue
    context.addIssue({ code: 'custom', path: [name], message: `give either \`url\` or \`${name}\`` })
  }
}

/** url or single options to what the driver takes; single options win over the url's parts. */
export function connectionOf(options: WithTables, at: string, applicationName: string): PgOptions {
  const database = options.url === undefined ? databaseOf(options) : options.database
  if (
    options.url === undefined &&
    (options.hostname === undefined || options.username === undefined || database === undefined)
  ) {
    throw new TidemarkError('config.invalid', {
      message: `${at} does not say where the server is`,
      fix: 'Give url: postgres://user:password@host:5432/database, or hostname, username, password and database.',
      at,
    })
  }
  const base = pgOptionsFromUrl(options.url ?? 'postgres://localhost', `${at}.url`)
  const timeout = options['connect.timeout']
  return {
    ...base,
    host: options.hostname ?? base.host,
    port: options.port ?? base.port,
    user: options.username ?? base.user,
    password: options.password ?? base.password,
    database: database ?? base.database,
    sslmode: options.sslmode ?? base.sslmode,
    sslrootcert: options.sslrootcert ?? base.sslrootcert,
    sslcert: options.sslcert ?? base.sslcert,
    sslkey: options.sslkey ?? base.sslkey,
    connectTimeoutMs:
      timeout === undefined ? base.connectTimeoutMs : (parseDurationMs(timeout) ?? CONNECT_TIMEOUT_MS_DEFAULT),
    applicationName,
  }
}

const options = z.strictObject({
  ...connectionShape,
  tables: tableLists().describe(
    'Tables to capture: schema.table, * and ? match any name, commas or a list for several; with \\. Flink syntax.',
  ),
  'tables.exclude': z
    .union([tablePatterns(), z.array(tablePatterns())])
    .optional()
    .describe('Tables to leave out, in the same syntax.'),
  'slot.name': z
    .string()
    .regex(/^[a-z0-9_]{1,63}$/, 'use only a-z, 0-9 and "_", at most 63 of them')
    .optional()
    .describe('Replication slot (default tidemark_<pipeline name>).'),
  'publication.name': z
    .string()
    .min(1)
    .max(63)
    .optional()
    .describe('An existing publication to use; by default one is made and kept.'),
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
  'no-primary-key': z
    .enum(['refuse', 'full-row'])
    .default('refuse')
    .describe(
      'Tables without a key. full-row: copied in one piece, changes matched by the whole old row (needs REPLICA IDENTITY FULL).',
    ),
  'generated.columns': z
    .enum(['drop', 'compute', 'refuse'])
    .default('drop')
    .describe(
      'Generated columns that the log leaves out: all before PostgreSQL 18, virtual ones since. drop: left out of rows and changes alike. compute: the server computes them from the values of each change, running their expressions as this user.',
    ),
  'table.rewrites': z
    .enum(['stop', 'ignore'])
    .default('stop')
    .describe(
      'DDL past the log on what was copied already: rows rewritten, a column replaced, an enum label renamed, the publication changed. ignore: targets need nothing of it.',
    ),
  'table.partitions': z
    .enum(['stop', 'ignore'])
    .default('stop')
    .describe(
      'Rows that come or go with a partition, in no log: ATTACH with rows, DETACH, DROP or TRUNCATE of it alone, UNLOGGED. ignore: targets need nothing of it. New empty partitions are always fine.',
    ),
  'heartbeat.interval': duration()
    .default(HEARTBEAT_MS_DEFAULT)
    .describe('How often the log position is moved on while captured tables are idle.'),
  'slot.create.timeout': duration()
    .default(SLOT_TIMEOUT_MS_DEFAULT)
    .describe('How long slot creation waits for older transactions before it stops and names them.'),
})

export const postgresOptions = options.superRefine(urlOrParts)

export type PostgresOptions = z.infer<typeof postgresOptions>
