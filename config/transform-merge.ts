/**
 * Several source tables in one target. Always true: every one of them has the same merged schema at any moment, made of what
 * the tables look like now, so that the sink sees one table. A column that one table lacks holds what its rows will show
 * once it gets the column (Column.filled), else NULL; a table whose rows would then show something else stops the pipeline.
 */
import { TidemarkError } from '../core/errors.js'
import type { Change, ChangeBatch, Column, ColumnType, Row, TableId, TableSchema, Value } from '../core/model.js'
import { mergedColumn, wider } from './merge-types.js'
import type { CompiledRoute } from './transform.js'
import type { RouteTarget } from './transform-route.js'

/** One source table as column rules leave it. */
export interface Shard {
  readonly source: TableSchema
  readonly columns: readonly Column[]
  readonly key: readonly number[]
  /** The rows as the rules leave them; null: as they come. */
  readonly rows: ((change: Change) => Change) | null
  readonly route: CompiledRoute
  /** Name and value of each column that says where a row comes from. */
  readonly identity: readonly (readonly [name: string, value: string])[]
}

export interface MergedShard {
  readonly version: number
  readonly schema: TableSchema
  batch(batch: ChangeBatch): ChangeBatch
}

export class MergedTable {
  /** Changes with the schema. */
  version = 0
  readonly #target: RouteTarget
  readonly #finish: (schema: TableSchema) => TableSchema
  readonly #shards = new Map<TableId, Shard>()
  /** Source table and column that it lacks -> what its rows got there. */
  readonly #given = new Map<string, string | null>()
  #schema: TableSchema | null = null

  /** `finish` gives a schema its fingerprint. */
  constructor(target: RouteTarget, finish: (schema: TableSchema) => TableSchema) {
    this.#target = target
    this.#finish = finish
  }

  /** Takes a table in, or its newest definition. */
  put(shard: Shard): void {
    for (const other of this.#shards.values()) this.#compare(shard, other)
    this.#requireSameFill(shard)
    this.#shards.set(shard.source.id, shard)
    const next = this.#merge()
    if (next.fingerprint === this.#schema?.fingerprint) return
    this.#schema = next
    this.version++
  }

  shard(id: TableId): MergedShard {
    const shard = this.#shards.get(id)!
    const schema = this.#schema!
    const values = this.#valuesOf(shard, schema)
    const { route, source, rows } = shard
    const map = (change: Change) => {
      const { op, before, after, at } = rows === null ? change : rows(change)
      return { op, before: before && values(before), after: after && values(after), at }
    }
    const idBytes = shard.identity.reduce((sum, [, value]) => sum + value.length, 0)
    return {
      version: this.version,
      schema,
      batch(batch) {
        if (batch.kind === 'rows') {
          const { kind, origin, changes } = batch
          return { kind, schema, origin, changes: changes.map(map), bytes: batch.bytes + changes.length * idBytes }
        }
        if (route.entry['on-truncate'] !== 'ignore') throw truncated(source, schema, shard)
        return { kind: 'rows', schema, origin: batch.origin, changes: [], bytes: batch.bytes }
      },
    }
  }

  #compare(shard: Shard, other: Shard): void {
    if (other.source.id === shard.source.id) return
    const [a, b] = [other.source.id, shard.source.id]
    const both = `${a} and ${b} both go to ${this.#target.id}`
    if (shard.route.entry.merge !== other.route.entry.merge) {
      throw misfit(shard, `${both}, but by different kinds of merge`, 'Give their routes the same `merge`.')
    }
    const identity = (s: Shard) => JSON.stringify(s.identity)
    if (shard.route.entry.merge === 'by-shard' && identity(shard) === identity(other)) {
      throw misfit(
        shard,
        `${both}, and have the same shard-columns: ${shard.identity.map(([n, v]) => `${n} = ${v}`).join(', ')}`,
        'Take what tells the tables apart into shard-columns: {database}, {schema}, {table}, or $1, $2... of the pattern.',
      )
    }
    const names = (s: Shard) => s.key.map((i) => s.columns[i]!.name).join(', ')
    if (names(shard) !== names(other)) {
      const show = (s: Shard) => names(s) || 'nothing'
      throw misfit(
        shard,
        `${both}, and have different keys: ${show(other)}, and ${show(shard)}`,
        'Give them the same key.',
      )
    }
    for (const column of shard.columns) {
      const theirs = other.columns.find(({ name }) => name === column.name)
      if (!theirs || wider(theirs.type, column.type, shard.source.dialect) !== null) continue
      throw misfit(
        shard,
        `${both}, and column ${column.name} is ${theirs.type.native} in ${a} and ${column.type.native} in ${b}, of which neither holds the other`,
        'Give the column one type, or leave it out with `transform: exclude`, or send one of the tables elsewhere.',
      )
    }
  }

  /** What older rows of the table show in a new column is what the target got for them, or nobody could say which is right. */
  #requireSameFill(shard: Shard): void {
    for (const { name, filled } of shard.columns) {
      const given = this.#given.get(givenKey(shard, name))
      if (filled === undefined || given === undefined || given === filled) continue
      const show = (value: string | null) => (value === null ? 'NULL' : `'${value}'`)
      throw misfit(
        shard,
        `${shard.source.id} got the column ${name}, and its older rows show ${show(filled)} there; ${this.#target.id} has had the column from another table, and ${show(given)} in these rows`,
        'Leave the column out with `transform: exclude`, or drop the pipeline, empty the target and copy the tables anew.',
      )
    }
  }

  #merge(): TableSchema {
    const shards = [...this.#shards.values()]
    const [first] = shards as [Shard]
    const { source } = first
    const own = first.identity.map(([name]) => identityColumn(name, source))
    const merged = new Map<string, Column>()
    for (const { columns } of shards) {
      for (const column of columns) {
        const known = merged.get(column.name)
        merged.set(column.name, known === undefined ? column : mergedColumn(known, column, source.dialect)!)
      }
    }
    for (const column of merged.values()) {
      const lacks = shards.some(({ columns }) => !columns.some(({ name }) => name === column.name))
      if (lacks) merged.set(column.name, { ...column, nullable: true, generated: false })
    }
    for (const { name } of own) {
      if (!merged.has(name)) continue
      throw misfit(first, `${source.id} has a column ${name} already`, 'Choose other names in shard-columns.')
    }
    const columns = [...own, ...merged.values()]
    const keyNames = first.key.map((i) => first.columns[i]!.name)
    const key = keyNames.map((name) => columns.findIndex((column) => column.name === name))
    const byShard = first.route.entry.merge === 'by-shard' && key.length > 0
    return this.#finish({
      ...source,
      ...this.#target,
      columns,
      key: byShard ? [...own.map((_, i) => i), ...key] : key,
    })
  }

  #valuesOf(shard: Shard, schema: TableSchema): (row: Row) => Row {
    const constants = new Map<string, string>(shard.identity)
    const slots = schema.columns.map((column): { readonly from: number; readonly value: Value } => {
      const constant = constants.get(column.name)
      if (constant !== undefined) return { from: -1, value: constant }
      const from = shard.columns.findIndex(({ name }) => name === column.name)
      if (from >= 0) return { from, value: null }
      const value = column.filled ?? null
      this.#given.set(givenKey(shard, column.name), value)
      return { from, value }
    })
    return (row) => slots.map(({ from, value }) => (from < 0 ? value : row[from]))
  }
}

const givenKey = ({ source }: Shard, column: string) => `${source.id} ${column}`

/** Longer than any name that a source allows, and short enough for an index. */
const IDENTITY_CHARS = 200

function identityColumn(name: string, { dialect }: TableSchema): Column {
  const native = dialect === 'mysql' ? `varchar(${IDENTITY_CHARS})` : `character varying(${IDENTITY_CHARS})`
  const type: ColumnType = {
    kind: 'string',
    native,
    base: 'varchar',
    precision: null,
    scale: null,
    length: IDENTITY_CHARS,
    element: null,
    labels: null,
    domain: null,
  }
  return { name, type, nullable: false, generated: false, defaultValue: null }
}

function misfit({ route }: Shard, message: string, fix: string): TidemarkError {
  return new TidemarkError('config.merge', { message, fix, at: route.where('merge') })
}

function truncated(source: TableSchema, schema: TableSchema, { identity, route }: Shard): TidemarkError {
  const where = identity.map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`).join(' AND ')
  const own = where === '' ? 'the rows that came from it' : `its rows (DELETE FROM ${schema.id} WHERE ${where};)`
  return new TidemarkError('config.merged_truncate', {
    message: `${source.id} was truncated, and ${schema.id} holds rows of other tables too`,
    fix: `Delete ${own}, then start once with \`on-truncate: ignore\` in the route, and take it out again. Or keep it, and rows of truncated tables stay in the target.`,
    at: route.where('on-truncate'),
  })
}
