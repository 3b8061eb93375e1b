/** Reads tables from information_schema as core schemas. */
import { createHash } from 'node:crypto'
import { type Column, type ColumnType, type TableId, type TableSchema, tableId, type Value } from '../../core/model.js'
import { parseTablePatterns } from '../../core/table-pattern.js'
import { type MysqlConnection, quoteMysqlName, quoteMysqlText } from '../../drivers/mysql.js'
import { loadCharsets } from './charsets.js'
import { noneLeft, requireMatches } from './chosen-tables.js'
import { type CatalogColumn, type MysqlColumnType, mysqlColumnType } from './column-types.js'
import type { MysqlSourceOptions } from './options.js'
import type { ServerFacts } from './server.js'

export interface CatalogTable {
  readonly schema: TableSchema
  /** As `schema.columns`. */
  readonly types: readonly MysqlColumnType[]
  /** As `schema.columns`: what a row event without the column stands for; undefined: not a constant (rule h). */
  readonly absent: readonly Value[]
  /** As `schema.columns`: what rows that are older than the column hold in it; undefined: not the same for all, or not known. */
  readonly filled: readonly (string | null | undefined)[]
  readonly engine: string
  readonly rows: number | null
  readonly bytes: number | null
  /** Rows that a row-based log shows otherwise than a table's (rule f). */
  readonly versioned: boolean
  /** Digest of what the catalog says of the columns. */
  readonly definition: string
}

const LEFT_OUT = `'mysql', 'information_schema', 'performance_schema', 'sys'`

const CHOSEN_SQL = `SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, TABLE_ROWS, DATA_LENGTH, TABLE_TYPE FROM information_schema.TABLES
  WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_SCHEMA NOT IN (${LEFT_OUT})`

export const columnsSql = (
  mariadb: boolean,
) => `SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME,
  COLLATION_NAME, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE, COLUMN_DEFAULT, EXTRA${
    mariadb ? ', IS_GENERATED' : `, ''`
  } FROM information_schema.COLUMNS`

interface Chosen {
  readonly database: string
  readonly name: string
  readonly engine: string
  readonly rows: number | null
  readonly bytes: number | null
  readonly versioned: boolean
}

/** The tables that the options name, with everything of them. */
export async function readTables(
  connection: MysqlConnection,
  options: MysqlSourceOptions,
  server: ServerFacts,
): Promise<CatalogTable[]> {
  const all = (await connection.query(`${CHOSEN_SQL} ORDER BY 1, 2`)).map(chosen)
  const named = all.map((t) => ({ database: t.database, namespace: t.database, name: t.name }))
  const wanted = parseTablePatterns(options.tables)
  const excluded = parseTablePatterns(options['tables.exclude'] ?? [])
  requireMatches(wanted, named, options)
  const kept = all.filter(
    (_, i) => wanted.some((p) => p.matches(named[i]!)) && !excluded.some((p) => p.matches(named[i]!)),
  )
  if (kept.length === 0) throw noneLeft(options)
  return describe(connection, server, kept)
}

/** One table as it is now; undefined: it is gone. */
export async function readTable(
  connection: MysqlConnection,
  server: ServerFacts,
  { namespace, name }: Pick<TableSchema, 'namespace' | 'name'>,
): Promise<CatalogTable | undefined> {
  const one = `TABLE_SCHEMA = ${quoteMysqlText(namespace)} AND TABLE_NAME = ${quoteMysqlText(name)}`
  const [row] = await connection.query(`${CHOSEN_SQL} AND ${one}`)
  if (row === undefined) return undefined
  return (await describe(connection, server, [chosen(row)]))[0]
}

function chosen([database, name, engine, rows, bytes, type]: (string | null)[]): Chosen {
  return {
    database: database!,
    name: name!,
    engine: engine ?? '',
    rows: rows == null ? null : Number(rows),
    bytes: bytes == null ? null : Number(bytes),
    versioned: type === 'SYSTEM VERSIONED',
  }
}

async function describe(
  connection: MysqlConnection,
  server: ServerFacts,
  tables: readonly Chosen[],
): Promise<CatalogTable[]> {
  const databases = [...new Set(tables.map((t) => t.database))].map(quoteMysqlText).join(', ')
  const names = tables.length === 1 ? ` AND TABLE_NAME = ${quoteMysqlText(tables[0]!.name)}` : ''
  const where = `WHERE TABLE_SCHEMA IN (${databases})${names}`
  const columns = grouped(
    await connection.query(
      `${columnsSql(server.mariadb)} ${where} ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION`,
    ),
  )
  const indexes = grouped(
    await connection.query(
      `SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE FROM information_schema.STATISTICS
       ${where} AND NON_UNIQUE = 0 ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX`,
    ),
  )
  await loadCharsets(connection, new Set([...columns.values()].flatMap((rows) => rows.flatMap((r) => r[5] ?? []))))
  return tables.map((table) => {
    const at = `${table.database}\0${table.name}`
    return catalogTable(table, columns.get(at) ?? [], keyOf(indexes.get(at) ?? []), server)
  })
}

/** What CatalogTable.definition is now; '' when the table is gone. */
export async function definitionOf(
  connection: MysqlConnection,
  server: ServerFacts,
  { namespace, name }: Pick<TableSchema, 'namespace' | 'name'>,
): Promise<string> {
  const rows = await connection.query(
    `${columnsSql(server.mariadb)} WHERE TABLE_SCHEMA = ${quoteMysqlText(namespace)} AND TABLE_NAME = ${quoteMysqlText(name)} ORDER BY ORDINAL_POSITION`,
  )
  return rows.length === 0 ? '' : digest(rows)
}

function digest(rows: readonly (string | null)[][]): string {
  return createHash('sha256').update(JSON.stringify(rows)).digest('hex').slice(0, 32)
}

function grouped(rows: readonly (string | null)[][]): Map<string, (string | null)[][]> {
  const out = new Map<string, (string | null)[][]>()
  for (const row of rows) {
    const at = `${row[0]}\0${row[1]}`
    const known = out.get(at)
    if (known) known.push(row)
    else out.set(at, [row])
  }
  return out
}

/** Names of the primary key's columns, else of the first unique index that holds no NULL; empty: none. */
function keyOf(rows: readonly (string | null)[][]): string[] {
  const indexes = new Map<string, (string | null)[][]>()
  for (const row of rows) indexes.set(row[2]!, [...(indexes.get(row[2]!) ?? []), row])
  for (const [name, parts] of indexes) {
    // A part over an expression has no column; one over a prefix tells rows apart, but only the primary key must be taken as it is.
    const usable = parts.every(
      ([, , , column, prefix, nullable]) =>
        column !== null && nullable !== 'YES' && (prefix === null || name === 'PRIMARY'),
    )
    if (usable) return parts.map((p) => p[3]!)
  }
  return []
}

function catalogTable(
  table: Chosen,
  rows: readonly (string | null)[][],
  keyNames: readonly string[],
  server: ServerFacts,
): CatalogTable {
  const types = rows.map((row) => mysqlColumnType(catalogColumn(row)))
  const columns = rows.map((row, i): Column => column(row, types[i]!, server))
  const key = keyNames.map((name) => columns.findIndex((c) => c.name === name))
  const schema = makeMysqlSchema(table.database, table.name, columns, key)
  return {
    schema,
    types,
    absent: columns.map(({ defaultValue, nullable, generated }, i) => {
      if (generated || defaultValue !== null) return defaultValue ?? undefined
      // MariaDB prints that there is none.
      return nullable && [null, 'NULL'].includes(rows[i]![12] ?? null) ? null : undefined
    }),
    filled: columns.map((column, i) => filledWith(column, rows[i]!)),
    engine: table.engine,
    rows: table.rows,
    bytes: table.bytes,
    versioned: table.versioned,
    definition: digest(rows),
  }
}

function catalogColumn(row: (string | null)[]): CatalogColumn {
  const number = (text: string | null | undefined) => (text == null ? null : Number(text))
  const dataType = row[3]!.toLowerCase()
  return {
    dataType,
    columnType: row[4]!,
    charset: row[5] ?? null,
    collation: row[6] ?? null,
    precision: number(row[7]),
    scale: number(row[8]),
    // The times of 5.6 and later have one, DATE has none.
    fraction: number(row[9]),
    length: number(row[10]),
  }
}

function column(row: (string | null)[], { type }: MysqlColumnType, { mariadb }: ServerFacts): Column {
  const [, , name, , , , , , , , , nullable, given, extra, generated] = row
  return {
    name: name!,
    type,
    nullable: nullable === 'YES',
    generated: generated === 'ALWAYS' || /\b(VIRTUAL|STORED|PERSISTENT) GENERATED\b/i.test(extra ?? ''),
    defaultValue: constantDefault(given ?? null, extra ?? '', mariadb, type.kind),
  }
}

/** A default that is the same for every row, in the dialect's text; null: none or not one. */
function constantDefault(given: string | null, extra: string, mariadb: boolean, kind: string): string | null {
  if (given === null || /DEFAULT_GENERATED|auto_increment/i.test(extra)) return null
  if (kind === 'bytes' || kind === 'bits' || kind === 'timestamptz') return null
  if (!mariadb) return /^CURRENT_TIMESTAMP/i.test(given) && /^time/.test(kind) ? null : given
  // MariaDB quotes literals and prints expressions bare.
  const quoted = /^'((?:[^']|'')*)'$/.exec(given)
  if (quoted) return quoted[1]!.replaceAll("''", "'")
  return /^-?\d+(\.\d+)?$/.test(given) ? given : null
}

function filledWith(
  { generated, defaultValue, nullable, type }: Column,
  row: (string | null)[],
): string | null | undefined {
  const extra = row[13] ?? ''
  const given = [null, 'NULL'].includes(row[12] ?? null) ? null : row[12]
  if (generated || /auto_increment|DEFAULT_GENERATED/i.test(extra)) return undefined
  if (typeof defaultValue === 'string') return defaultValue
  if (given !== null) return undefined
  return nullable ? null : implicitDefault(type)
}

/** What a column that is NOT NULL and has no default begins with. */
function implicitDefault({ base, kind, scale, precision, length, labels }: ColumnType): string | undefined {
  const fraction = precision ? `.${'0'.repeat(precision)}` : ''
  switch (base) {
    case 'decimal':
      return scale ? `0.${'0'.repeat(scale)}` : '0'
    case 'date':
      return '0000-00-00'
    case 'datetime':
    case 'timestamp':
      return `0000-00-00 00:00:00${fraction}`
    case 'time':
      return `00:00:00${fraction}`
    case 'year':
      return '0000'
    case 'bit':
      return '0'.repeat(length ?? 1)
    case 'enum':
      return labels?.[0]
    case 'set':
      return ''
    case 'json':
      return 'null'
    default:
      return /^(int|float)/.test(kind) || base === 'bigint' ? '0' : kind === 'string' ? '' : undefined
  }
}

export function makeMysqlSchema(
  database: string,
  name: string,
  columns: readonly Column[],
  key: readonly number[],
): TableSchema {
  const whole = {
    database,
    namespace: database,
    name,
    columns,
    key,
    id: tableId(database, name),
    dialect: 'mysql' as const,
  }
  return { ...whole, fingerprint: createHash('sha256').update(JSON.stringify(whole)).digest('hex').slice(0, 32) }
}

export function tableSql({ namespace, name }: Pick<TableSchema, 'namespace' | 'name'>): string {
  return `${quoteMysqlName(namespace)}.${quoteMysqlName(name)}`
}

export type { TableId }
