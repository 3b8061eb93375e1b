/** Whether an existing target can take a table exactly. Pure: `check` and the start of a run ask the same questions. */
import type { ErrorCode } from '../../core/error-codes.js'
import type { Column, TableId, TableSchema } from '../../core/model.js'
import { quoteMysqlName as quoteName } from '../../drivers/mysql.js'
import { keyIndex, type Target, type TargetColumn, type TargetName } from './catalog.js'
import { columnSql, plannedTypes } from './create.js'
import { isBinaryCollation, padsSpaces, sourceCollation } from './keys.js'
import type { TargetServer } from './server.js'
import { holds, isBinary, isText, typeSql, wantedType } from './types.js'

export interface Problem {
  readonly code: ErrorCode
  readonly message: string
  readonly fix?: string
  /** The captured table, where it rules the whole target out. */
  readonly table?: TableId
}

const NAME_CHARS_MAX = 64
/** Beyond the basic plane, and what names may not end with. */
const ODD_NAME = /[\u{10000}-\u{10ffff}\0]| $/u

export function nameProblems(schema: TableSchema, { database, name }: TargetName): Problem[] {
  const columns = schema.columns.map((c) => c.name)
  const fix = 'Give it another name with `route` (tables) or `transform: rename` (columns).'
  const found: Problem[] = [database, name, ...columns].flatMap((text): Problem[] => {
    const long = [...text].length > NAME_CHARS_MAX
    if (!long && !ODD_NAME.test(text)) return []
    const why = long ? `has more than ${NAME_CHARS_MAX} characters` : 'has a character that MySQL allows in no name'
    return [{ code: 'sink.name_too_long', message: `${schema.id}: the name "${text}" ${why}`, fix }]
  })
  const seen = new Map<string, string>()
  for (const column of columns) {
    const same = seen.get(column.toLowerCase())
    seen.set(column.toLowerCase(), column)
    if (same === undefined) continue
    const message = `${schema.id}: columns "${same}" and "${column}" have one name to MySQL, which ignores case`
    found.push({ code: 'sink.name_conflict', message, fix: 'Rename one of them with `transform: rename`.' })
  }
  return found
}

export interface Judged {
  readonly schema: TableSchema
  readonly name: TargetName
  readonly target: Target
  readonly server: TargetServer
}

export function judge(judged: Judged, allowConstraints: boolean): Problem[] {
  const { schema, name, target } = judged
  if (target.kind !== 'BASE TABLE') {
    const message = `${name.sql} is not an ordinary table (${target.kind.toLowerCase()}), so ${schema.id} cannot be written to it`
    return [{ code: 'sink.target_kind', message, fix: 'Rename it, or send the table elsewhere with `route`.' }]
  }
  return [
    ...engine(name, target),
    ...columns(judged),
    ...key(judged),
    ...(allowConstraints ? allowed(judged) : constraints(judged)),
  ]
}

function engine({ sql }: TargetName, target: Target): Problem[] {
  if (target.engine?.toLowerCase() === 'innodb') return []
  return [
    {
      code: 'sink.target_kind',
      message: `${sql} is kept by ${target.engine}, which has no transactions: rows and checkpoint would not be committed together`,
      fix: `ALTER TABLE ${sql} ENGINE = InnoDB;`,
    },
  ]
}

function columns({ schema, name: { sql }, target, server }: Judged): Problem[] {
  const have = new Map(target.columns.map((c) => [c.name, c]))
  const planned = plannedTypes(schema, server)
  const found: Problem[] = []
  for (const [i, column] of schema.columns.entries()) {
    const { name, formerName } = column
    const existing = have.get(name)
    const isKey = schema.key.includes(i)
    const here = `${sql}: column ${quoteName(name)}`
    const definition = columnSql(column, planned[i]!, isKey, server)
    if (!existing && formerName !== undefined && have.has(formerName)) {
      found.push({
        code: 'sink.column_missing',
        message: `${here} is missing; ${schema.id} has it, and called it ${formerName} before`,
        fix: `ALTER TABLE ${sql} CHANGE ${quoteName(formerName)} ${columnSql({ ...column, filled: null }, planned[i]!, isKey, server)};`,
      })
    } else if (!existing) {
      // Rows that are older than the column show the default it was added with, and no log says so.
      found.push({
        code: 'sink.column_missing',
        message: `${here} is missing; ${schema.id} has it`,
        fix: `ALTER TABLE ${sql} ADD COLUMN ${definition};`,
      })
    } else if (existing.generated) {
      found.push({
        code: 'sink.column_unwritable',
        message: `${here} is computed by the target, so nothing can be written to it`,
        fix: `ALTER TABLE ${sql} DROP COLUMN ${quoteName(name)}, ADD COLUMN ${definition};`,
      })
    } else if (!fits(column, { schema, server, isKey, existing })) {
      found.push({
        code: 'sink.column_type',
        message: `${here} has type ${existing.type}, which does not hold every ${typeSql(planned[i]!, server.collation)} of ${schema.id} unchanged`,
        fix: `ALTER TABLE ${sql} MODIFY ${columnSql({ ...column, filled: null }, planned[i]!, isKey, server)};`,
      })
    }
  }
  return [...found, ...needed(schema, sql, target)]
}

function fits(
  { type }: Column,
  {
    schema,
    server,
    isKey,
    existing,
  }: { schema: TableSchema; server: TargetServer; isKey: boolean; existing: TargetColumn },
): boolean {
  const wanted = wantedType(type, schema, server)
  if (holds(wanted, existing)) return true
  // Keys are bounded by what an index holds; longer ones are refused one by one.
  if (!isKey) return false
  return (
    (isText(wanted.base) && existing.base === 'varchar') || (isBinary(wanted.base) && existing.base === 'varbinary')
  )
}

function needed(schema: TableSchema, sql: string, target: Target): Problem[] {
  const wanted = new Set(schema.columns.map((c) => c.name))
  return target.columns.flatMap(({ name, type, notNull, hasDefault, autoIncrement, generated }): Problem[] => {
    if (wanted.has(name) || !notNull || hasDefault || autoIncrement || generated) return []
    return [
      {
        code: 'sink.column_unwritable',
        message: `${sql}: column ${quoteName(name)} needs a value and ${schema.id} has none for it`,
        fix: `ALTER TABLE ${sql} MODIFY ${quoteName(name)} ${type} NULL;`,
      },
    ]
  })
}

const keyNames = ({ schema }: Judged) => schema.key.map((i) => schema.columns[i]!.name)

function key(judged: Judged): Problem[] {
  const names = keyNames(judged)
  if (names.length === 0 || keyIndex(judged.target, names)) return []
  const { sql } = judged.name
  const quoted = names.map(quoteName).join(', ')
  return [
    {
      code: 'sink.key',
      message: `${sql} has no primary key or unique index on exactly ${quoted} (whole columns, NOT NULL), the key of ${judged.schema.id}`,
      fix: `ALTER TABLE ${sql} ADD PRIMARY KEY (${quoted});`,
    },
  ]
}

/**
 * Keys that are one key to the target must be one key to the source. Asked where tables come from the catalog: what the
 * log says of a table has no collations.
 */
export function collationProblems({ schema, name: { sql }, target, server }: Judged): Problem[] {
  const planned = plannedTypes(schema, server)
  return schema.key.flatMap((i): Problem[] => {
    const column = schema.columns[i]!
    const have = target.columns.find((c) => c.name === column.name)
    if (!have || have.collation === null) return []
    const source = schema.dialect === 'mysql' ? sourceCollation(column) : null
    if (have.collation === source) return []
    const padded = padsSpaces(have.collation)
    // A value whose trailing spaces would be lost on the key is refused when it comes, see TablePlan.
    if (isBinaryCollation(have.collation) && (!padded || schema.dialect !== 'mysql')) return []
    if (isBinaryCollation(have.collation) && source !== null && padsSpaces(source)) return []
    return [
      {
        code: 'sink.key',
        message: `${sql}: key column ${quoteName(column.name)} has the collation ${have.collation}, under which two keys of ${schema.id} could be one`,
        fix: `ALTER TABLE ${sql} MODIFY ${columnSql({ ...column, filled: null }, planned[i]!, true, server)};`,
      },
    ]
  })
}

function constraints(judged: Judged): Problem[] {
  const { name, target } = judged
  const names = keyNames(judged)
  const own = names.length === 0 ? null : keyIndex(target, names)
  const uniques = target.uniqueIndexes.filter((index) => index !== own).map((index) => `unique index ${index.name}`)
  const found = [...uniques, ...target.triggers.map((trigger) => `trigger ${trigger}`)]
  if (found.length === 0) return []
  return [
    {
      code: 'sink.constraints',
      message: `${name.sql} has ${found.join(', ')}: rows of different keys arrive out of order, so these can fail or act wrongly`,
      fix: 'Remove them from the target, or set `target.constraints: allow` in the sink when they cannot fail.',
    },
  ]
}

/** Beside another unique index rows are deleted and inserted, so they may hold nothing that is not written. */
function allowed(judged: Judged): Problem[] {
  const { schema, name, target } = judged
  const names = keyNames(judged)
  if (names.length === 0) return []
  const own = keyIndex(target, names)
  const other = target.uniqueIndexes.find((index) => index !== own)
  const extra = target.columns.find((c) => !c.generated && !schema.columns.some((s) => s.name === c.name))
  if (own === null || other === undefined || extra === undefined) return []
  return [
    {
      code: 'sink.constraints',
      message: `${name.sql} has unique index ${other.name}, because of which rows are deleted and inserted anew, and column ${quoteName(extra.name)}, whose values would be lost by that`,
      fix: 'Remove one of them from the target.',
    },
  ]
}
