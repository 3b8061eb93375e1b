/** `tidemark check` of the mysql sink: each problem with the SQL that fixes it. */
import type { Finding, SinkDefinition } from '../../core/define.js'
import { isAbort, TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'
import { MYSQL_ERROR, type MysqlConnection, mysqlErrno, quoteMysqlName as quoteName } from '../../drivers/mysql.js'
import type { MysqlSinkOptions } from './options.js'
import { connectTarget, readOnlyReason, type TargetServer } from './server.js'
import { type State, StateRow, stateExists } from './state.js'
import { type CapturedSource, Targets } from './targets.js'

export async function checkMysqlSink(
  options: MysqlSinkOptions,
  { pipeline, signal, tables, source }: Parameters<SinkDefinition['check']>[1],
): Promise<Finding[]> {
  let connected: Awaited<ReturnType<typeof connectTarget>>
  try {
    connected = await connectTarget(options, pipeline, signal)
  } catch (error) {
    if (isAbort(error, signal) || !(error instanceof TidemarkError)) throw error
    return [{ level: 'problem', subject: 'connection', message: error.message, ...fixOf(error.fix) }]
  }
  const { connection, server } = connected
  try {
    const { finding, known } = await state(connection, options, pipeline)
    const findings = [...serverFindings(connection, server), finding]
    const where = new Targets(connection, server, options, known?.targets ?? null)
    const started = known !== null && known.checkpoint !== null
    if (tables) findings.push(...(await targets(where, { tables, source: source ?? null, started })))
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

function serverFindings(connection: MysqlConnection, server: TargetServer): Finding[] {
  const { host, port } = connection.options
  const kind = server.mariadb ? 'MariaDB' : 'MySQL'
  const findings: Finding[] = [
    { level: 'ok', subject: 'connection', message: `${kind} ${server.version} at ${host}:${port}` },
  ]
  const why = readOnlyReason(server)
  if (why !== null) {
    const fix = 'Give the sink the address of the primary.'
    findings.push({ level: 'problem', subject: 'server', message: `it ${why}: it takes no writes`, fix })
  }
  const flush = server.settings.get('innodb_flush_log_at_trx_commit')
  if (flush !== undefined && flush !== '1') {
    findings.push({
      level: 'warning',
      subject: 'innodb_flush_log_at_trx_commit',
      message: `is ${flush}: a crash of the server can lose rows that the source was told to forget`,
      fix: 'SET GLOBAL innodb_flush_log_at_trx_commit = 1;',
    })
  }
  if (!server.exactKeys) {
    findings.push({
      level: 'info',
      subject: 'text keys',
      message:
        'this server takes texts for one key that differ in trailing spaces only; a key that ends with a space is refused when it comes',
    })
  }
  return findings
}

/** By trying, in a transaction that is rolled back: grants may come from roles and patterns. */
async function state(
  connection: MysqlConnection,
  options: MysqlSinkOptions,
  pipeline: string,
): Promise<{ readonly finding: Finding; readonly known: State | null }> {
  const database = options['state.database']
  const row = new StateRow(database, pipeline)
  const user = `CURRENT_USER()`
  const grant = `As an administrator: CREATE DATABASE IF NOT EXISTS ${quoteName(database)}; GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON ${quoteName(database)}.* TO the user (SELECT ${user};)`
  const problem = (message: string) => ({
    finding: { level: 'problem', subject: row.table, message, fix: grant } as const,
    known: null,
  })
  if (!(await stateExists(connection, database))) {
    const grants = (await connection.query('SHOW GRANTS')).map(([text]) => text ?? '').join('\n')
    if (mayCreate(grants, database)) {
      const finding = { level: 'ok', subject: row.table, message: 'will be created at the first start' } as const
      return { finding, known: null }
    }
    return problem('does not exist, and no grant was found by which this user may create it')
  }
  try {
    const known = await row.read(connection)
    await connection.query('START TRANSACTION')
    await connection.query(row.save('0', { targets: null }))
    await connection.query('ROLLBACK')
    const message =
      known.checkpoint === null ? 'holds no checkpoint of this pipeline yet' : 'holds a checkpoint of this pipeline'
    return { finding: { level: 'ok', subject: row.table, message }, known }
  } catch (error) {
    const denied: readonly (number | null)[] = [
      MYSQL_ERROR.tableAccessDenied,
      MYSQL_ERROR.databaseAccessDenied,
      MYSQL_ERROR.columnAccessDenied,
    ]
    if (!denied.includes(mysqlErrno(error))) throw error
    return problem('this user may not use it')
  }
}

/** Grants of roles are not looked into, so a role counts as one that may. */
function mayCreate(grants: string, database: string): boolean {
  return grants.split('\n').some((line) => {
    const match = /^GRANT (.*?) ON (\S+)/.exec(line)
    if (match === null) return /^GRANT .* TO /.test(line)
    const [, what, on] = match
    if (!/\bALL PRIVILEGES\b|\bCREATE\b(?! (?:USER|ROLE|VIEW|ROUTINE|TEMPORARY|TABLESPACE))/.test(what!)) return false
    const name = on!.split('.')[0]!.replace(/^`|`$/g, '').replaceAll('\\_', '_')
    return (
      name === '*' ||
      name === database ||
      new RegExp(`^${name.replace(/[.+?^${}()|[\]]/g, '\\$&').replaceAll('%', '.*')}$`).test(database)
    )
  })
}

async function targets(
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
  const collisions = where.collisions(tables, source)
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

function fixOf(fix: string | null | undefined): { fix?: string } {
  return fix ? { fix } : {}
}
