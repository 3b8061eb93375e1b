/** `tidemark check`, `status` and `drop` for PostgreSQL: everything on a connection of their own, nothing changed but by drop. */
import type { ConnectorContext, Finding } from '../../core/define.js'
import type { Abortable } from '../../core/source.js'
import { connectPg, type PgConnection, quoteIdent } from '../../drivers/postgres.js'
import { type CatalogTable, readTables, type ServerFacts } from './catalog.js'
import { idleExcludes } from './chosen-tables.js'
import { keyKind, keyOrder } from './keys.js'
import { connectionOf, type PostgresOptions } from './options.js'
import { CHUNK_ROWS_HINT, tableName } from './plan.js'
import { createSql, readPublication, ruleNote } from './publication.js'
import { removeLeftovers } from './publication-owner.js'
import { partitionNotes, readiness } from './readiness.js'
import { applicationName, dropSlot, ownedName, serverFacts, slotBlockers } from './setup.js'

/** `drop` gives a process that is just ending this long to let go of the slot. */
const DROP_WAIT_MS_MAX = 3_000

type Context = ConnectorContext & Abortable

async function connected<T>(
  options: PostgresOptions,
  { pipeline, signal }: Context,
  work: (c: PgConnection) => Promise<T>,
): Promise<T> {
  const connection = await connectPg(connectionOf(options, 'source', applicationName(pipeline)), { signal })
  try {
    return await work(connection)
  } finally {
    await connection.close()
  }
}

export function checkPostgres(options: PostgresOptions, context: Context): Promise<Finding[]> {
  return connected(options, context, async (connection) => {
    const server = await serverFacts(connection)
    const tables = await readTables(connection, options, server)
    return [
      ...(await readiness(connection, options, server, tables)),
      ...(await room(connection)),
      ...(await publication(connection, options, server, context.pipeline, tables)),
      ...(await waits(connection)),
      ...tables.map(describe),
      ...tables.flatMap(unsentInputs),
      ...(await idleExcludes(connection, options)),
      ...(await slot(connection, options, context.pipeline)),
    ]
  })
}

export function statusPostgres(options: PostgresOptions, context: Context): Promise<Finding[]> {
  return connected(options, context, (connection) => slot(connection, options, context.pipeline))
}

/** The slot first: while somebody reads it, the pipeline stays whole. */
export function dropPostgres(options: PostgresOptions, context: Context): Promise<string[]> {
  return connected(options, context, async (connection) => {
    const { pipeline, signal } = context
    const lines: string[] = []
    const name = options['slot.name'] ?? ownedName(pipeline)
    if (await dropSlot(connection, name, { signal, waitMs: DROP_WAIT_MS_MAX })) lines.push(`replication slot ${name}`)
    if (options['publication.name'] !== undefined) return lines
    const made = ownedName(pipeline)
    const [exists] = await connection.query('select 1 from pg_publication where pubname = $1', [made])
    if (exists !== undefined) await connection.query(`drop publication ${quoteIdent(made)}`)
    const removed = [...(exists === undefined ? [] : [made]), ...(await removeLeftovers(connection, pipeline))]
    return [...lines, ...removed.map((publication) => `publication ${publication}`)]
  })
}

/** Slots and WAL senders that are free. */
async function room(connection: PgConnection): Promise<Finding[]> {
  const [[slots, slotsMax, senders, sendersMax]] = (await connection.query(
    `select (select count(*)::text from pg_replication_slots), current_setting('max_replication_slots'),
      (select count(*)::text from pg_stat_replication), current_setting('max_wal_senders')`,
  )) as [[string, string, string, string]]
  const one = (subject: string, used: string, max: string): Finding =>
    Number(used) < Number(max)
      ? { level: 'ok', subject, message: `${used} of ${max} used` }
      : {
          level: 'problem',
          subject,
          message: `all ${max} are used`,
          fix: `ALTER SYSTEM SET ${subject} = ${Number(max) + 10};  then restart the server.`,
        }
  return [one('max_replication_slots', slots, slotsMax), one('max_wal_senders', senders, sendersMax)]
}

async function publication(
  connection: PgConnection,
  options: PostgresOptions,
  server: ServerFacts,
  pipeline: string,
  tables: readonly CatalogTable[],
): Promise<Finding[]> {
  const given = options['publication.name'] !== undefined
  const name = options['publication.name'] ?? ownedName(pipeline)
  const found = await readPublication(connection, { name, tables, server })
  const make = createSql({ name, tables, server })
  const rule: Finding[] = found?.rule ? [{ level: 'warning', subject: 'publication', message: ruleNote(name) }] : []
  const one = (level: Finding['level'], message: string, fix?: string): Finding[] => [
    { level, subject: 'publication', message, ...(fix === undefined ? {} : { fix }) },
    ...rule,
    ...partitionNotes(tables, options),
  ]
  if (found?.problem) return one('problem', `${name} ${found.problem.why}`, found.problem.fix)
  if (found && given && found.missing.length > 0) {
    const list = found.missing.map(tableName).join(', ')
    return one('problem', `${name} lacks ${list}`, `ALTER PUBLICATION ${quoteIdent(name)} ADD TABLE ${list};`)
  }
  if (found) return one('ok', `${name} exists; its tables are brought up to date at the start`)
  if (given) return one('problem', `${name} does not exist`, make)
  const [owner] = await connection.query(
    `select (has_database_privilege(current_database(), 'create'))::text, (select bool_and(pg_has_role(c.relowner, 'usage'))::text from pg_class c where c.oid = any($1::oid[]))`,
    [tables.map((t) => `${t.oid}`)],
  )
  if (owner?.[0] === 'true' && owner[1] === 'true') return one('ok', `${name} will be made for ${tables.length} tables`)
  const message = `user ${connection.options.user} may not make publication ${name}: it must own the tables and may CREATE in the database`
  return one('problem', message, `As the tables' owner: ${make} and set publication.name: ${name}`)
}

async function waits(connection: PgConnection): Promise<Finding[]> {
  const blockers = await slotBlockers(connection)
  return blockers.map((who) => ({
    level: 'warning',
    subject: 'open transaction',
    message: `a first start waits until it ends: ${who}`,
  }))
}

function describe(table: CatalogTable): Finding {
  const rows =
    table.rows === null
      ? 'unknown number of rows (ANALYZE it for progress and ETA)'
      : `about ${Math.round(table.rows)} rows`
  const chunks =
    table.rows === null || table.key.length === 0
      ? ''
      : `, about ${Math.max(1, Math.ceil(table.rows / CHUNK_ROWS_HINT))} chunks`
  const key = table.key.length === 0 ? 'no key: copied in one piece' : `key ${keyKind(table.key)}`
  const identity = { d: 'default', f: 'full', i: 'index', n: 'nothing' }[table.identity] ?? table.identity
  const slower =
    keyOrder(table.key).located && table.key.length > 0 ? '; changes during the snapshot are placed by queries' : ''
  const { generatedDropped, computed } = table
  const left = generatedDropped.length > 0 ? `; generated columns ${generatedDropped.join(', ')} are left out` : ''
  const made = computed.length > 0 ? `; generated columns ${computed.map((c) => c.name).join(', ')} are computed` : ''
  return {
    level: 'ok',
    subject: table.schema.id,
    message: `${rows}${chunks}, ${key}, replica identity ${identity}${slower}${left}${made}`,
  }
}

/** Computed columns that an update can leave uncomputable, which stops the pipeline. */
function unsentInputs(table: CatalogTable): Finding[] {
  const exposed = table.identity === 'f' ? [] : table.computed.filter(({ inputs }) => inputs.length > 1)
  return exposed.flatMap(({ name, inputs }) => {
    const long = inputs.find((input) => input.long)
    if (long === undefined) return []
    const message = `generated column ${name} cannot be computed from an update that leaves a long value of ${long.name} as it was`
    return [
      {
        level: 'warning',
        subject: table.schema.id,
        message,
        fix: `ALTER TABLE ${tableName(table)} REPLICA IDENTITY FULL;`,
      },
    ]
  })
}

async function slot(connection: PgConnection, options: PostgresOptions, pipeline: string): Promise<Finding[]> {
  const name = options['slot.name'] ?? ownedName(pipeline)
  const [row] = await connection.query(
    `select active::text, active_pid::text, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), confirmed_flush_lsn::text, wal_status
     from pg_replication_slots where slot_name = $1`,
    [name],
  )
  if (row === undefined) return [{ level: 'ok', subject: 'slot', message: `${name} does not exist yet` }]
  const [active, pid, held, confirmed, status] = row
  const message = `${name} holds ${held} of WAL, confirmed up to ${confirmed}, ${active === 'true' ? `in use by pid ${pid}` : 'not in use'}`
  if (status === 'lost')
    return [{ level: 'problem', subject: 'slot', message: `${name} was invalidated: its WAL was removed` }]
  return [{ level: 'info', subject: 'slot', message }, ...(await failover(connection, name))]
}

/** What would stop the pipeline after a failover (1.10 k). Nothing before PostgreSQL 17, where every failover does. */
async function failover(connection: PgConnection, name: string): Promise<Finding[]> {
  const [row] = await connection.query(
    `select to_jsonb(s)->>'failover', current_setting('synchronized_standby_slots', true),
      (select string_agg(quote_ident(slot_name), ', ' order by slot_name) from pg_replication_slots where slot_type = 'physical')
     from pg_replication_slots s where slot_name = $1`,
    [name],
  )
  const [survives, waits, standbys] = row ?? []
  const info = (message: string, fix: string): Finding[] => [{ level: 'info', subject: 'failover', message, fix }]
  if (survives === 'false') {
    const fix = `As the replication user, in psql "replication=database ...": ALTER_REPLICATION_SLOT ${quoteIdent(name)} (FAILOVER true);`
    return info(`${name} is not a failover slot, so a failover of the server ends the pipeline`, fix)
  }
  if (survives !== 'true' || !standbys || waits !== '') return []
  return info(
    'changes may reach the targets before a standby has them; after a failover to such a standby the pipeline stops',
    `ALTER SYSTEM SET synchronized_standby_slots = '${standbys}'; SELECT pg_reload_conf();  (of these slots, the standbys that may be promoted)`,
  )
}
