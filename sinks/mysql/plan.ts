/** The statements that write one table under one schema, made once per fingerprint. Values go in as literals. */
import { assert, TidemarkError } from '../../core/errors.js'
import type { Row, TableSchema, Value } from '../../core/model.js'
import { quoteMysqlName as quoteName } from '../../drivers/mysql.js'
import { keyIndex, type Target, type TargetColumn, type TargetName } from './catalog.js'
import { isBinaryCollation, keyFolding, padsSpaces } from './keys.js'
import { type Literal, literalOf, Unfit } from './literals.js'
import { isText } from './types.js'

/** Pieces of one statement, and what stands before, between and behind them. */
export interface Statement {
  readonly head: string
  readonly separator: string
  readonly tail: string
}

export class TablePlan {
  readonly schema: TableSchema
  readonly name: TargetName
  /** See KeyFolding. */
  readonly keyText: (row: Row) => string
  readonly upsertStatement: Statement
  readonly deleteStatement: Statement
  /** Other unique indexes decide too: rows are deleted and inserted, so that a clash is an error and no merge. */
  readonly replaces: boolean
  readonly #quoted: readonly string[]
  readonly #columns: readonly TargetColumn[]
  readonly #literals: readonly Literal[]
  readonly #key: readonly number[]

  constructor(schema: TableSchema, name: TargetName, target: Target) {
    this.schema = schema
    this.name = name
    this.#key = schema.key
    this.#columns = schema.columns.map((column) => {
      const found = target.columns.find((c) => c.name === column.name)
      assert(found, `column ${column.name} of ${name.sql} was not checked`)
      return found
    })
    this.#quoted = schema.columns.map((c) => quoteName(c.name))
    this.#literals = schema.columns.map((column, i) => {
      const have = this.#columns[i]!
      // A MySQL source says by its own collation whether two such keys can be; that was judged with the target.
      const padded =
        this.#key.includes(i) && schema.dialect !== 'mysql' && isText(have.base) && padsSpaces(have.collation!)
      return literalOf(column, have, { dialect: schema.dialect, refuseTrailingSpaces: padded })
    })
    const folding = keyFolding(
      this.#key.map((i) => this.#columns[i]!),
      this.#key,
      schema.dialect,
    )
    this.keyText = folding.text
    const own = keyIndex(
      target,
      this.#key.map((i) => schema.columns[i]!.name),
    )
    assert(own || this.keyless, `the key of ${name.sql} was not checked`)
    this.replaces = !this.keyless && target.uniqueIndexes.some((index) => index !== own)
    this.upsertStatement = this.#makeUpsert(folding.rewrites)
    const [first] = this.#key
    this.deleteStatement =
      this.#key.length === 1
        ? { head: `DELETE FROM ${name.sql} WHERE ${this.#quoted[first!]} IN (`, separator: ', ', tail: ')' }
        : { head: `DELETE FROM ${name.sql} WHERE `, separator: ' OR ', tail: '' }
  }

  get keyless(): boolean {
    return this.#key.length === 0
  }

  /** The key of a row for messages. */
  keyOf(row: Row): string {
    const at = this.keyless ? row.map((_, i) => i) : this.#key
    return at.map((i) => `${this.#quoted[i]} = ${shown(row[i])}`).join(', ')
  }

  /** One row of upsertStatement. */
  values(row: Row): string {
    let out = '('
    for (let i = 0; i < this.#literals.length; i++) out += `${i === 0 ? '' : ', '}${this.#literal(row, i)}`
    return `${out})`
  }

  /** One key of deleteStatement. */
  deleted(row: Row): string {
    return this.#key.length === 1 ? this.#literal(row, this.#key[0]!) : `(${this.#sameKey(row)})`
  }

  /** Updates the row with the key of `from` to what was sent of `row`. */
  update(from: Row, row: Row): string {
    const set = this.#quoted.flatMap((name, i) => {
      if (row[i] !== undefined) return [`${name} = ${this.#literal(row, i)}`]
      // Else it would take the time of the update.
      return this.#columns[i]!.onUpdate ? [`${name} = ${name}`] : []
    })
    return `UPDATE ${this.name.sql} SET ${set.join(', ')} WHERE ${this.#sameKey(from)}`
  }

  /** A keyless row is known by all its values, and one of several equal rows is as good as another. */
  updateWhole(before: Row, after: Row): string {
    return `${this.update(before, after)} LIMIT 1`
  }

  deleteWhole(before: Row): string {
    return `DELETE FROM ${this.name.sql} WHERE ${this.#sameKey(before)} LIMIT 1`
  }

  #sameKey(row: Row): string {
    if (!this.keyless) return this.#key.map((i) => `${this.#quoted[i]} = ${this.#literal(row, i)}`).join(' AND ')
    return this.#quoted.map((_, i) => this.#sameValue(row, i)).join(' AND ')
  }

  #sameValue(row: Row, i: number): string {
    assert(row[i] !== undefined, `an update or delete of ${this.schema.id}, which has no key, lacks old values`)
    const literal = this.#literal(row, i)
    const name = this.#quoted[i]!
    const { base, collation, charset } = this.#columns[i]!
    if (literal === 'NULL') return `${name} IS NULL`
    if (collation === null || (isBinaryCollation(collation) && !padsSpaces(collation))) {
      return charset === null && /^(geometry|point|.*linestring|.*polygon|multipoint|geom.*|vector|json)$/.test(base)
        ? `CAST(${name} AS BINARY) = ${literal}`
        : `${name} = ${literal}`
    }
    return `CAST(CONVERT(${name} USING utf8mb4) AS BINARY) = CAST(${literal} AS BINARY)`
  }

  #literal(row: Row, i: number): string {
    try {
      return this.#literals[i]!(row[i])
    } catch (error) {
      if (!(error instanceof Unfit)) throw error
      throw new TidemarkError('sink.rejected', {
        message: `${this.name.sql}: the value of ${this.#quoted[i]} ${error.message}; row with ${this.keyOf(row)}`,
        fix: 'Change the type of the column in the target so that it holds the value, or leave the column out with `transform: exclude`, then start the pipeline again.',
      })
    }
  }

  #makeUpsert(rewrites: boolean): Statement {
    const head = `INSERT INTO ${this.name.sql} (${this.#quoted.join(', ')}) VALUES `
    if (this.keyless || this.replaces) return { head, separator: ', ', tail: '' }
    const set = this.#quoted.flatMap((name, i) =>
      rewrites || !this.#key.includes(i) ? [`${name} = VALUES(${name})`] : [],
    )
    // An assignment there must be.
    const [first] = this.#key
    if (set.length === 0) set.push(`${this.#quoted[first!]} = ${this.name.sql}.${this.#quoted[first!]}`)
    return { head, separator: ', ', tail: ` ON DUPLICATE KEY UPDATE ${set.join(', ')}` }
  }
}

const SHOWN_CHARS_MAX = 200

function shown(value: Value): string {
  if (value === null || value === undefined) return 'NULL'
  const text = value instanceof Uint8Array ? `0x${Buffer.from(value).toString('hex')}` : String(value)
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}...` : text
}
