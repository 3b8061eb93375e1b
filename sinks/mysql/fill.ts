/**
 * Columns that were added to a source table behind its copy. No log says what older rows hold in such a column, so the
 * target must: its default is that value, for rows that the log has yet to bring, and every row holds it. That is true
 * only until the pipeline writes the column itself, so it is asked before that, once.
 */
import type { Column, TableSchema } from '../../core/model.js'
import { type MysqlConnection, quoteMysqlName as quoteName } from '../../drivers/mysql.js'
import type { Target, TargetColumn, TargetName } from './catalog.js'
import type { Problem } from './judge.js'
import { literalOf, Unfit } from './literals.js'
import type { TargetRecord } from './records.js'

/** `record`: what is known of the target; without one its columns were written before such a record was kept. */
export async function fillProblems(
  connection: MysqlConnection,
  schema: TableSchema,
  name: TargetName,
  target: Target,
  record: TargetRecord | undefined,
): Promise<Problem[]> {
  const problems: Problem[] = []
  for (const column of schema.columns) {
    if (column.filled === undefined || record === undefined || record.columns.includes(column.name)) continue
    const have = target.columns.find((c) => c.name === column.name)
    // What else is wrong with the column is said by itself.
    if (have === undefined || have.generated) continue
    const problem = await judgeFill(connection, schema, name, column, have)
    if (problem !== null) problems.push(problem)
  }
  return problems
}

async function judgeFill(
  connection: MysqlConnection,
  schema: TableSchema,
  { sql }: TargetName,
  column: Column,
  have: TargetColumn,
): Promise<Problem | null> {
  const literal = fillLiteral(schema, column, have)
  const name = quoteName(column.name)
  const other =
    literal === 'NULL'
      ? `${name} IS NOT NULL`
      : `${name} IS NULL OR ${have.collation === null ? `${name} <> ${literal}` : `CAST(CONVERT(${name} USING utf8mb4) AS BINARY) <> CAST(${literal} AS BINARY)`}`
  const same = await sameDefault(connection, have, literal)
  if (same && (await connection.query(`SELECT 1 FROM ${sql} WHERE ${other} LIMIT 1`)).length === 0) return null
  const change =
    literal === 'NULL' ? 'DROP DEFAULT' : `SET DEFAULT ${/text$|blob$/.test(have.base) ? `(${literal})` : literal}`
  return {
    code: 'sink.column_unfilled',
    message: `${sql}: column ${name} was added to ${schema.id}, whose older rows hold ${literal} in it; the target's do not all, or new ones would not by its default. Mend it and start again, or run once with --set source.table.rewrites=ignore to leave the rows as they are`,
    fix: `ALTER TABLE ${sql} ALTER COLUMN ${name} ${change}; UPDATE ${sql} SET ${name} = ${literal} WHERE ${other};`,
  }
}

function fillLiteral(schema: TableSchema, column: Column, have: TargetColumn): string {
  try {
    return literalOf(column, have, { dialect: schema.dialect, refuseTrailingSpaces: false })(column.filled ?? null)
  } catch (error) {
    if (error instanceof Unfit) return 'NULL'
    throw error
  }
}

/** A constant, as either server prints it: the only kind of default whose value is known. */
const CONSTANT = /^\(*(?:(?:_\w+)?\s*'(?:[^'\\]|''|\\.)*'|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[bx]'[0-9a-f]*')\)*$/is

async function sameDefault(
  connection: MysqlConnection,
  { defaultSql, base, collation }: TargetColumn,
  literal: string,
): Promise<boolean> {
  if (literal === 'NULL' || defaultSql === null) return literal === 'NULL' && defaultSql === null
  if (!CONSTANT.test(defaultSql)) return false
  const digits = base === 'date' ? '' : '(6)'
  const type = base === 'timestamp' ? 'datetime' : base
  const cast = (sql: string) => {
    if (collation !== null) return `CAST(CONVERT(${sql} USING utf8mb4) AS BINARY)`
    return /^(date|datetime|timestamp|time)$/.test(base) ? `CAST(${sql} AS ${type}${digits})` : sql
  }
  const [row] = await connection.query(`SELECT ${cast(defaultSql)} = ${cast(literal)}`)
  return row![0] === '1'
}
