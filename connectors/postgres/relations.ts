/**
 * The schemas of relations as the log describes them at its place. Where that is what the catalog says now, it is the very
 * schema of the snapshot; otherwise it is made of what the message carries.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Column, TableId, TableSchema } from '../../core/model.js'
import type { PgConnection } from '../../drivers/postgres.js'
import { type CatalogTable, makeSchema, TypeCache } from './catalog.js'
import type { Completion, ComputedColumn, GeneratedColumns } from './generated.js'
import type { RelationMessage } from './pgoutput.js'
import type { TableWatch } from './watch.js'

export interface RelationOptions {
  readonly connection: PgConnection
  readonly watch: TableWatch
  readonly generated: GeneratedColumns
  /** The captured table of this OID, as it was known last; undefined when it is not captured. */
  readonly known: (oid: number) => CatalogTable | undefined
  /** The table as the catalog shows it now. */
  readonly read: (id: TableId) => Promise<CatalogTable | undefined>
}

export class Relations {
  readonly #o: RelationOptions
  readonly #types = new TypeCache()

  constructor(options: RelationOptions) {
    this.#o = options
  }

  /** The schema that rows of the relation come with; null when its table is not captured. */
  async resolve(relation: RelationMessage): Promise<TableSchema | null> {
    const { connection, watch, read } = this.#o
    const known = this.#o.known(relation.oid)
    if (known === undefined) return null
    const { schema } = known
    if (relation.namespace !== schema.namespace || relation.name !== schema.name) {
      throw new TidemarkError('postgres.table_renamed', {
        message: `table ${schema.id} was renamed to ${relation.namespace}.${relation.name}`,
        fix: 'Rename it back, or capture it under its new name with a new pipeline.',
      })
    }
    await this.#types.load(
      connection,
      relation.columns.map((c) => `${c.typeOid}`),
    )
    const types = relation.columns.map((c) => this.#types.columnType(c.typeOid, c.typmod))
    await watch.look()
    const now = (await read(schema.id)) ?? known
    for (const table of [known, now]) {
      const logged = loggedColumns(table)
      const same =
        relation.columns.length === logged.length &&
        logged.every((c, i) => c.name === relation.columns[i]!.name && c.type.native === types[i]!.native)
      if (same) return this.#completed(table.schema, logged, table.computed, (name) => name)
    }
    const columns = relation.columns.map((c, i): Column => {
      const old = [...now.schema.columns, ...schema.columns].find(
        (o) => o.name === c.name && o.type.native === types[i]!.native,
      )
      return old ?? { name: c.name, type: types[i]!, nullable: true, generated: false, defaultValue: null }
    })
    const computed = this.#computable(now, columns)
    const whole = [...columns, ...now.schema.columns.filter((c) => computed.some(({ name }) => name === c.name))]
    const key = schema.key.map((i) => whole.findIndex((c) => c.name === schema.columns[i]!.name))
    if (key.includes(-1)) {
      throw new TidemarkError('postgres.identity_changed', {
        message: `a key column of ${schema.id} was dropped or renamed while the pipeline ran`,
        fix: 'Run `tidemark drop FILE`, empty the target and start anew: keys of events before and after differ.',
      })
    }
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
    if (lost) {
      throw new TidemarkError('postgres.generated_column', {
        message: `column ${lost.name} of ${id} was a generated one until ALTER COLUMN ... DROP EXPRESSION: what it held before is in no log`,
        fix: 'Take the table out of `tables`, run once, empty its target, and put it back: it is then copied anew.',
      })
    }
    return now.computed.filter(({ inputs }) => inputs.every(({ name }) => has(name)))
  }
}

/** The columns that the log carries, in its order. */
function loggedColumns({ schema, computed }: CatalogTable): Column[] {
  return schema.columns.filter((c) => !computed.some(({ name }) => name === c.name))
}
