/**
 * Columns that were renamed or added since the pipeline knew a table: what they were called, and what older rows hold in them (rule l).
 * Always true: every definition of a table passes apply() in the order of the log, so what is new is found by comparing names, and
 * which of them are only new names the statements say. Kept in the checkpoint as the table's tag.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Column, TableId } from '../../core/model.js'
import { type CatalogTable, makeMysqlSchema } from './catalog.js'
import { keepsValues } from './retyped.js'

interface Known {
  names: string[]
  /** What rows that are older than a column hold in it. */
  readonly filled: Record<string, string | null>
  readonly former: Record<string, string>
  /** Types by name, as the rows that the log has come to were written; absent: unknown. */
  types?: Record<string, string>
}

export class ColumnHistory {
  readonly #tables = new Map<TableId, Known>()
  readonly #ignoreRewrites: boolean

  constructor(options: { readonly ignoreRewrites: boolean }) {
    this.#ignoreRewrites = options.ignoreRewrites
  }

  /** `tag`: of the checkpoint; null: the table is new to the pipeline, or nothing was kept. */
  start({ schema }: CatalogTable, tag: string | null): void {
    const names = schema.columns.map(({ name }) => name)
    const types = typesOf(schema.columns)
    this.#tables.set(schema.id, tag === null ? { names, filled: {}, former: {}, types } : (JSON.parse(tag) as Known))
  }

  tag(id: TableId): string | null {
    const known = this.#tables.get(id)
    return known === undefined ? null : JSON.stringify(known)
  }

  renamed(id: TableId, from: string, to: string): void {
    const known = this.#tables.get(id)
    const at = known?.names.indexOf(from) ?? -1
    if (known === undefined || at < 0) return
    known.names[at] = to
    known.former[to] = known.former[from] ?? from
    delete known.former[from]
    if (known.types?.[from] !== undefined) {
      known.types[to] = known.types[from]
      delete known.types[from]
    }
    if (from in known.filled) {
      known.filled[to] = known.filled[from]!
      delete known.filled[from]
    }
  }

  /** A column is given a type. What its values were, where they may be others now; null: they are the same. */
  retyped(id: TableId, column: string, type: string): string | null {
    const types = this.#tables.get(id)?.types
    const was = types?.[column]
    if (types === undefined || was === undefined) return null
    types[column] = type
    return keepsValues(was, type) ? null : was
  }

  /** A column that comes back under the name is another one. */
  dropped(id: TableId, name: string): void {
    const known = this.#tables.get(id)
    if (known !== undefined) known.names = known.names.filter((n) => n !== name)
  }

  /** The catalog is ahead of the log: a column that the log still has is gone, by a new name or for good. */
  isAhead({ schema }: CatalogTable): boolean {
    const names = new Set(schema.columns.map(({ name }) => name))
    return !this.#ignoreRewrites && (this.#tables.get(schema.id)?.names.some((name) => !names.has(name)) ?? false)
  }

  /** apply() has nothing to add. */
  isCurrent(table: CatalogTable): boolean {
    const known = this.#tables.get(table.schema.id)
    if (known === undefined || this.#ignoreRewrites) return true
    return (
      !this.isAhead(table) &&
      table.schema.columns.every(
        ({ name, formerName, filled }) =>
          known.names.includes(name) &&
          formerName === known.former[name] &&
          (formerName !== undefined || filled === known.filled[name]),
      )
    )
  }

  /**
   * The definition for those who look at it before the log says more: a column in the place of one that is gone is taken for the
   * same under a new name. Nothing is learnt from that.
   */
  guess(table: CatalogTable): CatalogTable {
    const known = this.#tables.get(table.schema.id)
    if (known === undefined || !this.isAhead(table)) return this.apply(table)
    const { columns, namespace, name, key } = table.schema
    const names = new Set(columns.map((column) => column.name))
    const guessed = columns.map((column, i): Column => {
      const former = known.names[i]
      if (known.names.includes(column.name) || former === undefined || names.has(former)) return column
      return { ...column, formerName: known.former[former] ?? former }
    })
    return { ...table, schema: makeMysqlSchema(namespace, name, guessed, key) }
  }

  /** The definition with what is known of its columns; what is new in it is known from now on. */
  apply(table: CatalogTable): CatalogTable {
    const known = this.#tables.get(table.schema.id)
    if (known === undefined || this.#ignoreRewrites) return table
    const { columns, namespace, name, key, id } = table.schema
    columns.forEach((column, i) => {
      if (known.names.includes(column.name)) return
      const value = table.filled[i]
      if (value === undefined) throw unknownFill(id, column)
      delete known.former[column.name]
      known.filled[column.name] = value
      // Of the others only statements say when they change: the catalog may be ahead of the log.
      if (known.types !== undefined) known.types[column.name] = column.type.native
    })
    known.names = columns.map((column) => column.name)
    const decorated = columns.map((column): Column => {
      const formerName = known.former[column.name]
      if (formerName !== undefined) return { ...column, formerName }
      return column.name in known.filled ? { ...column, filled: known.filled[column.name]! } : column
    })
    if (decorated.every((column, i) => column === columns[i])) return table
    return { ...table, schema: makeMysqlSchema(namespace, name, decorated, key) }
  }
}

function typesOf(columns: readonly Column[]): Record<string, string> {
  return Object.fromEntries(columns.map(({ name, type }) => [name, type.native]))
}

function unknownFill(id: TableId, { name }: Column): TidemarkError {
  return new TidemarkError('mysql.table_changed', {
    message: `column ${name} was added to ${id}, and what the rows that were there hold in it is in no log`,
    fix: 'Run `tidemark drop FILE`, empty the targets and start anew; or run once with --set source.table.rewrites=ignore where targets need nothing of it.',
  })
}
