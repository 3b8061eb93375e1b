/**
 * Routes and transforms of a pipeline file, compiled once per table schema. Tables that no rule matches keep their
 * very objects. Whatever could lose or merge rows is refused (I7): a key column that is left out or masked with a
 * constant, two tables with one target that no route merges, a rule for a column that does not exist.
 */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../core/errors.js'
import type { Change, ChangeBatch, Row, TableId, TableSchema } from '../core/model.js'
import { renamedBatch } from '../core/packed-rows.js'
import { parseTablePatterns, type TablePattern } from '../core/table-pattern.js'
import type { Transform } from '../core/transform.js'
import type { PipelineBlock, RouteEntry, TransformEntry } from './blocks.js'
import { didYouMean } from './problems.js'
import { type ColumnPlan, HASH_BYTES, planColumns } from './transform-columns.js'
import { MergedTable, type Shard } from './transform-merge.js'
import { type Routed, routed } from './transform-route.js'
import { describe, type Path } from './yaml-file.js'

interface Compiled<E> {
  readonly patterns: readonly TablePattern[]
  readonly entry: E
  /** `route[0]` */
  readonly at: string
  /** Where an option of the entry stands, for errors. */
  readonly where: (...option: readonly string[]) => string
}

export type CompiledRoute = Compiled<RouteEntry>
export type CompiledRule = Compiled<TransformEntry>

/** Routes and rules of a pipeline file. */
export interface FileTransform extends Transform {
  /** Rules that apply to none of the tables: a misspelt mask must not leave what it hides in plain sight. */
  idle(tables: readonly TableSchema[]): TidemarkError[]
}

interface CompiledTable {
  readonly schema: TableSchema
  /** The merged table that it goes to, and the version of it that this was compiled for. */
  readonly merged?: { readonly table: MergedTable; readonly version: number }
  batch(batch: ChangeBatch): ChangeBatch
}

export type RouteMode = NonNullable<PipelineBlock['route-mode']>

/** Schema versions remembered; each costs a few kilobytes (I8). */
const COMPILED_MAX = 10_000
const NAMES_SHOWN_MAX = 10

export function compileTransform(
  routes: readonly RouteEntry[],
  transforms: readonly TransformEntry[],
  routeMode: RouteMode,
  place: (path: Path) => string = describe,
): FileTransform {
  const compiled = <E extends { readonly 'source-table': string }>(block: string, entries: readonly E[]) =>
    entries.map(
      (entry, i): Compiled<E> => ({
        entry,
        at: describe([block, i]),
        where: (...option) => place([block, i, ...option]),
        patterns: parseTablePatterns(entry['source-table']),
      }),
    )
  return new TableTransform(compiled('route', routes), compiled('transform', transforms), routeMode)
}

class TableTransform implements FileTransform {
  #routes: readonly CompiledRoute[]
  #rules: readonly CompiledRule[]
  #mode: RouteMode
  /** By fingerprint, which covers the table's name and database. */
  #compiled = new Map<string, CompiledTable>()
  /** Target -> the only source table that goes there, or those that a route merges. */
  #targets = new Map<TableId, TableId | MergedTable>()

  constructor(routes: readonly CompiledRoute[], rules: readonly CompiledRule[], mode: RouteMode) {
    this.#routes = routes
    this.#rules = rules
    this.#mode = mode
  }

  start(tables: readonly TableSchema[]): void {
    const mistakes = this.idle(tables)
    for (const table of tables) {
      try {
        this.apply(table)
      } catch (error) {
        if (!(error instanceof TidemarkError)) throw error
        mistakes.push(error)
      }
    }
    const [first, ...more] = mistakes
    if (!first) return
    if (more.length === 0) throw first
    const lines = mistakes.map(({ at, message, fix }) => `  ${at}  ${message}. ${fix ?? ''}`.trimEnd())
    throw new TidemarkError(first.code, { message: `${mistakes.length} mistakes\n${lines.join('\n')}` })
  }

  idle(tables: readonly TableSchema[]): TidemarkError[] {
    const names = tables.map(({ id }) => id as string)
    const of = (code: 'config.route' | 'config.transform', { at, patterns, where }: Compiled<unknown>) =>
      patterns
        .filter((pattern) => !tables.some((table) => pattern.matches(table)))
        .map(({ text }) => {
          const list = names.length > NAMES_SHOWN_MAX ? [...names.slice(0, NAMES_SHOWN_MAX), '...'] : names
          return new TidemarkError(code, {
            message: `${at} applies to "${text}", which no captured table matches`,
            fix: `Correct the name or remove it.${didYouMean(text, names)} Captured are ${list.join(', ')}.`,
            at: where('source-table'),
          })
        })
    return [
      ...this.#routes.flatMap((route) => of('config.route', route)),
      ...this.#rules.flatMap((rule) => of('config.transform', rule)),
    ]
  }

  apply(schema: TableSchema): TableSchema {
    return this.#table(schema).schema
  }

  batch(batch: ChangeBatch): ChangeBatch {
    return this.#table(batch.schema).batch(batch)
  }

  #table(schema: TableSchema): CompiledTable {
    const known = this.#compiled.get(schema.fingerprint)
    if (known && known.merged?.table.version === known.merged?.version) return known
    const made = this.#compile(schema)
    if (this.#compiled.size >= COMPILED_MAX) this.#compiled.clear()
    this.#compiled.set(schema.fingerprint, made)
    return made
  }

  #compile(source: TableSchema): CompiledTable {
    const rules = this.#rules.filter((rule) => rule.patterns.some((p) => p.matches(source)))
    const plan = planColumns(source, rules)
    const route = routed(source, this.#routes, this.#mode)
    const { columns, key } = plan ?? source
    const rows = plan === null || plan.passThrough ? null : changeMapper(plan)
    if (route?.route.entry.merge !== undefined) return this.#merge({ ...route, source, columns, key, rows })
    this.#own(route?.target.id ?? source.id, source)
    if (plan === null && route === null) return { schema: source, batch: (batch) => batch }
    const schema = withFingerprint({ ...source, ...(route?.target ?? {}), columns, key })
    const extraBytes = plan === null ? 0 : plan.hashed * HASH_BYTES
    return {
      schema,
      batch(batch) {
        if (batch.kind === 'truncate' || rows === null) return renamedBatch(batch, schema)
        const { kind, origin, changes, marks } = batch
        const bytes = batch.bytes + changes.length * extraBytes
        return { kind, schema, origin, changes: changes.map(rows), bytes, ...(marks && { marks }) }
      },
    }
  }

  #merge(shard: Shard & Pick<Routed, 'target'>): CompiledTable {
    const { target, source } = shard
    const owner = this.#targets.get(target.id)
    if (typeof owner === 'string') throw shared(owner, source.id, target.id)
    const table = owner ?? new MergedTable(target, withFingerprint)
    this.#targets.set(target.id, table)
    table.put(shard)
    const { schema, version, batch } = table.shard(source.id)
    return { schema, merged: { table, version }, batch }
  }

  /** I7: two tables in one target write over each other's rows where their keys meet. */
  #own(target: TableId, source: TableSchema): void {
    const owner = this.#targets.get(target)
    if (owner instanceof MergedTable) throw shared('tables that a route merges', source.id, target)
    if (owner !== undefined && owner !== source.id) throw shared(owner, source.id, target)
    this.#targets.set(target, source.id)
  }
}

function shared(owner: string, source: TableId, target: TableId): TidemarkError {
  return new TidemarkError('config.route', {
    message: `${owner} and ${source} would both go to ${target}, and not by one route with \`merge\``,
    fix: 'Give each its own target, for example with replace-symbol, or take one out of source.tables. To have them in one table: `merge` in the route.',
    at: 'route',
  })
}

function changeMapper({ from, masks }: ColumnPlan): (change: Change) => Change {
  const row = (values: Row): Row => {
    const out = new Array(from.length)
    for (let i = 0; i < from.length; i++) {
      const value = values[from[i]!]
      const mask = masks[i]
      out[i] = mask === null || mask === undefined ? value : mask(value)
    }
    return out
  }
  return ({ op, before, after, at }) => ({
    op,
    before: before === null ? null : row(before),
    after: after === null ? null : row(after),
    at,
  })
}

/** The schema with the digest of everything else in it. */
export function withFingerprint(schema: TableSchema): TableSchema {
  const { fingerprint: _, ...rest } = schema
  const text = JSON.stringify(rest, (_, value: unknown) => {
    if (typeof value === 'bigint') return { n: String(value) }
    return value instanceof Uint8Array ? { b: Buffer.from(value).toString('hex') } : value
  })
  return { ...rest, fingerprint: createHash('sha256').update(text).digest('hex').slice(0, 32) }
}
