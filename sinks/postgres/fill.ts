/**
 * Columns that were added to a source table behind its copy. No log says what older rows hold in such a column, so the
 * target must: its default is that value, for rows that the log has yet to bring, and every row holds it. That is true
 * only until the pipeline writes the column itself, so it is asked before that, once.
 */
import type { Column, TableSchema } from '../../core/model.js'
import { type PgConnection, quoteIdent, quoteLiteral } from '../../drivers/postgres.js'
import type { Target, TargetColumn, TargetName } from './catalog.js'
import type { Problem } from './judge.js'
import type { TargetRecord } from './records.js'

/** A literal as the server prints it in a default: the only kind of default whose value is known. */
const LITERAL = /^\(*(-?\d+(\.\d+)?(e[+-]?\d+)?|E?'([^']|'')*'|true|false|NULL)\)*(::[\w ".,()[\]]+)?$/i

/** `record`: what is known of the target; without one its columns were written before such a record was kept. */
export async function fillProblems(
  connection: PgConnection,
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
    if (have === undefined) continue
    const problem = await judgeFill(connection, schema, name, column, have)
    if (problem !== null) problems.push(problem)
  }
  return problems
}

async function judgeFill(
  connection: PgConnection,
  schema: TableSchema,
  { sql }: TargetName,
  { name, filled }: Column,
  have: TargetColumn,
): Promise<Problem | null> {
  const value = filled == null ? null : await printed(connection, quoteLiteral(filled as string), have)
  const column = quoteIdent(name)
  const shown = value === null ? 'NULL' : quoteLiteral(value).trim()
  const other = value === null ? `${column} IS NOT NULL` : `${column} IS NULL OR format('%s', ${column}) <> ${shown}`
  const byDefault = await defaultOf(connection, have)
  if (byDefault === value && (have.missing === value || (await allHold(connection, sql, other)))) return null
  const change = value === null ? 'DROP DEFAULT' : `SET DEFAULT ${shown}`
  return {
    code: 'sink.column_unfilled',
    message: `${sql}: column ${column} was added to ${schema.id}, whose older rows hold ${shown} in it; the target's do not all, or new ones would not by its default. Mend it and start again, or run once with --set source.table.rewrites=ignore to leave the rows as they are`,
    fix: `ALTER TABLE ${sql} ALTER COLUMN ${column} ${change}; UPDATE ${sql} SET ${column} = ${shown} WHERE ${other};`,
  }
}

/** A value as a column prints it, modifiers of its type included. */
async function printed(connection: PgConnection, expression: string, { type }: TargetColumn): Promise<string> {
  const [row] = await connection.query(`SELECT format('%s', (${expression})::${type})`)
  return row![0]!
}

/** undefined: it is computed for each row. */
async function defaultOf(connection: PgConnection, column: TargetColumn): Promise<string | null | undefined> {
  const { defaultSql } = column
  if (defaultSql === null || /^NULL\b/i.test(defaultSql)) return null
  return LITERAL.test(defaultSql) ? await printed(connection, defaultSql, column) : undefined
}

/** Reads the table, up to the first row that holds another value. */
async function allHold(connection: PgConnection, sql: string, other: string): Promise<boolean> {
  return (await connection.query(`SELECT FROM ${sql} WHERE ${other} LIMIT 1`)).length === 0
}
