/** Statements that make a target and the types its columns need. Targets carry only the key (5.3). */
import { TidemarkError } from '../../core/errors.js'
import type { ColumnType, TableSchema } from '../../core/model.js'
import { splitTableName } from '../../core/table-pattern.js'
import { type PgConnection, quoteIdent, quoteLiteral } from '../../drivers/postgres.js'
import type { TargetName } from './catalog.js'
import type { Problem } from './judge.js'
import { labelProblems } from './labels.js'
import { type NeededType, neededTypes, typeSql } from './types.js'

/** Extensions whose name is not that of their type. */
const EXTENSION_OF: Readonly<Record<string, string>> = {
  geometry: 'postgis',
  geography: 'postgis',
  lquery: 'ltree',
  ltxtquery: 'ltree',
  halfvec: 'vector',
  sparsevec: 'vector',
  isbn: 'isn',
  isbn13: 'isn',
  issn: 'isn',
  ean13: 'isn',
  upc: 'isn',
}

export interface Creation {
  readonly statements: readonly string[]
  readonly problems: readonly Problem[]
}

/** What has to run before and for `CREATE TABLE`. `missing`: the table itself does not exist. */
export async function planCreation(
  connection: PgConnection,
  schema: TableSchema,
  name: TargetName,
  missing: boolean,
): Promise<Creation> {
  const statements: string[] = []
  const problems: Problem[] = []
  const found = new Map<string, string>()
  const made = new Set<string>()
  for (const { type } of schema.columns) {
    for (const needed of neededTypes(type, schema.dialect)) {
      if (made.has(needed.name)) continue
      made.add(needed.name)
      await planType(connection, needed, { statements, problems, found, missing })
    }
  }
  if (missing) {
    await planSchema(connection, name.schema, statements)
    statements.push(await createTable(connection, schema, name, found))
  }
  return { statements: [...new Set(statements)], problems }
}

interface TypePlan {
  readonly statements: string[]
  readonly problems: Problem[]
  /** Types that exist under another schema here. */
  readonly found: Map<string, string>
  readonly missing: boolean
}

async function planType(connection: PgConnection, needed: NeededType, plan: TypePlan): Promise<void> {
  const [row] = await connection.query(
    `SELECT t.oid, (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)
     FROM pg_type t WHERE t.oid = to_regtype($1)`,
    [needed.name],
  )
  if (needed.kind === 'enum' && row) {
    const have = row[1] ? (JSON.parse(row[1]) as string[]) : []
    plan.problems.push(...labelProblems(needed.name, needed.labels, have))
  }
  if (row) return
  if (needed.kind === 'other') return await findElsewhere(connection, needed, plan)
  if (!plan.missing) return
  await planSchema(connection, splitTableName(needed.name)?.at(-2) ?? 'public', plan.statements)
  plan.statements.push(
    needed.kind === 'enum'
      ? `CREATE TYPE ${needed.name} AS ENUM (${needed.labels.map(quoteLiteral).join(', ')})`
      : `CREATE DOMAIN ${needed.name} AS ${needed.over}`,
  )
}

/** An extension may live in another schema here. */
async function findElsewhere(
  connection: PgConnection,
  { name, base }: NeededType & { kind: 'other' },
  plan: TypePlan,
): Promise<void> {
  const [row] = await connection.query(
    `SELECT format_type(t.oid, -1) FROM pg_type t WHERE t.typname = $1 AND EXISTS (
       SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')`,
    [base],
  )
  if (row) {
    plan.found.set(name, row[0]!)
    return
  }
  const extension = EXTENSION_OF[base] ?? base
  const [known] = await connection.query('SELECT FROM pg_available_extensions WHERE name = $1', [extension])
  plan.problems.push({
    code: 'sink.type_missing',
    message: `the target has no type ${name}`,
    fix: known
      ? `CREATE EXTENSION ${quoteIdent(extension)};`
      : `Create type ${name} in the target as it is in the source.`,
  })
}

async function planSchema(connection: PgConnection, schema: string, statements: string[]): Promise<void> {
  const [row] = await connection.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema])
  if (!row) statements.push(`CREATE SCHEMA ${quoteIdent(schema)}`)
}

async function createTable(
  connection: PgConnection,
  schema: TableSchema,
  { sql }: TargetName,
  found: ReadonlyMap<string, string>,
): Promise<string> {
  const lines: string[] = []
  for (const [i, { name, type }] of schema.columns.entries()) {
    const collate = schema.key.includes(i) ? await collation(connection, type) : ''
    lines.push(`${quoteIdent(name)} ${moved(typeSql(type, schema.dialect), found)}${collate}`)
  }
  if (schema.key.length > 0) {
    lines.push(`PRIMARY KEY (${schema.key.map((i) => quoteIdent(schema.columns[i]!.name)).join(', ')})`)
  }
  return `CREATE TABLE ${sql} (${lines.join(', ')})`
}

function moved(type: string, found: ReadonlyMap<string, string>): string {
  const bare = type.replace(/(\[\])+$/, '')
  return found.has(bare) ? found.get(bare)! + type.slice(bare.length) : type
}

/** Key columns keep their collation where the target has it: it decides which keys are one key. */
async function collation(connection: PgConnection, { collation: name }: ColumnType): Promise<string> {
  if (!name) return ''
  const parts = splitTableName(name)
  const [row] = await connection.query(
    `SELECT FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
     WHERE c.collname = $1 AND ($2::text IS NULL OR n.nspname = $2)
       AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))`,
    [parts?.at(-1) ?? name, parts?.at(-2) ?? null],
  )
  return row ? ` COLLATE ${name}` : ''
}

export function problemError({ code, message, fix }: Problem): TidemarkError {
  return new TidemarkError(code, { message, fix, at: 'sink' })
}
