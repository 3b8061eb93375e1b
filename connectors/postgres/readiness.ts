/** What must be true of server and tables before a pipeline can run; the same findings for `check` and for a start. */
import type { Finding } from '../../core/define.js'
import { type PgConnection, quoteIdent } from '../../drivers/postgres.js'
import type { CatalogTable, ServerFacts } from './catalog.js'
import type { PostgresOptions } from './options.js'
import { partitionIdentities, partitionsUnlogged } from './partitions.js'
import { tableName } from './plan.js'

const VERSION_MIN = 130_000

export const standby = {
  level: 'problem',
  subject: 'standby',
  message:
    'the server is a standby: its snapshots do not tell which transactions they show, so a copy could not be exact',
  fix: 'Connect to the primary.',
} as const satisfies Finding

export async function readiness(
  connection: PgConnection,
  options: PostgresOptions,
  server: ServerFacts,
  tables: readonly CatalogTable[],
): Promise<Finding[]> {
  return [
    ...(await serverReady(connection, server)),
    ...tables.flatMap((table) => tableReady(table, options)),
    ...(await partitionIdentities(connection, tables)),
    ...(await partitionsUnlogged(connection, options, tables)),
    ...(await grants(connection, tables)),
  ]
}

async function serverReady(connection: PgConnection, server: ServerFacts): Promise<Finding[]> {
  const found: Finding[] = []
  const [[level, recovery, replication, version, user]] = (await connection.query(
    `select current_setting('wal_level'), pg_is_in_recovery()::text, (select (rolreplication or rolsuper)::text from pg_roles where rolname = current_user),
      current_setting('server_version'), current_user`,
  )) as [[string, string, string, string, string]]
  found.push(
    server.version >= VERSION_MIN
      ? { level: 'ok', subject: 'version', message: `PostgreSQL ${version}` }
      : { level: 'problem', subject: 'version', message: `PostgreSQL ${version} is too old: 13 or later is needed` },
  )
  if (recovery === 'true') found.push(standby)
  found.push(
    level === 'logical'
      ? { level: 'ok', subject: 'wal_level', message: 'logical' }
      : {
          level: 'problem',
          subject: 'wal_level',
          message: `wal_level is ${level}; change data capture needs logical`,
          fix: 'ALTER SYSTEM SET wal_level = logical;  then restart the server. (Managed services: the rds.logical_replication or cloudsql.logical_decoding flag.)',
        },
  )
  if (replication !== 'true') {
    found.push({
      level: 'problem',
      subject: 'replication',
      message: `user ${user} may not replicate`,
      fix: `ALTER ROLE ${quoteIdent(user)} REPLICATION;`,
    })
  }
  return found
}

function tableReady(table: CatalogTable, options: PostgresOptions): Finding[] {
  const { id } = table.schema
  const name = tableName(table)
  const keyless = table.key.length === 0
  if (table.schema.columns.length === 0) {
    return [problem(id, 'the table has no columns that could be copied', 'Leave it out with tables.exclude.')]
  }
  if (!keyless && table.identity === 'n') {
    return [
      problem(
        id,
        'REPLICA IDENTITY is NOTHING, so updates and deletes carry no key',
        `ALTER TABLE ${name} REPLICA IDENTITY DEFAULT;`,
      ),
    ]
  }
  if (table.generatedDropped.length > 0 && options['generated.columns'] === 'refuse') {
    return [
      problem(
        id,
        `generated columns ${table.generatedDropped.join(', ')} are not in the log of this server version`,
        'Set generated.columns: compute or drop, or use PostgreSQL 18.',
      ),
    ]
  }
  const system = table.computed.find((column) => column.system)
  if (system) {
    const why = `generated column ${system.name} depends on tableoid, which no change carries`
    return [problem(id, why, 'Set generated.columns: drop, or leave the table out with tables.exclude.')]
  }
  if (keyless && options['no-primary-key'] === 'refuse') {
    const fullRow = `set no-primary-key: full-row and ALTER TABLE ${name} REPLICA IDENTITY FULL;`
    return [
      table.keyProblem === null
        ? problem(
            id,
            'the table has no primary key, so rows cannot be told apart',
            `ALTER TABLE ${name} ADD PRIMARY KEY (...);  or ${fullRow}`,
          )
        : problem(id, table.keyProblem, `Make another key the table's primary key (NOT DEFERRABLE), or ${fullRow}`),
    ]
  }
  if (keyless && table.identity !== 'f') {
    return [
      problem(
        id,
        'without a key, updates and deletes need the whole old row',
        `ALTER TABLE ${name} REPLICA IDENTITY FULL;`,
      ),
    ]
  }
  return []
}

async function grants(connection: PgConnection, tables: readonly CatalogTable[]): Promise<Finding[]> {
  if (tables.length === 0) return []
  const { user } = connection.options
  const rows = await connection.query(
    `select c.oid::text, has_table_privilege(c.oid, 'select')::text, has_schema_privilege(c.relnamespace, 'usage')::text,
      (has_table_privilege(c.oid, 'select') and row_security_active(c.oid))::text from pg_class c where c.oid = any($1::oid[])`,
    [tables.map((t) => `${t.oid}`)],
  )
  return tables.flatMap((table) => {
    const row = rows.find(([oid]) => Number(oid) === table.oid)
    const found: Finding[] = []
    if (row?.[2] === 'false') {
      found.push(
        problem(
          table.schema.id,
          `user ${user} may not use its schema`,
          `GRANT USAGE ON SCHEMA ${quoteIdent(table.schema.namespace)} TO ${quoteIdent(user)};`,
        ),
      )
    }
    if (row?.[3] === 'true') {
      found.push(
        problem(
          table.schema.id,
          `a row security policy hides rows from user ${user}, while the log shows all`,
          `ALTER ROLE ${quoteIdent(user)} BYPASSRLS;`,
        ),
      )
    }
    if (row?.[1] === 'false') {
      found.push(
        problem(
          table.schema.id,
          `user ${user} may not read it`,
          `GRANT SELECT ON ${tableName(table)} TO ${quoteIdent(user)};`,
        ),
      )
    }
    return found
  })
}

function problem(subject: string, message: string, fix: string): Finding {
  return { level: 'problem', subject, message, fix }
}

/** What the log does not show of partitioned tables (1.10 f), and what is done about it. */
export function partitionNotes(tables: readonly CatalogTable[], options: PostgresOptions): Finding[] {
  const roots = tables.filter((t) => t.kind === 'p').map((t) => t.schema.id)
  if (roots.length === 0) return []
  const what = `ATTACH with rows, DETACH, DROP and TRUNCATE of a single partition of ${roots.join(', ')} are not in the log`
  return options['table.partitions'] === 'ignore'
    ? [{ level: 'warning', subject: 'partitions', message: `${what} and are not copied, as table.partitions says` }]
    : [{ level: 'info', subject: 'partitions', message: `${what}: the pipeline stops at them; see table.partitions` }]
}
