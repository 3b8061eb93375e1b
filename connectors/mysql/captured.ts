/**
 * The captured tables as the log knows them: which definition the rows behind a table map were written under, and what statements
 * do to them. Always true: a plan is used only for maps that fit it. Where the server sends no column names (rule g), a definition
 * that DDL touched is trusted only when it was read behind that DDL and nothing touched it since.
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId, TableSchema } from '../../core/model.js'
import type { CatalogTable } from './catalog.js'
import type { ColumnHistory } from './column-history.js'
import { CONVERT, type NamedInLog, type Statement } from './ddl.js'
import { charsetsOf, type DecodePlan, describesItself, fits, planOf, tableOfMap } from './decode-plan.js'
import type { ServerFacts } from './server.js'
import { readTableMap, type TableMap } from './table-map.js'

export interface CapturedOptions {
  readonly server: ServerFacts
  /** The table as the catalog has it now. */
  readonly read: (schema: TableSchema) => Promise<CatalogTable | undefined>
  readonly history: ColumnHistory
  /** DDL past the log on what was copied: stop, or let it pass. */
  readonly ignoreRewrites: boolean
  /** Makes sure that texts of these sets can be read. */
  readonly charsets: (names: readonly string[]) => Promise<void>
  /** A table has a new definition. */
  readonly changed: (table: CatalogTable) => void
}

export class CapturedTables {
  /** Rises when plans made before may not be used any more. */
  generation = 0
  readonly #o: CapturedOptions
  readonly #tables = new Map<string, CatalogTable>()
  /** Tables whose definition DDL changed behind what is known of them. */
  readonly #stale = new Set<string>()

  constructor(options: CapturedOptions) {
    this.#o = options
  }

  add(table: CatalogTable): void {
    this.#tables.set(this.#at(table.schema.namespace, table.schema.name), table)
  }

  get(id: TableId): CatalogTable | undefined {
    for (const table of this.#tables.values()) if (table.schema.id === id) return table
    return undefined
  }

  get all(): CatalogTable[] {
    return [...this.#tables.values()]
  }

  /** Names compare without case where the server keeps them so. */
  #at(database: string, table: string): string {
    const text = `${database}\0${table}`
    return this.#o.server.variables.get('lower_case_table_names') === '0' ? text : text.toLowerCase()
  }

  #named({ database, table }: NamedInLog): CatalogTable | undefined {
    return this.#tables.get(this.#at(database, table))
  }

  // ---- table maps

  /** How to decode the rows behind the map; null: they are of no captured table. */
  plan(b: Buffer, start: number, end: number, where: string): DecodePlan | null | Promise<DecodePlan> {
    const map = readTableMap(b, start, end, this.#o.server.mariadb)
    const at = this.#at(map.database, map.table)
    const known = this.#tables.get(at)
    if (known === undefined) return null
    const { server } = this.#o
    if (!this.#stale.has(at) && fits(known, map, server)) return planOf(known, map, server)
    return this.#look(at, known, map, where)
  }

  async #look(at: string, known: CatalogTable, map: TableMap, where: string): Promise<DecodePlan> {
    const { server, read, changed, charsets } = this.#o
    await charsets(charsetsOf(map, server))
    const fresh = await read(known.schema)
    const now = fresh !== undefined && fits(fresh, map, server) ? this.#o.history.apply(fresh) : fresh
    if (now !== undefined && fits(now, map, server) && (describesItself(map) || !this.#stale.has(at))) {
      this.#stale.delete(at)
      if (now.schema.fingerprint !== known.schema.fingerprint) {
        this.#tables.set(at, now)
        changed(now)
      }
      return planOf(now, map, server)
    }
    if (describesItself(map)) return planOf(this.#o.history.apply(tableOfMap(map, now ?? known, server)), map, server)
    throw new TidemarkError('mysql.table_changed', {
      message: `${known.schema.id} was changed by DDL, and rows from before or after it, at ${where}, do not say which columns they have`,
      fix: `${metadataFix(server)} Then run \`tidemark drop FILE\`, empty the targets and start anew.`,
    })
  }

  // ---- statements

  /** Tables that the statement empties. Throws where captured rows change without row events. */
  statement(statement: Statement, sql: string, where: string): TableSchema[] {
    switch (statement.kind) {
      case 'truncate': {
        const table = this.#named(statement.table)
        return table === undefined ? [] : [table.schema]
      }
      case 'drop':
        for (const name of statement.tables) this.#gone(name, 'dropped', where)
        return []
      case 'drop-database':
        for (const { schema } of this.#tables.values()) {
          if (schema.namespace === statement.database)
            this.#gone({ database: schema.namespace, table: schema.name }, 'dropped', where)
        }
        return []
      case 'rename':
        for (const { from } of statement.pairs) this.#gone(from, 'renamed', where)
        return []
      case 'alter':
        return this.#altered(statement, sql, where)
      case 'dml':
        for (const name of statement.names)
          if (this.#named(name)) throw refusedStatement(statement.verb, this.#named(name)!.schema, sql, where)
        return []
      default:
        return []
    }
  }

  #altered(
    { table, renamed, rewrites, columns, types }: Statement & { kind: 'alter' },
    sql: string,
    where: string,
  ): TableSchema[] {
    const known = this.#named(table)
    if (known === undefined) return []
    if (renamed !== null) this.#gone(table, 'renamed', where)
    const lost = rewrites === CONVERT || /PARTITION|TABLESPACE/.test(rewrites ?? '')
    if (lost && !this.#o.ignoreRewrites) {
      throw new TidemarkError('mysql.table_changed', {
        message: `${rewrites} on ${known.schema.id}, before ${where}, changed its rows without row events: ${sql.slice(0, 200)}`,
        fix: 'Run `tidemark drop FILE`, empty the targets and start anew.',
      })
    }
    for (const { from, to } of columns) {
      if (to === null) this.#o.history.dropped(known.schema.id, from)
      else this.#o.history.renamed(known.schema.id, from, to)
    }
    for (const { column, type } of types) {
      const was = this.#o.history.retyped(known.schema.id, column, type)
      if (was !== null && !this.#o.ignoreRewrites) throw retyped(known.schema, column, was, type, where)
    }
    this.#stale.add(this.#at(table.database, table.table))
    this.generation++
    return []
  }

  #gone(name: NamedInLog, how: string, where: string): void {
    const table = this.#named(name)
    if (table === undefined) return
    throw new TidemarkError('mysql.table_gone', {
      message: `table ${table.schema.id} was ${how}, before ${where}`,
      fix: 'Take it out of `tables`, or run `tidemark drop FILE`, empty the targets and start anew.',
    })
  }
}

export function metadataFix({ variables, mariadb, number }: ServerFacts): string {
  if (variables.has('binlog_row_metadata')) return 'SET GLOBAL binlog_row_metadata = FULL;'
  return mariadb || number < 80_001
    ? 'This server is too old for binlog_row_metadata = FULL.'
    : 'Set binlog_row_metadata = FULL.'
}

function retyped({ id }: TableSchema, column: string, was: string, type: string, where: string): TidemarkError {
  return new TidemarkError('mysql.table_changed', {
    message: `column ${column} of ${id} became ${type} and was ${was}, before ${where}; what that made of the values of rows that were copied is in no log`,
    fix: 'Run `tidemark drop FILE`, empty the targets and start anew. If no value changed, or the targets were altered alike: run once with --set source.table.rewrites=ignore.',
  })
}

function refusedStatement(verb: string, schema: TableSchema, sql: string, where: string): TidemarkError {
  return new TidemarkError('mysql.binlog_event', {
    message: `the binlog has an ${verb} on ${schema.id} as a statement instead of rows, before ${where}: ${sql.slice(0, 200)}`,
    fix: 'SET GLOBAL binlog_format = ROW; and make sure that no session sets another. Then run `tidemark drop FILE`, empty the targets and start anew.',
  })
}
