/**
 * The publication: made and kept by the pipeline, or given by the user. Always true after prepare(): it publishes every
 * captured table as a whole - all kinds of changes, all rows, all captured columns, partitions as their root - because
 * what it leaves out would be missing from the log without a word.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Column, TableId } from '../../core/model.js'
import { type PgConnection, quoteIdent, sqlState } from '../../drivers/postgres.js'
import type { CatalogTable, ServerFacts } from './catalog.js'
import { tableName } from './plan.js'
import { SCHEMAS_VERSION_MIN } from './table-tag.js'

const UNIQUE_VIOLATION = '23505'

export interface PublicationOptions {
  readonly name: string
  readonly tables: readonly CatalogTable[]
  readonly server: ServerFacts
  /** Named by the user and never changed. */
  readonly given: boolean
}

interface Member {
  readonly namespace: string
  readonly name: string
  readonly filter: string | null
  /** Null: this server version knows no lists. */
  readonly columns: readonly string[] | null
}

interface Publication {
  readonly members: readonly Member[]
  readonly missing: readonly CatalogTable[]
  /** It takes tables by a rule, all of them or those of a schema. */
  readonly rule: boolean
  /** What keeps it from publishing the captured tables as a whole. */
  readonly problem: { readonly why: string; readonly fix: string } | null
}

/** Null: there is none. */
export async function readPublication(
  connection: PgConnection,
  { name, tables, server }: Omit<PublicationOptions, 'given'>,
): Promise<Publication | null> {
  const [found] = await connection.query(
    `select (pubinsert and pubupdate and pubdelete and pubtruncate)::text, to_jsonb(p)->>'pubviaroot',
      (puballtables ${server.version >= SCHEMAS_VERSION_MIN ? 'or exists (select from pg_publication_namespace n where n.pnpubid = p.oid)' : ''})::text
     from pg_publication p where pubname = $1`,
    [name],
  )
  if (found === undefined) return null
  const rows = await connection.query(
    `select schemaname, tablename, to_jsonb(t)->>'rowfilter', to_jsonb(t)->>'attnames' from pg_publication_tables t where pubname = $1`,
    [name],
  )
  const members = rows.map(
    ([namespace, table, filter, columns]): Member => ({
      namespace: namespace!,
      name: table!,
      filter: filter ?? null,
      columns: columns ? (JSON.parse(columns) as string[]) : null,
    }),
  )
  const [whole, viaRoot, rule] = found
  const missing = tables.filter((table) => !memberOf(members, table))
  const problem = problemOf(name, tables, server, members, whole === 'true', viaRoot === 'true')
  return { members, missing, rule: rule === 'true', problem }
}

/** What stays unseen where no row of a catalog says that a table is published. */
export function ruleNote(name: string): string {
  return `${name} publishes tables by a rule (FOR ALL TABLES or TABLES IN SCHEMA), which keeps no table from being made UNLOGGED or another table's partition for a while; that is seen as a rule, but not of a table that is empty or has a single column afterwards. A publication FOR TABLE has no such gap`
}

function memberOf(members: readonly Member[], { schema }: CatalogTable): Member | undefined {
  return members.find((m) => m.namespace === schema.namespace && m.name === schema.name)
}

function problemOf(
  name: string,
  tables: readonly CatalogTable[],
  server: ServerFacts,
  members: readonly Member[],
  whole: boolean,
  viaRoot: boolean,
): Publication['problem'] {
  const alter = `ALTER PUBLICATION ${quoteIdent(name)}`
  if (!whole) {
    const fix = `${alter} SET (publish = 'insert, update, delete, truncate');`
    return { why: 'does not publish every kind of change', fix }
  }
  const root = tables.find((table) => table.kind === 'p')
  if (root && !viaRoot) {
    const why = `publishes the partitions of ${root.schema.id} instead of the table`
    return { why, fix: `${alter} SET (publish_via_partition_root = true);` }
  }
  for (const table of tables) {
    const member = memberOf(members, table)
    if (member === undefined) continue
    const again = `${alter} DROP TABLE ${tableName(table)}; ${alter} ADD TABLE ${tableName(table)};`
    if (member.filter !== null) {
      const why = `publishes only rows of ${table.schema.id} with ${member.filter}, so changes of the others would be lost`
      return { why, fix: again }
    }
    const { columns } = member
    const lacks = columns === null ? [] : published(table).filter((c) => !columns.includes(c.name))
    if (lacks.length === 0) continue
    const generated = server.generatedInLog && lacks.every((c) => c.generated)
    return {
      why: `does not publish ${lacks.map((c) => c.name).join(', ')} of ${table.schema.id}`,
      fix: generated ? `${alter} SET (publish_generated_columns = stored);` : again,
    }
  }
  return null
}

/** Columns that only the publication can bring. */
function published({ schema, computed }: CatalogTable): readonly Column[] {
  return schema.columns.filter((c) => !computed.some(({ name }) => name === c.name))
}

/** The statement that makes it. */
export function createSql({ name, tables, server }: Omit<PublicationOptions, 'given'>): string {
  const generated = server.generatedInLog ? ', publish_generated_columns = stored' : ''
  return `CREATE PUBLICATION ${quoteIdent(name)} FOR TABLE ${tables.map(tableName).join(', ')} WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true${generated});`
}

/**
 * Makes the publication, or brings its tables up to date. `known`: tables of the checkpoint; one that is missing was
 * taken out, and its changes since are in no log. Tables that are captured no more are taken out last.
 */
export async function preparePublication(
  connection: PgConnection,
  options: PublicationOptions & { readonly known: ReadonlySet<TableId>; readonly note: (line: string) => void },
): Promise<void> {
  const { name, given, tables, known } = options
  const found = await readPublication(connection, options)
  if (found === null) {
    if (given) throw failed(name, 'does not exist', createSql(options))
    if (known.size > 0) throw lost(name, [...known])
    await change(connection, createSql(options), createSql(options))
    return
  }
  if (found.problem) throw failed(name, found.problem.why, found.problem.fix)
  if (found.rule) options.note(ruleNote(name))
  if (found.missing.length > 0) {
    const ids = found.missing.map((t) => t.schema.id)
    const gone = ids.filter((id) => known.has(id))
    if (gone.length > 0) throw lost(name, gone)
    const fix = `ALTER PUBLICATION ${quoteIdent(name)} ADD TABLE ${found.missing.map(tableName).join(', ')};`
    if (given) throw failed(name, `lacks ${ids.join(', ')}`, fix)
    await change(connection, fix, fix)
  }
  if (given) return
  const extra = found.members.filter((m) => !tables.some((t) => memberOf([m], t)))
  if (extra.length === 0) return
  const list = extra.map((m) => `${quoteIdent(m.namespace)}.${quoteIdent(m.name)}`).join(', ')
  await connection.query(`alter publication ${quoteIdent(name)} drop table ${list}`)
}

async function change(connection: PgConnection, sql: string, fix: string): Promise<void> {
  try {
    await connection.query(sql)
  } catch (error) {
    if (sqlState(error) === UNIQUE_VIOLATION) {
      throw new TidemarkError('postgres.publication', {
        message: `the publication is being made by another session: ${(error as Error).message}`,
        fix: 'An earlier start may still wait for a synchronous standby (SELECT pid, query FROM pg_stat_activity). Try again when it is over.',
        retriable: true,
        cause: error,
      })
    }
    if (sqlState(error) !== '42501') throw error
    const { user, database } = connection.options
    throw new TidemarkError('postgres.publication', {
      message: `user ${user} may not make the publication in ${database}: ${(error as Error).message}`,
      fix: `Run as the owner of the tables: ${fix} and give its name as publication.name. Or: GRANT CREATE ON DATABASE ${quoteIdent(database)} TO ${quoteIdent(user)}; and make ${user} an owner of the tables.`,
      cause: error,
    })
  }
}

function failed(name: string, why: string, fix: string): TidemarkError {
  return new TidemarkError('postgres.publication', {
    message: `publication ${name} ${why}`,
    fix: `Run: ${fix}`,
    at: 'source.publication.name',
  })
}

function lost(name: string, tables: readonly TableId[]): TidemarkError {
  return new TidemarkError('postgres.publication', {
    message: `${tables.join(', ')} had been taken out of publication ${name}: changes made since are in no log`,
    fix: `Take the table out of \`tables\`, run once, empty its target, and put it back: it is then copied anew. Or \`tidemark drop FILE\`, empty the targets and start anew.`,
  })
}
