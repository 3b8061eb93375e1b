/**
 * Where tables go, and making or checking those targets. Tables are made outside of any transaction, because DDL commits
 * whatever is open: that can be repeated after a crash at any place. Everything that changes rows runs in a transaction that
 * holds the pipeline's epoch row, so that a fenced owner cannot empty its successor's tables (I6).
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId, TableSchema } from '../../core/model.js'
import { tableId } from '../../core/model.js'
import type { SourceIdentity } from '../../core/source.js'
import type { MysqlConnection } from '../../drivers/mysql.js'
import { databaseExists, readTarget, type Target, type TargetName, targetName } from './catalog.js'
import { creationStatements, problemError } from './create.js'
import { fillProblems } from './fill.js'
import { collationProblems, judge, nameProblems, type Problem } from './judge.js'
import { type MysqlSinkOptions, targetDatabase } from './options.js'
import { TablePlan } from './plan.js'
import { type KnownTarget, recreated, recreatedError, recreatedProblem, TargetRecords } from './records.js'
import type { TargetServer } from './server.js'

export interface CapturedSource {
  readonly identity: SourceIdentity
  readonly tables: readonly TableId[]
}

export class Targets {
  readonly records: TargetRecords
  readonly #connection: MysqlConnection
  readonly #server: TargetServer
  readonly #options: MysqlSinkOptions
  readonly #database: string | null

  /** `saved`: what the pipeline's records were saved as. */
  constructor(connection: MysqlConnection, server: TargetServer, options: MysqlSinkOptions, saved: string | null) {
    this.records = new TargetRecords(saved)
    this.#connection = connection
    this.#server = server
    this.#options = options
    this.#database = targetDatabase(options)
  }

  nameOf(schema: TableSchema): TargetName {
    const names = [this.#database ?? schema.namespace, schema.name]
    // Such a server has one table under both spellings.
    const folds = (this.#server.settings.get('lower_case_table_names') ?? '0') !== '0'
    const [database, name] = folds ? names.map((n) => n.toLowerCase()) : names
    return targetName(database!, name!)
  }

  /** Two tables in one target, or a target that is captured. Nothing is changed. */
  collisions(tables: readonly TableSchema[], source: CapturedSource | null): Problem[] {
    const problems: Problem[] = []
    const taken = new Map<string, TableSchema>()
    const here = source?.identity.server === this.#server.identity
    const captured = new Set<string>(here ? source!.tables : [])
    for (const schema of tables) {
      const name = this.nameOf(schema)
      const { sql } = name
      const other = taken.get(sql)
      taken.set(sql, schema)
      if (other) {
        const message = `${other.id} and ${schema.id} would both be written to ${sql}`
        problems.push({ code: 'sink.target_shared', message, fix: 'Send one of them elsewhere with `route`.' })
      }
      if (name.database === this.#options['state.database'] && name.name === 'checkpoint') {
        const message = `${schema.id} would be written to ${sql}, which holds the checkpoints`
        problems.push({ code: 'sink.target_shared', message, fix: 'Send it to another table with `route`.' })
      }
      if (!captured.has(tableId(name.database, name.name))) continue
      problems.push({
        code: 'sink.target_is_source',
        table: schema.id,
        message: `${sql} is captured from this very server, so writing ${schema.id} to it would never end`,
        fix: 'Give the sink another `database`, or send the table elsewhere with `route`.',
      })
    }
    return problems
  }

  /** Targets that were written before must be the tables that they were; all that are not are named at once. */
  async requireSame(tables: readonly TableSchema[]): Promise<void> {
    const others = await recreated(this.#connection, this.known(tables))
    if (others.length > 0) throw recreatedError(others)
  }

  /** Those whose table has a mark. */
  known(tables: readonly TableSchema[]): KnownTarget[] {
    return tables.flatMap((schema) => {
      const mark = this.records.get(schema.id)?.mark
      return mark === undefined ? [] : [{ id: schema.id, name: this.nameOf(schema), mark }]
    })
  }

  /** Makes the target if it is absent. Outside of any transaction; may run again. */
  async create(schema: TableSchema, first: boolean): Promise<void> {
    const name = this.nameOf(schema)
    throwFirst(nameProblems(schema, name))
    if ((await readTarget(this.#connection, name)) !== null) return
    if (!first) {
      throw new TidemarkError('sink.target_gone', {
        message: `${name.sql} does not exist, although this pipeline has written ${schema.id} to it`,
        fix: 'Restore it, or drop the pipeline and load the table anew.',
      })
    }
    for (const statement of await this.#statements(schema, name)) await this.#connection.query(statement)
  }

  /** Checks the target, and on a first start looks at what it holds. In an owned transaction. */
  async prepare(schema: TableSchema, first: boolean): Promise<void> {
    const name = this.nameOf(schema)
    const target = await this.#require(name)
    const judged = { schema, name, target, server: this.#server }
    throwFirst([...judge(judged, this.#allows), ...collationProblems(judged)])
    if (!first) throwFirst(await this.#unfilled(schema, name, target))
    this.#record(schema, target, [])
    if (!first || (await this.#isEmpty(name))) return
    if (this.#options.existing === 'refuse') throw problemError(notEmpty(schema, name))
    if (this.#options.existing === 'truncate') await this.#connection.query(`DELETE FROM ${name.sql}`)
  }

  /** A plan for a schema that may have changed since prepare(): the target must have followed. */
  async plan(schema: TableSchema): Promise<TablePlan> {
    const name = this.nameOf(schema)
    throwFirst(nameProblems(schema, name))
    const target = await this.#require(name)
    const known = this.records.get(schema.id)
    if (known?.mark !== undefined && known.mark !== target.mark) {
      throw recreatedError([{ id: schema.id, name, mark: known.mark }])
    }
    throwFirst(judge({ schema, name, target, server: this.#server }, this.#allows))
    throwFirst(await this.#unfilled(schema, name, target))
    this.#record(schema, target, known?.columns ?? [])
    return new TablePlan(schema, name, target)
  }

  /** For `check`: what would be run and what is wrong. */
  async inspect(schema: TableSchema, first: boolean): Promise<{ statements: readonly string[]; problems: Problem[] }> {
    const name = this.nameOf(schema)
    const target = await readTarget(this.#connection, name)
    const found = nameProblems(schema, name)
    if (target === null) return { statements: await this.#statements(schema, name), problems: found }
    const others = first ? [] : await recreated(this.#connection, this.known([schema]))
    if (others.length > 0) return { statements: [], problems: [recreatedProblem(others)] }
    const judged = { schema, name, target, server: this.#server }
    found.push(...judge(judged, this.#allows), ...collationProblems(judged))
    const refuses = first && this.#options.existing === 'refuse' && target.kind === 'BASE TABLE'
    if (refuses && !(await this.#isEmpty(name))) found.push(notEmpty(schema, name))
    return { statements: [], problems: found }
  }

  get #allows(): boolean {
    return this.#options['target.constraints'] === 'allow'
  }

  /** A database that is there need not be made, which not every user may. */
  async #statements(schema: TableSchema, name: TargetName): Promise<string[]> {
    const statements = creationStatements(schema, name, this.#server)
    return (await databaseExists(this.#connection, name.database)) ? statements.slice(1) : statements
  }

  async #require(name: TargetName): Promise<Target> {
    const target = await readTarget(this.#connection, name)
    if (target !== null) return target
    throw new TidemarkError('sink.target_gone', {
      message: `${name.sql} does not exist any more`,
      fix: 'Restore it; nothing after the last checkpoint was written.',
    })
  }

  #record(schema: TableSchema, { mark }: Target, before: readonly string[]): void {
    const columns = [...new Set([...before, ...schema.columns.map((c) => c.name)])]
    this.records.set(schema.id, mark === null ? { columns } : { mark, columns })
  }

  #unfilled(schema: TableSchema, name: TargetName, target: Target): Promise<Problem[]> {
    return fillProblems(this.#connection, schema, name, target, this.records.get(schema.id))
  }

  async #isEmpty({ sql }: TargetName): Promise<boolean> {
    return (await this.#connection.query(`SELECT 1 FROM ${sql} LIMIT 1`)).length === 0
  }
}

function notEmpty(schema: TableSchema, { sql }: TargetName): Problem {
  return {
    code: 'sink.target_not_empty',
    message: `${sql} holds rows, but this pipeline has never written ${schema.id} to it`,
    fix: `Empty it (TRUNCATE TABLE ${sql};), or set \`existing: truncate\` (empty it at the start) or \`existing: upsert\` (keep its rows) in the sink.`,
  }
}

function throwFirst(problems: readonly Problem[]): void {
  const [first, ...more] = problems
  if (!first) return
  if (more.length === 0) throw problemError(first)
  const rest = more.map((p) => `; ${p.message}`).join('')
  const fixes = [...new Set(problems.flatMap((p) => p.fix ?? []))].join(' ')
  throw problemError({ ...first, message: first.message + rest, fix: fixes })
}
