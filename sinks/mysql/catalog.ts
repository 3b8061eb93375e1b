/** What the server says about a target table. Names are unquoted, types as information_schema prints them. */
import { type MysqlConnection, quoteMysqlName as quoteName, quoteMysqlText as quoteText } from '../../drivers/mysql.js'

export interface TargetName {
  readonly database: string
  readonly name: string
  /** Quoted, for statements. */
  readonly sql: string
}

export interface TargetColumn {
  readonly name: string
  /** `varchar`, `int`... in lower case. */
  readonly base: string
  /** As declared: `varchar(20)`, `int unsigned`, `enum('a','b')`. */
  readonly type: string
  readonly unsigned: boolean
  /** Characters; of binary strings bytes. */
  readonly length: number | null
  readonly precision: number | null
  readonly scale: number | null
  /** Fractional digits of times. */
  readonly fraction: number | null
  readonly charset: string | null
  readonly collation: string | null
  readonly notNull: boolean
  readonly hasDefault: boolean
  /** The default as an expression, null without one. */
  readonly defaultSql: string | null
  readonly generated: boolean
  readonly autoIncrement: boolean
  /** It takes the time of every update that does not set it. */
  readonly onUpdate: boolean
}

export interface TargetIndex {
  readonly name: string
  readonly columns: readonly string[]
  /** Usable as the key: whole columns, none of them an expression. */
  readonly plain: boolean
}

export interface Target {
  /** `BASE TABLE`, `VIEW`, `SYSTEM VERSIONED`... */
  readonly kind: string
  readonly engine: string | null
  /** See mark.ts; null: the table was not made by the sink. */
  readonly mark: string | null
  readonly columns: readonly TargetColumn[]
  readonly uniqueIndexes: readonly TargetIndex[]
  /** Triggers, as `check` names them. */
  readonly triggers: readonly string[]
}

export function targetName(database: string, name: string): TargetName {
  return { database, name, sql: `${quoteName(database)}.${quoteName(name)}` }
}

/** What stands in the comment of a table that the sink made, so that another one under its name is noticed. */
const MARK = /\bTidemark ([0-9a-f]{16})\b/

export function markComment(mark: string): string {
  return `Tidemark ${mark}`
}

/** null: there is no such table. */
export async function readTarget(connection: MysqlConnection, { database, name }: TargetName): Promise<Target | null> {
  const here = `TABLE_SCHEMA = ${quoteText(database)} AND TABLE_NAME = ${quoteText(name)}`
  const there = `EVENT_OBJECT_SCHEMA = ${quoteText(database)} AND EVENT_OBJECT_TABLE = ${quoteText(name)}`
  const [tables, columns, indexes, triggers] = (await connection.queries(
    `SELECT TABLE_TYPE, ENGINE, TABLE_COMMENT, VERSION() LIKE '%MariaDB%' FROM information_schema.TABLES WHERE ${here};
     SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE,
       DATETIME_PRECISION, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, COLUMN_DEFAULT, EXTRA
       FROM information_schema.COLUMNS WHERE ${here} ORDER BY ORDINAL_POSITION;
     SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
       WHERE ${here} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX;
     SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE ${there} ORDER BY 1`,
  )) as readonly (readonly Texts[] | undefined)[]
  const [table] = tables ?? []
  if (!table) return null
  return {
    kind: table[0]!,
    engine: table[1] ?? null,
    mark: MARK.exec(table[2] ?? '')?.[1] ?? null,
    columns: (columns ?? []).map((row) => columnOf(row, table[3] === '1')),
    uniqueIndexes: indexesOf(indexes ?? []),
    triggers: (triggers ?? []).map(([trigger]) => trigger!),
  }
}

type Texts = readonly (string | null)[]

function columnOf(row: Texts, mariadb: boolean): TargetColumn {
  const [name, dataType, type, length, precision, scale, fraction, charset, collation, nullable, byDefault, extra] = row
  const says = (extra ?? '').toLowerCase()
  const number = (text: string | null | undefined) => (text == null ? null : Number(text))
  const defaultSql = defaultOf(byDefault ?? null, mariadb, says.includes('default_generated'))
  return {
    name: name!,
    base: dataType!.toLowerCase(),
    type: type!,
    unsigned: /\bunsigned\b/i.test(type!),
    length: number(length),
    precision: number(precision),
    scale: number(scale),
    fraction: number(fraction),
    charset: charset ?? null,
    collation: collation ?? null,
    notNull: nullable === 'NO',
    hasDefault: defaultSql !== null,
    defaultSql,
    generated: /\b(virtual|stored|persistent) generated\b|\bgenerated always\b/.test(says),
    autoIncrement: says.includes('auto_increment'),
    onUpdate: says.includes('on update'),
  }
}

/** MySQL prints a constant bare and an expression with a backslash before its quotes; MariaDB both as they are written. */
function defaultOf(text: string | null, mariadb: boolean, isExpression: boolean): string | null {
  // MariaDB's word for a missing default of a column that may be NULL.
  if (text === null || (mariadb && text === 'NULL')) return null
  if (mariadb) return text
  return isExpression ? text.replace(/\\(['\\])/g, '$1') : quoteText(text)
}

function indexesOf(rows: readonly Texts[]): TargetIndex[] {
  const found = new Map<string, { name: string; columns: string[]; plain: boolean }>()
  for (const [index, column, part] of rows) {
    const known = found.get(index!) ?? { name: index!, columns: [], plain: true }
    found.set(index!, known)
    if (column === null || part !== null) known.plain = false
    if (column != null) known.columns.push(column)
  }
  return [...found.values()]
}

/** The unique index whose columns are exactly these, in any order, and never NULL. */
export function keyIndex(target: Target, columns: readonly string[]): TargetIndex | null {
  const never = (name: string) => target.columns.find((c) => c.name === name)?.notNull === true
  const fits = (index: TargetIndex) =>
    index.plain &&
    index.columns.length === columns.length &&
    columns.every((name) => index.columns.includes(name) && never(name))
  return target.uniqueIndexes.find(fits) ?? null
}

export async function databaseExists(connection: MysqlConnection, database: string): Promise<boolean> {
  const rows = await connection.query(
    `SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ${quoteText(database)}`,
  )
  return rows.length > 0
}
