/**
 * Generated columns that the log lacks (before PostgreSQL 18 all of them, from then on virtual ones). A generated column is
 * an immutable expression over its own row, so the server computes it from the very values of the change: exact, where
 * reading the row again would show a later one. Always true: batches leave in the order they came, one at a time, and what
 * a statement carries is bounded in bytes (I8).
 */
import { TidemarkError } from '../../core/errors.js'
import type { Change, Row, TableSchema, Value } from '../../core/model.js'
import type { Abortable, LogBatch, LogItem } from '../../core/source.js'
import { type PgConnection, quoteIdent } from '../../drivers/postgres.js'
import { literal } from './keys.js'

/** Values that one statement carries; a larger row goes by itself. */
const STATEMENT_BYTES_MAX = 512 * 1024

export interface ComputedColumn {
  readonly name: string
  /** As the catalog prints it, under a search_path of pg_catalog alone. */
  readonly expression: string
  /** Type with modifiers, schema-qualified. */
  readonly type: string
  readonly inputs: readonly InputColumn[]
  /** Depends on tableoid, which no change carries. */
  readonly system: boolean
}

export interface InputColumn {
  readonly name: string
  readonly type: string
  /** Qualified, null for types without one. */
  readonly collation: string | null
  /** Long values are stored apart, and an update that leaves one alone does not send it. */
  readonly long: boolean
}

/** How rows of the log become rows of the table. */
export interface Completion {
  readonly table: string
  /** What rows have in the end. */
  readonly schema: TableSchema
  /** For each column of `schema` its place in a row of the log, -1 for a computed one. */
  readonly from: readonly number[]
  readonly columns: readonly {
    readonly column: ComputedColumn
    /** In `schema`. */
    readonly place: number
    /** Places in a row of the log. */
    readonly inputs: readonly number[]
  }[]
}

/** A row on its way. */
interface Image {
  readonly logged: Row
  readonly whole: Value[]
}

export class GeneratedColumns {
  readonly #connect: () => Promise<PgConnection>
  readonly #of = new Map<TableSchema, Completion>()
  #connection: Promise<PgConnection> | null = null

  constructor(connect: () => Promise<PgConnection>) {
    this.#connect = connect
  }

  /** Rows of the log that come with this schema are completed from now on. */
  add(logged: TableSchema, completion: Completion): void {
    this.#of.set(logged, completion)
  }

  async complete(batch: LogBatch, { signal }: Abortable): Promise<LogBatch> {
    const schemaOf = (schema: TableSchema) => this.#of.get(schema)?.schema ?? schema
    if (!batch.items.some((item) => this.#concerns(item))) return batch
    const images = new Map<Completion, Image[]>()
    const items = batch.items.map((item): LogItem => {
      if (item.kind === 'truncate') return { ...item, schemas: item.schemas.map(schemaOf) }
      const completion = this.#of.get(item.schema)
      if (completion === undefined) return item
      const list = images.get(completion) ?? []
      images.set(completion, list)
      return { ...item, schema: completion.schema, changes: item.changes.map((c) => widened(completion, c, list)) }
    })
    for (const [completion, list] of images) await this.#fill(completion, list, signal)
    const sized = items.map((item, i) => this.#sized(item, batch.items[i]!))
    const grown = sized.reduce((sum, item, i) => sum + bytesOf(item) - bytesOf(batch.items[i]!), 0)
    return { ...batch, items: sized, bytes: batch.bytes + grown }
  }

  #sized(item: LogItem, logged: LogItem): LogItem {
    const completion = logged.kind === 'rows' ? this.#of.get(logged.schema) : undefined
    if (completion === undefined || item.kind !== 'rows') return item
    let bytes = item.bytes
    for (const { before, after } of item.changes) {
      for (const { place } of completion.columns) bytes += textBytes(before?.[place]) + textBytes(after?.[place])
    }
    return { ...item, bytes }
  }

  async close(): Promise<void> {
    await (await this.#connection?.catch(() => null))?.close()
  }

  #concerns(item: LogItem): boolean {
    return item.kind === 'rows' ? this.#of.has(item.schema) : item.schemas.some((schema) => this.#of.has(schema))
  }

  /** Computes what can be computed of each image; images that lack the same values go together. */
  async #fill(completion: Completion, images: readonly Image[], signal: AbortSignal): Promise<void> {
    const groups = new Map<string, Image[]>()
    for (const image of images) {
      const sent = completion.columns.map(({ inputs }) => inputs.every((i) => image.logged[i] !== undefined))
      const mask = sent.map(Number).join('')
      const group = groups.get(mask)
      if (group) group.push(image)
      else groups.set(mask, [image])
    }
    for (const [mask, group] of groups) {
      const columns = completion.columns.filter((_, i) => mask[i] === '1')
      if (columns.length > 0) await this.#compute(completion, columns, group, signal)
    }
  }

  async #compute(
    completion: Completion,
    columns: Completion['columns'],
    images: readonly Image[],
    signal: AbortSignal,
  ): Promise<void> {
    const statement = statementOf(columns)
    for (let from = 0; from < images.length; ) {
      signal.throwIfAborted()
      const values: string[] = []
      let to = from
      for (let size = 0; to < images.length && (to === from || size < STATEMENT_BYTES_MAX); to++) {
        const line = statement.values(to - from, images[to]!.logged)
        size += line.length
        values.push(line)
      }
      const rows = await this.#ask(statement.sql(values), completion, columns)
      for (let i = from; i < to; i++) {
        const { whole } = images[i]!
        const row = rows[i - from]!
        for (const [j, { place }] of columns.entries()) whole[place] = row[j] ?? null
      }
      from = to
    }
  }

  async #ask(sql: string, { table }: Completion, columns: Completion['columns']): Promise<(string | null)[][]> {
    this.#connection ??= this.#connect()
    const connection = await this.#connection
    try {
      return await connection.query(sql)
    } catch (error) {
      if (!(error instanceof TidemarkError) || error.retriable) throw error
      const names = columns.map(({ column }) => column.name).join(', ')
      throw new TidemarkError('postgres.generated_column', {
        message: `computing generated column ${names} of ${table} from a change failed: ${error.message}`,
        fix: 'A function that it calls must be there, be executable by this user, and name its search_path (ALTER FUNCTION ... SET search_path = ...). Or set generated.columns: drop.',
        cause: error,
      })
    }
  }
}

function textBytes(value: Value): number {
  return typeof value === 'string' ? value.length : 0
}

function bytesOf(item: LogItem): number {
  return item.kind === 'rows' ? item.bytes : 0
}

/** Rows of the table's width, with what the log has; the rest stays unsent until it is computed. */
function widened(completion: Completion, change: Change, images: Image[]): Change {
  const { from, columns, table } = completion
  const widen = (logged: Row): Row => {
    const whole = from.map((place) => (place < 0 ? undefined : logged[place]))
    images.push({ logged, whole })
    return whole
  }
  const { before, after } = change
  if (after !== null) {
    for (const { column, inputs } of columns) {
      // All of them unsent: none has changed, and so the column has not.
      const unsent = inputs.filter((i) => after[i] === undefined).length
      if (unsent > 0 && unsent < inputs.length) throw unsentInput(table, column)
    }
  }
  return { ...change, before: before && widen(before), after: after && widen(after) } as Change
}

/**
 * The expression sees a row of exactly its inputs, under their names, types and collations: nothing else can capture a
 * name. Each value is read by its type's own input function, as a typed literal is.
 */
function statementOf(columns: Completion['columns']): {
  values(n: number, row: Row): string
  sql(values: readonly string[]): string
} {
  const inputs = new Map<number, InputColumn>()
  for (const { column, inputs: places } of columns) {
    for (const [i, place] of places.entries()) inputs.set(place, column.inputs[i]!)
  }
  const list = [...inputs]
  const names = list.map((_, i) => `, c${i}`).join('')
  const row = list.map(
    ([, { name, collation }], i) =>
      `v.c${i}${collation === null ? '' : ` collate ${collation}`} as ${quoteIdent(name)}`,
  )
  const results = columns.map(({ column: { expression, type } }, i) => `(${expression})::${type} as r${i}`)
  return {
    values: (n, logged) => `(${[n, ...list.map(([place, { type }]) => literal(logged[place], type))].join(', ')})`,
    sql: (values) =>
      `select x.* from (values ${values.join(', ')}) v(n${names}) cross join lateral (select ${results.join(', ')} from (select ${row.join(', ')}) t) x order by v.n`,
  }
}

function unsentInput(table: string, { name, inputs }: ComputedColumn): TidemarkError {
  const columns = inputs.map((input) => input.name).join(', ')
  return new TidemarkError('postgres.generated_column', {
    message: `generated column ${name} of ${table} depends on ${columns}, and an update changed the row without sending a long value that stayed the same: the log does not say what ${name} became`,
    fix: `ALTER TABLE ${table} REPLICA IDENTITY FULL;  then take the table out of \`tables\`, run once, empty its target, and put it back: it is copied anew. Or set generated.columns: drop.`,
  })
}
