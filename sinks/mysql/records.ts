/**
 * What one start knows of the targets from those before it, kept beside the checkpoint: which table each target is, by the
 * mark that the sink left in the comment of a table that it made, and which of its columns the pipeline has written.
 * Always true: a record changes in the transaction that makes it true. A table that was there before has no mark.
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import { type MysqlConnection, quoteMysqlText as quoteText } from '../../drivers/mysql.js'
import { markComment, type TargetName } from './catalog.js'
import type { Problem } from './judge.js'

export interface TargetRecord {
  readonly mark?: string
  readonly columns: readonly string[]
}

/** A table that is or will be written. */
export interface KnownTarget {
  readonly id: TableId
  readonly name: TargetName
  readonly mark: string
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
function recreatedSql(targets: readonly KnownTarget[]): string {
  return targets
    .map(
      ({ id, name, mark }) => `SELECT ${quoteText(id)} FROM information_schema.TABLES
       WHERE TABLE_SCHEMA = ${quoteText(name.database)} AND TABLE_NAME = ${quoteText(name.name)}
         AND LOCATE(${quoteText(markComment(mark))}, TABLE_COMMENT) = 0`,
    )
    .join(' UNION ALL ')
}

export async function recreated(connection: MysqlConnection, targets: readonly KnownTarget[]): Promise<KnownTarget[]> {
  if (targets.length === 0) return []
  const ids = (await connection.query(recreatedSql(targets))).map(([id]) => id)
  return targets.filter(({ id }) => ids.includes(id))
}

export function recreatedProblem(targets: readonly KnownTarget[]): Problem {
  const names = targets.map(({ name }) => name.sql).join(', ')
  const [one, each] = targets.length === 1 ? ['is', 'it was'] : ['are', 'each of them was']
  const marked = targets.map(({ name, mark }) => `ALTER TABLE ${name.sql} COMMENT = '${markComment(mark)}';`).join(' ')
  return {
    code: 'sink.target_recreated',
    message: `${names} ${one} not what this pipeline has written to: ${each} dropped or renamed away, and another table was made under its name, or its comment was changed`,
    fix: `Put the old one back under its name. Or take the source table out of \`tables\`, run once, empty the target, and put it back: it is then copied anew. Only where it holds every row of the old one: ${marked}`,
  }
}

export function recreatedError(targets: readonly KnownTarget[]): TidemarkError {
  const { code, message, fix } = recreatedProblem(targets)
  return new TidemarkError(code, { message, fix, at: 'sink' })
}
