/** `tidemark check` of the postgres sink: each problem with the SQL that fixes it. */
import type { Finding, SinkDefinition } from '../../core/define.js'
import { isAbort, TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'
import { connectPg, type PgConnection, quoteIdent } from '../../drivers/postgres.js'
import { type PostgresSinkOptions, pgOptions } from './options.js'
import { ADD_TARGETS, hasTargets, readState, STATE_SCHEMA, STATE_TABLE, stateExists } from './state.js'
import { type CapturedSource, Targets } from './targets.js'

export async function checkPostgresSink(
  options: PostgresSinkOptions,
  { pipeline, signal, tables, source }: Parameters<SinkDefinition['check']>[1],
): Promise<Finding[]> {
  let connection: PgConnection
  try {
    connection = await connectPg(pgOptions(options, pipeline), { signal })
  } catch (error) {
    if (isAbort(error, signal) || !(error instanceof TidemarkError)) throw error
    return [{ level: 'problem', subject: 'connection', message: error.message, ...fixOf(error.fix) }]
  }
  try {
    const findings = [...(await server(connection)), ...(await state(connection, pipeline))]
    const known = (await readable(connection)) ? await readState(connection, pipeline) : null
    const where = new Targets(connection, options, { pipeline, saved: known?.targets ?? null })
    const started = known !== null && known.checkpoint !== null
    if (tables) findings.push(...(await targets(connection, where, { tables, source: source ?? null, started })))
    findings.push({
      level: 'info',
      subject: 'guarantee',
      message: 'exactly-once: rows and checkpoint are committed in one transaction',
    })
    return findings
  } finally {
    await connection.close()
  }
}

async function server(connection: PgConnection): Promise<Finding[]> {
  const [row] = await connection.query(
    `SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('fsync'),
       current_setting('full_page_writes'), current_user`,
  )
  const [version, standby, fsync, fullPages] = row!
  const { host, port, database } = connection.options
  const findings: Finding[] = [
    { level: 'ok', subject: 'connection', message: `PostgreSQL ${version} at ${host}:${port}/${database}` },
  ]
  if (standby === 't') {
    const fix = 'Give the sink the address of the primary.'
    findings.push({ level: 'problem', subject: 'server', message: 'it is a standby, which takes no writes', fix })
  }
  for (const [name, value] of [
    ['fsync', fsync],
    ['full_page_writes', fullPages],
  ]) {
    if (value === 'on') continue
    findings.push({
      level: 'warning',
      subject: name!,
      message: 'is off: a crash of the server can lose rows that the source was told to forget',
      fix: `ALTER SYSTEM SET ${name} = on; SELECT pg_reload_conf();`,
    })
  }
  return findings
}

async function readable(connection: PgConnection): Promise<boolean> {
  if (!(await stateExists(connection))) return false
  const [row] = await connection.query(
    `SELECT has_schema_privilege('${STATE_SCHEMA}', 'USAGE') AND has_table_privilege('${STATE_TABLE}', 'SELECT')`,
  )
  return row![0] === 't'
}

async function state(connection: PgConnection, pipeline: string): Promise<Finding[]> {
  const user = quoteIdent(connection.options.user)
  if (!(await stateExists(connection))) {
    const [row] = await connection.query(
      `SELECT has_database_privilege(current_database(), 'CREATE')
         OR COALESCE((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = '${STATE_SCHEMA}'), false)`,
    )
    if (row![0] === 't') return [{ level: 'ok', subject: STATE_TABLE, message: 'will be created at the first start' }]
    const fix = `GRANT CREATE ON DATABASE ${quoteIdent(connection.options.database)} TO ${user};`
    const message = 'does not exist and this user may not create it'
    return [{ level: 'problem', subject: STATE_TABLE, message, fix }]
  }
  const [row] = await connection.query(
    `SELECT has_schema_privilege('${STATE_SCHEMA}', 'USAGE'),
       has_table_privilege('${STATE_TABLE}', 'SELECT') AND has_table_privilege('${STATE_TABLE}', 'INSERT')
         AND has_table_privilege('${STATE_TABLE}', 'UPDATE') AND has_table_privilege('${STATE_TABLE}', 'DELETE')`,
  )
  if (row![0] !== 't' || row![1] !== 't') {
    const fix = `GRANT USAGE ON SCHEMA ${STATE_SCHEMA} TO ${user}; GRANT SELECT, INSERT, UPDATE, DELETE ON ${STATE_TABLE} TO ${user};`
    return [{ level: 'problem', subject: STATE_TABLE, message: 'this user may not use it', fix }]
  }
  if (!(await hasTargets(connection))) {
    const [owner] = await connection.query(
      `SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = '${STATE_TABLE}'::regclass`,
    )
    const message = 'was made by an earlier version, and this user may not add a column to it'
    const fix = `As its owner: ${ADD_TARGETS};`
    if (owner![0] !== 't') return [{ level: 'problem', subject: STATE_TABLE, message, fix }]
  }
  const { checkpoint } = await readState(connection, pipeline)
  const message =
    checkpoint === null ? 'holds no checkpoint of this pipeline yet' : 'holds a checkpoint of this pipeline'
  return [{ level: 'ok', subject: STATE_TABLE, message }]
}

async function targets(
  connection: PgConnection,
  where: Targets,
  {
    tables,
    source,
    started,
  }: {
    readonly tables: readonly TableSchema[]
    readonly source: CapturedSource | null
    readonly started: boolean
  },
): Promise<Finding[]> {
  const collisions = await where.collisions(tables, source)
  const findings: Finding[] = collisions.map(({ message, fix }) => ({
    level: 'problem',
    subject: 'targets',
    message,
    ...fixOf(fix),
  }))
  // Nothing else is said of these: to empty a target that is a source would be the worst of advice.
  const taken = new Set(collisions.flatMap(({ table }) => table ?? []))
  for (const schema of tables.filter(({ id }) => !taken.has(id))) {
    const name = where.nameOf(schema)
    const rights = await missingRights(connection, name.schema, name.sql)
    if (rights !== null) {
      findings.push(rights)
      continue
    }
    const { statements, problems } = await where.inspect(schema, !started)
    for (const { message, fix } of problems) {
      findings.push({ level: 'problem', subject: name.sql, message, ...fixOf(fix) })
    }
    if (problems.length > 0) continue
    if (statements.length === 0) findings.push({ level: 'ok', subject: name.sql, message: 'exists and fits' })
    else findings.push({ level: 'info', subject: name.sql, message: `will be created: ${statements.join('; ')};` })
  }
  return findings
}

async function missingRights(connection: PgConnection, schema: string, sql: string): Promise<Finding | null> {
  const user = quoteIdent(connection.options.user)
  const [row] = await connection.query(
    `SELECT to_regclass($1) IS NOT NULL,
       CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE') ELSE has_schema_privilege(n.oid, 'CREATE') END,
       n.oid IS NULL, COALESCE((SELECT bool_and(has_table_privilege(to_regclass($1), p))
         FROM unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE']) p), false),
       COALESCE(row_security_active(to_regclass($1)), false)
     FROM (SELECT $2::name AS name) w LEFT JOIN pg_namespace n ON n.nspname = w.name`,
    [sql, schema],
  )
  const [exists, mayCreate, newSchema, mayWrite, hidden] = row!
  const problem = (message: string, fix: string): Finding => ({ level: 'problem', subject: sql, message, fix })
  if (exists === 't' && mayWrite === 't' && hidden === 't')
    return problem('its row security policies apply to this user', `ALTER ROLE ${user} BYPASSRLS;`)
  if (exists === 't' ? mayWrite === 't' : mayCreate === 't') return null
  if (exists === 't') {
    const fix = `GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ${sql} TO ${user};`
    return problem('this user may not write to it', fix)
  }
  const on = newSchema === 't' ? `DATABASE ${quoteIdent(connection.options.database)}` : `SCHEMA ${quoteIdent(schema)}`
  return problem('does not exist and this user may not create it', `GRANT CREATE ON ${on} TO ${user};`)
}

function fixOf(fix: string | null | undefined): { fix?: string } {
  return fix ? { fix } : {}
}
