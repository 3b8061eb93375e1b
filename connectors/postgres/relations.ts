/**
 * The schemas of relations as the log describes them at its place. Where that is what the catalog says now, it is the very
 * schema of the snapshot; otherwise it is made of what the message carries.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Column, ColumnType, TableId, TableSchema } from '../../core/model.js'
import type { PgConnection } from '../../drivers/postgres.js'
import { type CatalogTable, makeSchema } from './catalog.js'
import { TypeCache } from './column-types.js'
import type { Completion, ComputedColumn, GeneratedColumns } from './generated.js'
import type { RelationMessage } from './pgoutput.js'
import { generatedBefore, keyChanged } from './table-change.js'
import type { TableWatch } from './watch.js'

/** A type that nothing is known of any more: its text is all there is. */
const UNKNOWN_TYPE: ColumnType = {
  kind: 'other',
  native: 'text',
  base: 'text',
  precision: null,
  scale: null,
  length: null,
  element: null,
  labels: null,
  domain: null,
}

export interface RelationOptions {
  readonly connection: PgConnection
  readonly watch: TableWatch
  readonly generated: GeneratedColumns
  /** The captured table of this OID, as it was known last; undefined when it is not captured. */
  readonly known: (oid: number) => CatalogTable | undefined
  /** The table as the catalog shows it now. */
  readonly read: (table: TableSchema) => Promise<CatalogTable | undefined>
}

export class Relations {
  readonly #o: RelationOptions
  readonly #types = new TypeCache()

  constructor(options: RelationOptions) {
    this.#o = options
  }

  /** The schema that rows of the relation come with; null when its table is not captured. Most are known without a query. */
  resolve(relation: RelationMessage): TableSchema | null | Promise<TableSchema> {
    const known = this.#o.known(relation.oid)
    if (known === undefined) return null
    const { schema } = known
    if (relation.namespace !== schema.namespace || relation.name !== schema.name) {
      throw new TidemarkError('postgres.table_renamed', {
        message: `table ${schema.id} was renamed to ${relation.namespace}.${relation.name}`,
        fix: 'Rename it back, or capture it under its new name with a new pipeline.',
      })
    }
    requireKey(relation, known)
    const types = this.#typesOf(relation)
    return (types && this.#unchanged(known, relation, types)) ?? this.#lookUp(known, relation)
  }

  /** null: some must be read first. */
  #typesOf({ columns }: RelationMessage): readonly ColumnType[] | null {
    if (!columns.every((c) => this.#types.has(c.typeOid))) return null
    return columns.map((c) => this.#types.columnType(c.typeOid, c.typmod))
  }

  /** null: the log describes the table otherwise than the catalog did. */
  #unchanged(table: CatalogTable, relation: RelationMessage, types: readonly ColumnType[]): TableSchema | null {
    const logged = loggedColumns(table)
    const same =
      relation.columns.length === logged.length &&
      logged.every((c, i) => c.name === relation.columns[i]!.name && c.type.native === types[i]!.native)
    return same ? this.#completed(table.schema, logged, table.computed, (name) => name) : null
  }

  async #lookUp(known: CatalogTable, relation: RelationMessage): Promise<TableSchema> {
    const { connection, watch, read } = this.#o
    const { schema } = known
    await this.#types.load(
      connection,
      relation.columns.map((c) => `${c.typeOid}`),
    )
    // A type that was dropped with its column is in no catalog any more.
    const types = relation.columns.map((c) =>
      this.#types.has(c.typeOid)
        ? this.#types.columnType(c.typeOid, c.typmod)
        : (watch.typeOf(schema.id, c.typeOid) ?? UNKNOWN_TYPE),
    )
    const unchanged = this.#unchanged(known, relation, types)
    if (unchanged) return unchanged
    await watch.lookAt(schema.id)
    const now = (await read(schema)) ?? known
    const current = this.#unchanged(now, relation, types)
    if (current) return current
    const columns = relation.columns.map((c, i): Column => {
      const old = [...now.schema.columns, ...schema.columns].find(
        (o) => o.name === c.name && o.type.native === types[i]!.native,
      )
      return old ?? { name: c.name, type: types[i]!, nullable: true, generated: false, defaultValue: null }
    })
    const computed = this.#computable(now, columns)
    const whole = [...columns, ...now.schema.columns.filter((c) => computed.some(({ name }) => name === c.name))]
    const key = schema.key.map((i) => whole.findIndex((c) => c.name === schema.columns[i]!.name))
    const { database, namespace, name } = schema
    const then = (column: string) => this.#nameThen(schema.id, column, columns)
    return this.#completed(makeSchema({ database, namespace, name, columns: whole, key }), columns, computed, then)
  }

  /** The name that a column of today has among those of an older definition. Another one may have today's name by then. */
  #nameThen(id: TableId, name: string, columns: readonly Column[]): string {
    const former = this.#o.watch.formerName(id, name)
    return former !== undefined && columns.some((c) => c.name === former) ? former : name
  }

  /** Without computed columns the schema itself; else one of what the log has, which the batches' rows are completed from. */
  #completed(
    schema: TableSchema,
    logged: readonly Column[],
    computed: readonly ComputedColumn[],
    nameThen: (name: string) => string,
  ): TableSchema {
    if (computed.length === 0) return schema
    const { database, namespace, name } = schema
    const key = schema.key.map((i) => logged.indexOf(schema.columns[i]!)).filter((i) => i >= 0)
    const bare = makeSchema({ database, namespace, name, columns: logged, key })
    const completion: Completion = {
      table: schema.id,
      schema,
      from: schema.columns.map((c) => logged.indexOf(c)),
      columns: computed.map((column) => ({
        column,
        place: schema.columns.findIndex((c) => c.name === column.name),
        inputs: column.inputs.map(({ name: now }) => logged.findIndex((c) => c.name === nameThen(now))),
      })),
    }
    this.#o.generated.add(bare, completion)
    return bare
  }

  /** Of an older definition: the generated columns that it had the inputs of. */
  #computable(now: CatalogTable, columns: readonly Column[]): ComputedColumn[] {
    const { watch } = this.#o
    const { id } = now.schema
    const has = (name: string) => columns.some((c) => c.name === this.#nameThen(id, name, columns))
    const lost = now.computes && loggedColumns(now).find((c) => !has(c.name) && watch.knew(id, c.name))
    if (lost) throw generatedBefore(id, lost.name)
    return now.computed.filter(({ inputs }) => inputs.every(({ name }) => has(name)))
  }
}

/** The log flags what old rows are identified by; under FULL that is every column (1.10 h). */
function requireKey({ columns, replicaIdentity }: RelationMessage, { schema }: CatalogTable): void {
  if (replicaIdentity === 'f') return
  const flagged = columns.filter((c) => c.isKey).map((c) => c.name)
  const key = schema.key.map((i) => schema.columns[i]!.name)
  // With no key there are only inserts: the server refuses the rest.
  if (flagged.length === 0 && key.every((name) => columns.some((c) => c.name === name))) return
  if (flagged.length !== key.length || !key.every((name) => flagged.includes(name)))
    throw keyChanged(schema.id, key, flagged)
}

/** The columns that the log carries, in its order. */
function loggedColumns({ schema, computed }: CatalogTable): Column[] {
  return schema.columns.filter((c) => !computed.some(({ name }) => name === c.name))
}
