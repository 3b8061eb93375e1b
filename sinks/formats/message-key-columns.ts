/** Debezium's `message.key.columns`: `schema.table:column,column;...`, where the table is a regular expression. */
import { nearest, suggest } from '../../core/did-you-mean.js'
import { TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'

export type KeyColumns = (schema: TableSchema) => readonly number[] | null

/** Throws `config.invalid` for text of another form; the function it returns throws it for columns that do not exist. */
export function parseKeyColumns(text: string): KeyColumns {
  const rules = parseRules(text)
  return (schema) => {
    const rule = rules.find((rule) => applies(rule, schema))
    return rule === undefined ? null : rule.columns.map((column) => positionOf(schema, column))
  }
}

/** What does not fit the tables. `complete`: a rule for none of them is a mistake. */
export function keyColumnMistakes(text: string, tables: readonly TableSchema[], complete: boolean): TidemarkError[] {
  const rules = parseRules(text)
  const names = tables.map(({ namespace, name }) => `${namespace}.${name}`)
  const idle = rules
    .filter((rule) => complete && !tables.some((schema) => applies(rule, schema)))
    .map(({ about }) => invalid(`no captured table is called ${about}`, nearest(about, names)))
  const wrong = tables.flatMap((schema) => {
    const rule = rules.find((rule) => applies(rule, schema))
    const lacking = rule?.columns.filter((column) => !schema.columns.some(({ name }) => name === column)) ?? []
    return lacking.map((column) => noColumn(schema, column))
  })
  return [...idle, ...wrong]
}

interface Rule {
  /** As it was written. */
  readonly about: string
  readonly table: RegExp
  readonly columns: readonly string[]
}

function parseRules(text: string): Rule[] {
  return text
    .split(';')
    .map((rule) => rule.trim())
    .filter((rule) => rule !== '')
    .map(parseRule)
}

function applies({ table }: Rule, { database, namespace, name }: TableSchema): boolean {
  return table.test(`${namespace}.${name}`) || table.test(`${database}.${namespace}.${name}`)
}

function parseRule(rule: string): Rule {
  const colon = rule.lastIndexOf(':')
  const columns = rule
    .slice(colon + 1)
    .split(',')
    .map((column) => column.trim())
  if (colon < 1 || columns.includes('')) throw invalid(`"${rule}" does not name a table and its columns`)
  try {
    return {
      about: rule.slice(0, colon).trim(),
      table: new RegExp(`^(?:${rule.slice(0, colon).trim()})$`, 'i'),
      columns,
    }
  } catch {
    throw invalid(`"${rule.slice(0, colon)}" is not a regular expression`)
  }
}

function positionOf(schema: TableSchema, name: string): number {
  const found = schema.columns.findIndex((column) => column.name === name)
  if (found < 0) throw noColumn(schema, name)
  return found
}

function noColumn({ id, columns }: TableSchema, name: string): TidemarkError {
  const names = columns.map((column) => column.name)
  return invalid(`table ${id} has no column ${name}`, nearest(name, names))
}

function invalid(what: string, meant: string | null = null): TidemarkError {
  return new TidemarkError('config.invalid', {
    message: `message.key.columns: ${what}.`,
    fix: `${suggest(meant)} Write schema.table:column,column and separate tables with semicolons, e.g. public.orders:customer_id.`.trim(),
    at: 'sink.message.key.columns',
  })
}
