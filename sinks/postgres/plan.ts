/** The statements that write one table under one schema, made once per fingerprint. Values go in as text[] columns. */
import { assert } from '../../core/errors.js'
import type { Row, TableSchema } from '../../core/model.js'
import { quoteIdent } from '../../drivers/postgres.js'
import { keyIndex, type Target, type TargetColumn, type TargetName } from './catalog.js'
import { keyFolding } from './keys.js'
import { columnArray, rowReader, type SqlRow } from './values.js'

export interface Statement {
  readonly sql: string
  readonly params: readonly (string | null)[]
}

export class TablePlan {
  readonly schema: TableSchema
  readonly name: TargetName
  readonly read: (row: Row) => SqlRow
  /** Equal texts: one key to the target; null: only the server can tell. */
  readonly keyText: ((row: SqlRow) => string) | null
  readonly copySql: string
  /** In the order of the schema's columns. */
  readonly columns: readonly TargetColumn[]
  readonly #quoted: readonly string[]
  readonly #key: readonly number[]
  /** `t.k = u.k` for every key column, where u's are named k<column>. */
  readonly #sameKey: string
  readonly #upsertSql: string
  readonly #deleteSql: string

  constructor(schema: TableSchema, name: TargetName, target: Target) {
    this.schema = schema
    this.name = name
    this.read = rowReader(schema)
    this.columns = schema.columns.map((column) => {
      const found = target.columns.find((c) => c.name === column.name)
      assert(found, `column ${column.name} of ${name.sql} was not checked`)
      return found
    })
    this.#quoted = schema.columns.map((c) => quoteIdent(c.name))
    this.#key = schema.key
    const folding = keyFolding(
      this.#key.map((i) => this.columns[i]!),
      this.#key,
    )
    this.keyText = folding.text
    this.#sameKey = this.#keyCondition(target)
    this.copySql = `COPY ${name.sql} (${this.#quoted.join(', ')}) FROM STDIN`
    this.#upsertSql = this.#makeUpsert(folding.rewrites)
    this.#deleteSql = `DELETE FROM ${name.sql} AS t USING ${this.#keyRows(1)} WHERE ${this.#sameKey}`
  }

  /** True: upsert() touches every row it is given, so that its count tells whether all were kept. */
  get upsertCounts(): boolean {
    return this.#upsertSql.includes(' DO UPDATE SET ')
  }

  get keyless(): boolean {
    return this.#key.length === 0
  }

  /** The key of a row for messages. */
  keyOf(row: SqlRow): string {
    const at = this.keyless ? row.map((_, i) => i) : this.#key
    return at.map((i) => `${this.#quoted[i]} = ${row[i] ?? 'NULL'}`).join(', ')
  }

  /** Inserts, or writes over the row with the same key. */
  upsert(rows: readonly SqlRow[]): Statement {
    return { sql: this.#upsertSql, params: this.#quoted.map((_, i) => columnArray(rows, i)) }
  }

  delete(rows: readonly SqlRow[]): Statement {
    return { sql: this.#deleteSql, params: this.#key.map((i) => columnArray(rows, i)) }
  }

  /** Updates the rows with the keys of `from` to what was sent of `rows`; all of these lack the same values. */
  update(from: readonly SqlRow[], rows: readonly SqlRow[]): Statement {
    const sent = this.#quoted.flatMap((_, i) => (rows[0]![i] === undefined ? [] : [i]))
    const aliases = [...sent.map((i) => `c${i}`), ...this.#key.map((i) => `k${i}`)]
    const set = sent.map((i) => `${this.#quoted[i]} = ${this.#cast(`u.c${i}`, i)}`)
    const sql = `UPDATE ${this.name.sql} AS t SET ${set.join(', ')}
      FROM ${unnest(aliases, 1)} WHERE ${this.#sameKey}`
    const keys = this.#key.map((i) => columnArray(from, i))
    return { sql, params: [...sent.map((i) => columnArray(rows, i)), ...keys] }
  }

  /** Finds a key of these rows that the target lacks. */
  missing(rows: readonly SqlRow[]): Statement {
    const keys = this.#key.map((i) => `u.k${i}`).join(', ')
    const sql = `SELECT ${keys} FROM ${this.#keyRows(1)}
      WHERE NOT EXISTS (SELECT FROM ${this.name.sql} AS t WHERE ${this.#sameKey}) LIMIT 1`
    return { sql, params: this.#key.map((i) => columnArray(rows, i)) }
  }

  /** A keyless row is known by all its values, and one of several equal rows is as good as another. */
  updateWhole(before: SqlRow, after: SqlRow): Statement {
    const { hit, params } = this.#wholeRow(before)
    const set = this.#quoted.flatMap((name, i) => {
      if (after[i] === undefined) return []
      params.push(after[i]!)
      return [`${name} = ${this.#cast(`$${params.length}::text`, i)}`]
    })
    const sql = `${hit} UPDATE ${this.name.sql} AS t SET ${set.join(', ')}
      FROM hit WHERE t.tableoid = hit.tableoid AND t.ctid = hit.ctid`
    return { sql, params }
  }

  deleteWhole(before: SqlRow): Statement {
    const { hit, params } = this.#wholeRow(before)
    const sql = `${hit} DELETE FROM ${this.name.sql} AS t USING hit WHERE t.tableoid = hit.tableoid AND t.ctid = hit.ctid`
    return { sql, params }
  }

  #wholeRow(before: SqlRow): { hit: string; params: (string | null)[] } {
    const params: (string | null)[] = []
    const conditions = this.#quoted.map((name, i) => {
      const value = before[i]
      assert(value !== undefined, `an update or delete of ${this.schema.id}, which has no key, lacks old values`)
      if (value === null) return `t.${name} IS NULL`
      params.push(value)
      const param = `$${params.length}::text`
      // Output functions tell any two values apart, which the equality of some types does not; text casts may not.
      if (!this.#comparable(i)) return `format('%s', t.${name}) COLLATE "C" = ${param}`
      return `t.${name} OPERATOR(pg_catalog.=) ${this.#cast(param, i)}`
    })
    const where = conditions.length > 0 ? conditions.join(' AND ') : 'true'
    return { hit: `WITH hit AS (SELECT tableoid, ctid FROM ${this.name.sql} AS t WHERE ${where} LIMIT 1)`, params }
  }

  /** True: equal means the same value. Values of dialect `plain` need not be written as this server prints them. */
  #comparable(i: number): boolean {
    const column = this.columns[i]!
    const exact = keyFolding([column], [0])
    return exact.text !== null && (!exact.rewrites || this.schema.dialect === 'plain')
  }

  #keyCondition(target: Target): string {
    const names = this.#key.map((i) => this.schema.columns[i]!.name)
    const index = keyIndex(target, names)
    assert(index || names.length === 0, `the key of ${this.name.sql} was not checked`)
    // The index's own operator: the search path holds no extension, whose types would be compared as text.
    return this.#key
      .map((i, n) => {
        const operator = index!.equals[index!.columns.indexOf(names[n]!)]
        return `t.${this.#quoted[i]} OPERATOR(${operator}) ${this.#cast(`u.k${i}`, i)}`
      })
      .join(' AND ')
  }

  #makeUpsert(rewrites: boolean): string {
    const all = this.#quoted.map((_, i) => `c${i}`)
    const values = this.#quoted.map((_, i) => this.#cast(`u.c${i}`, i))
    // Without an alias a table called "excluded" could not be told from the row that is to be inserted.
    const insert = `INSERT INTO ${this.name.sql} AS t (${this.#quoted.join(', ')}) SELECT ${values.join(', ')} FROM ${unnest(all, 1)}`
    if (this.keyless) return insert
    const set = this.#quoted.flatMap((name, i) =>
      rewrites || !this.#key.includes(i) ? [`${name} = excluded.${name}`] : [],
    )
    const on = this.#key.map((i) => this.#quoted[i]).join(', ')
    return `${insert} ON CONFLICT (${on}) DO ${set.length > 0 ? `UPDATE SET ${set.join(', ')}` : 'NOTHING'}`
  }

  #keyRows(first: number): string {
    return unnest(
      this.#key.map((i) => `k${i}`),
      first,
    )
  }

  #cast(expression: string, i: number): string {
    const { castType } = this.columns[i]!
    return castType === 'text' ? expression : `${expression}::${castType}`
  }
}

function unnest(aliases: readonly string[], first: number): string {
  const params = aliases.map((_, i) => `$${first + i}::text[]`)
  return `unnest(${params.join(', ')}) AS u(${aliases.join(', ')})`
}
