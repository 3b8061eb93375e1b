/**
 * What one start knows of the targets from those before it, kept beside the checkpoint: which table each target is, by its
 * OID, and which of its columns the pipeline has written. Always true: a record changes in the transaction that makes
 * it true, and an OID never changes, so a table that was made under the name of another is found to be one.
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import { type PgConnection, quoteLiteral } from '../../drivers/postgres.js'
import type { Problem } from './judge.js'
import { STATE_TABLE } from './state.js'

export interface TargetRecord {
  /** Absent: whatever table is there is taken. */
  readonly oid?: string
  readonly columns: readonly string[]
}

/** A table that is or will be written. */
export interface KnownTarget {
  readonly id: TableId
  /** Its quoted name. */
  readonly sql: string
  readonly oid: string
}

export class TargetRecords {
  readonly #records: Map<string, TargetRecord>
  #changed = false

  /** `saved`: JSON text, null where nothing was saved. */
  constructor(saved: string | null) {
    this.#records = new Map(Object.entries((JSON.parse(saved ?? '{}') ?? {}) as Record<string, TargetRecord>))
  }

  get(id: TableId): TargetRecord | undefined {
    return this.#records.get(id)
  }

  set(id: TableId, record: TargetRecord): void {
    if (JSON.stringify(this.#records.get(id)) === JSON.stringify(record)) return
    this.#records.set(id, record)
    this.#changed = true
  }

  /** The text to save in the open transaction, null when there is nothing new. */
  changes(): string | null {
    if (!this.#changed) return null
    this.#changed = false
    return JSON.stringify(Object.fromEntries(this.#records))
  }
}

/** One row with the id of each target whose name belongs to another table now. */
export function recreatedSql(targets: readonly KnownTarget[]): string {
  const rows = targets.map(({ id, sql, oid }) => `(${quoteLiteral(id)}, ${quoteLiteral(sql)}, ${Number(oid)})`)
  return `SELECT t.id FROM (VALUES ${rows.join(', ')}) AS t(id, name, oid)
    WHERE pg_catalog.to_regclass(t.name)::oid <> t.oid::oid ORDER BY 1`
}

export async function recreated(connection: PgConnection, targets: readonly KnownTarget[]): Promise<KnownTarget[]> {
  if (targets.length === 0) return []
  const ids = (await connection.query(recreatedSql(targets))).map(([id]) => id)
  return targets.filter(({ id }) => ids.includes(id))
}

export function recreatedProblem(pipeline: string, targets: readonly KnownTarget[]): Problem {
  const names = targets.map(({ sql }) => sql).join(', ')
  const [one, each, it] = targets.length === 1 ? ['is', 'it', 'it holds'] : ['are', 'each of them', 'they hold']
  const forget = targets.map(({ id }) => ` #- ARRAY[${quoteLiteral(id).trim()}, 'oid']`).join('')
  return {
    code: 'sink.target_recreated',
    message: `${names} ${one} not what this pipeline has written to: ${each} was dropped or renamed away, and another table was made under its name`,
    fix: `Put the old one back under its name. Or take the source table out of \`tables\`, run once, empty the target, and put it back: it is then copied anew. Only where ${it} every row of the old one, as after a restore: UPDATE ${STATE_TABLE} SET targets = targets${forget} WHERE pipeline = ${quoteLiteral(pipeline).trim()};`,
  }
}

export function recreatedError(pipeline: string, targets: readonly KnownTarget[]): TidemarkError {
  const { code, message, fix } = recreatedProblem(pipeline, targets)
  return new TidemarkError(code, { message, fix, at: 'sink' })
}
