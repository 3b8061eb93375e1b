/** Debezium's `message.key.columns`: `schema.table:column,column;...`, where the table is a regular expression. */
import { TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'

export type KeyColumns = (schema: TableSchema) => readonly number[] | null

/** Throws `config.invalid` for text of another form; the function it returns throws it for columns that do not exist. */
export function parseKeyColumns(text: string): KeyColumns {
  const rules = text
    .split(';')
    .map((rule) => rule.trim())
    .filter((rule) => rule !== '')
    .map(parseRule)
  return (schema) => {
    const names = [`${schema.namespace}.${schema.name}`, `${schema.database}.${schema.namespace}.${schema.name}`]
    const rule = rules.find(({ table }) => names.some((name) => table.test(name)))
    return rule === undefined ? null : rule.columns.map((column) => positionOf(schema, column))
  }
}

function parseRule(rule: string): { readonly table: RegExp; readonly columns: readonly string[] } {
  const colon = rule.lastIndexOf(':')
  const columns = rule
    .slice(colon + 1)
    .split(',')
    .map((column) => column.trim())
  if (colon < 1 || columns.includes('')) throw invalid(`"${rule}" does not name a table and its columns`)
  try {
    return { table: new RegExp(`^(?:${rule.slice(0, colon).trim()})$`, 'i'), columns }
  } catch {
    throw invalid(`"${rule.slice(0, colon)}" is not a regular expression`)
  }
}

function positionOf({ id, columns }: TableSchema, name: string): number {
  const found = columns.findIndex((column) => column.name === name)
  if (found < 0) throw invalid(`table ${id} has no column ${name}`)
  return found
}

function invalid(what: string): TidemarkError {
  return new TidemarkError('config.invalid', {
    message: `message.key.columns: ${what}.`,
    fix: 'Write schema.table:column,column and separate tables with semicolons, e.g. public.orders:customer_id.',
    at: 'sink.message.key.columns',
  })
}
