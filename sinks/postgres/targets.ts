/**
 * Where tables go, and making or checking those targets. Everything that changes the database runs in a transaction
 * that holds the pipeline's epoch row, so that a fenced owner cannot empty its successor's tables (I6).
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId, TableSchema } from '../../core/model.js'
import { tableId } from '../../core/model.js'
import type { SourceIdentity } from '../../core/source.js'
import type { PgConnection } from '../../drivers/postgres.js'
import { readTarget, type Target, type TargetName, targetName } from './catalog.js'
import { planCreation, problemError } from './create.js'
import { fillProblems } from './fill.js'
import { collationProblems, judge, nameProblems, type Problem } from './judge.js'
import type { PostgresSinkOptions } from './options.js'
import { TablePlan } from './plan.js'
import { type KnownTarget, recreated, recreatedError, recreatedProblem, TargetRecords } from './records.js'
import { STATE_SCHEMA } from './state.js'

export type TargetOptions = Pick<PostgresSinkOptions, 'schema' | 'existing' | 'target.constraints'>

export interface CapturedSource {
  readonly identity: SourceIdentity
  readonly tables: readonly TableId[]
}

export class Targets {
  readonly records: TargetRecords
  readonly #connection: PgConnection
  readonly #options: TargetOptions
  readonly #pipeline: string

  /** `saved`: what the pipeline's records were saved as. */
  constructor(
    connection: PgConnection,
    options: TargetOptions,
    { pipeline, saved }: { readonly pipeline: string; readonly saved: string | null },
  ) {
    this.records = new TargetRecords(saved)
    this.#connection = connection
    this.#options = options
    this.#pipeline = pipeline
  }

  nameOf(schema: TableSchema): TargetName {
    return targetName(this.#options.schema ?? schema.namespace, schema.name)
  }

  /** Two tables in one target, or a target that is captured. Nothing is changed. */
  async collisions(tables: readonly TableSchema[], source: CapturedSource | null): Promise<Problem[]> {
    const problems: Problem[] = []
    const taken = new Map<string, TableSchema>()
    for (const schema of tables) {
      const { sql } = this.nameOf(schema)
      const other = taken.get(sql)
      if (other) {
        const message = `${other.id} and ${schema.id} would both be written to ${sql}`
        problems.push({ code: 'sink.target_shared', message, fix: 'Send one of them elsewhere with `route`.' })
      }
      taken.set(sql, schema)
      if (this.nameOf(schema).schema === STATE_SCHEMA) {
        const message = `${schema.id} would be written to schema ${STATE_SCHEMA}, which holds the checkpoints`
        problems.push({ code: 'sink.target_shared', message, fix: 'Send it to another schema with `route`.' })
      }
    }
    if (source !== null) problems.push(...(await this.#captured(tables, source)))
    return problems
  }

  async #captured(tables: readonly TableSchema[], source: CapturedSource): Promise<Problem[]> {
    const { systemIdentifier, database } = source.identity
    if (systemIdentifier === undefined) return []
    const [here] = await this.#connection.query('SELECT system_identifier, current_database() FROM pg_control_system()')
    if (here![0] !== systemIdentifier || here![1] !== database) return []
    const captured = new Set<string>(source.tables)
    const problems: Problem[] = []
    for (const schema of tables) {
      const name = this.nameOf(schema)
      const family = await this.#family(name)
      if (![tableId(name.schema, name.name), ...family].some((id) => captured.has(id))) continue
      problems.push({
        code: 'sink.target_is_source',
        table: schema.id,
        message: `${name.sql} is captured from this very database, so writing ${schema.id} to it would never end`,
        fix: 'Give the sink another `database` or `schema`, or send the table elsewhere with `route`.',
      })
    }
    return problems
  }

  /** A partition's changes are captured under its root. */
  async #family({ sql }: TargetName): Promise<string[]> {
    const rows = await this.#connection.query(
      `SELECT n.nspname, c.relname FROM pg_partition_tree(pg_partition_root(to_regclass($1))) p
       JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace`,
      [sql],
    )
    return rows.map(([schema, name]) => tableId(schema!, name!))
  }

  /** Targets that were written before must be the tables that they were; all that are not are named at once. */
  async requireSame(tables: readonly TableSchema[]): Promise<void> {
    const others = await recreated(this.#connection, this.known(tables))
    if (others.length > 0) throw recreatedError(this.#pipeline, others)
  }

  /** Those whose table is recorded. */
  known(tables: readonly TableSchema[]): KnownTarget[] {
    return tables.flatMap((schema) => {
      const oid = this.records.get(schema.id)?.oid
      return oid === undefined ? [] : [{ id: schema.id, sql: this.nameOf(schema).sql, oid }]
    })
  }

  /** Makes the target if it is absent, checks it, and on a first start looks at what it holds. In an owned transaction. */
  async prepare(schema: TableSchema, first: boolean): Promise<void> {
    const name = this.nameOf(schema)
    throwFirst(nameProblems(schema, name))
    let target = await readTarget(this.#connection, name)
    if (target === null && !first) {
      throw new TidemarkError('sink.target_gone', {
        message: `${name.sql} does not exist, although this pipeline has written ${schema.id} to it`,
        fix: 'Restore it, or drop the pipeline and load the table anew.',
      })
    }
    const { statements, problems } = await planCreation(this.#connection, schema, name, target === null)
    throwFirst(problems)
    for (const statement of statements) await this.#connection.query(statement)
    const made = target === null
    target ??= (await readTarget(this.#connection, name))!
    throwFirst([...this.#judge(schema, name, target), ...collationProblems(schema, name, target)])
    if (!first) throwFirst(await this.#unfilled(schema, name, target))
    this.records.set(schema.id, { oid: target.oid, columns: schema.columns.map((c) => c.name) })
    if (!first || made || (await isEmpty(this.#connection, name))) return
    if (this.#options.existing === 'refuse') throw problemError(notEmpty(schema, name))
    if (this.#options.existing === 'truncate') await this.#connection.query(`TRUNCATE ${name.sql}`)
  }

  /** A plan for a schema that may have changed since prepare(): the target must have followed. */
  async plan(schema: TableSchema): Promise<TablePlan> {
    const name = this.nameOf(schema)
    throwFirst(nameProblems(schema, name))
    const target = await readTarget(this.#connection, name)
    if (target === null) {
      throw new TidemarkError('sink.target_gone', {
        message: `${name.sql} does not exist any more`,
        fix: 'Restore it; nothing after the last checkpoint was written.',
      })
    }
    const known = this.records.get(schema.id)
    if (known?.oid !== undefined && known.oid !== target.oid) {
      throw recreatedError(this.#pipeline, [{ id: schema.id, sql: name.sql, oid: known.oid }])
    }
    throwFirst((await planCreation(this.#connection, schema, name, false)).problems)
    throwFirst(this.#judge(schema, name, target))
    throwFirst(await this.#unfilled(schema, name, target))
    const columns = new Set([...(known?.columns ?? []), ...schema.columns.map((c) => c.name)])
    this.records.set(schema.id, { oid: target.oid, columns: [...columns] })
    return new TablePlan(schema, name, target)
  }

  /** For `check`: what would be run and what is wrong. */
  async inspect(schema: TableSchema, first: boolean): Promise<{ statements: readonly string[]; problems: Problem[] }> {
    const name = this.nameOf(schema)
    const target = await readTarget(this.#connection, name)
    const { statements, problems } = await planCreation(this.#connection, schema, name, target === null)
    const found = [...nameProblems(schema, name), ...problems]
    const others = first ? [] : await recreated(this.#connection, this.known([schema]))
    if (others.length > 0) return { statements, problems: [recreatedProblem(this.#pipeline, others)] }
    if (target !== null) {
      found.push(...this.#judge(schema, name, target), ...collationProblems(schema, name, target))
      const refuses = first && this.#options.existing === 'refuse' && ['r', 'p'].includes(target.kind)
      if (refuses && !(await isEmpty(this.#connection, name))) found.push(notEmpty(schema, name))
    }
    return { statements, problems: found }
  }

  #unfilled(schema: TableSchema, name: TargetName, target: Target): Promise<Problem[]> {
    return fillProblems(this.#connection, schema, name, target, this.records.get(schema.id))
  }

  #judge(schema: TableSchema, name: TargetName, target: Target): Problem[] {
    return judge(schema, name, target, this.#options['target.constraints'] === 'allow')
  }
}

async function isEmpty(connection: PgConnection, { sql }: TargetName): Promise<boolean> {
  return (await connection.query(`SELECT FROM ${sql} LIMIT 1`)).length === 0
}

function notEmpty(schema: TableSchema, { sql }: TargetName): Problem {
  return {
    code: 'sink.target_not_empty',
    message: `${sql} holds rows, but this pipeline has never written ${schema.id} to it`,
    fix: `Empty it (TRUNCATE ${sql};), or set \`existing: truncate\` (empty it at the start) or \`existing: upsert\` (keep its rows) in the sink.`,
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
