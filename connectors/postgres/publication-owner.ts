/**
 * Whose publication it is. Given by the user: never changed. Of a pipeline that goes on: it stays until `drop`. Of a run
 * that keeps nothing: it goes with the run, and what a killed run left is removed by the next one of its name. Such an
 * owner holds a session's advisory lock as long as it lives, so that a dead one can be told.
 */
import { createHash } from 'node:crypto'
import type { TableId } from '../../core/model.js'
import { connectPg, type PgConnection, quoteIdent } from '../../drivers/postgres.js'
import type { CatalogTable, ServerFacts } from './catalog.js'
import { preparePublication } from './publication.js'
import { ownedName } from './setup.js'

/** How long removing it may take at the end of a run. */
const DROP_MS_MAX = 5_000
/** Bytes of the pipeline's part of the name: with a mark and the suffix it stays below what PostgreSQL cuts. */
const PREFIX_BYTES_MAX = 50

interface PrepareOptions {
  readonly tables: readonly CatalogTable[]
  readonly server: ServerFacts
  readonly known: ReadonlySet<TableId>
  readonly note: (line: string) => void
}

export class PipelinePublication {
  readonly name: string
  readonly #given: boolean
  readonly #pipeline: string
  /** Set while one is there that goes with this run. */
  #made: PgConnection['options'] | null = null
  readonly #temporary: boolean

  /** `suffix`: of a run that keeps nothing, null for others. */
  constructor(given: string | undefined, pipeline: string, suffix: string | null) {
    this.#given = given !== undefined
    this.#pipeline = pipeline
    this.#temporary = suffix !== null && !this.#given
    this.name = given ?? (suffix === null ? ownedName(pipeline) : `${temporaryPrefix(pipeline)}${suffix}`)
  }

  async prepare(connection: PgConnection, { tables, server, known, note }: PrepareOptions): Promise<void> {
    if (this.#temporary) {
      await removeLeftovers(connection, this.#pipeline)
      await connection.query('select pg_advisory_lock($1)', [lockKey(this.name)])
      this.#made = connection.options
    }
    await preparePublication(connection, { name: this.name, tables, server, given: this.#given, known, note })
  }

  /** The connection that made it may be cut by now. What fails here is left to the next run. */
  async close(): Promise<void> {
    const options = this.#made
    this.#made = null
    if (options === null) return
    try {
      const connection = await connectPg(options, { signal: AbortSignal.timeout(DROP_MS_MAX) })
      await connection.query(`drop publication if exists ${quoteIdent(this.name)}`).finally(() => connection.close())
    } catch {
      // The next run of this name or `tidemark drop` removes it.
    }
  }
}

/** No other pipeline's name leads to one that begins like this: see ownedName(). */
function temporaryPrefix(pipeline: string): string {
  return `${ownedName(pipeline).slice(0, PREFIX_BYTES_MAX)}:`
}

/** Removes what killed runs of the pipeline left, and names it. */
export async function removeLeftovers(connection: PgConnection, pipeline: string): Promise<string[]> {
  const found = await connection.query('select pubname from pg_publication where starts_with(pubname, $1)', [
    temporaryPrefix(pipeline),
  ])
  const removed: string[] = []
  for (const [name] of found) {
    const key = lockKey(name!)
    const [[free]] = (await connection.query('select pg_try_advisory_lock($1)::text', [key])) as [[string]]
    if (free !== 'true') continue
    try {
      await connection.query(`drop publication if exists ${quoteIdent(name!)}`)
      removed.push(name!)
    } finally {
      await connection.query('select pg_advisory_unlock($1)', [key])
    }
  }
  return removed
}

/** Advisory locks are by database and 64-bit number. */
function lockKey(name: string): string {
  return `${createHash('sha256').update(name).digest().readBigInt64BE(0)}`
}
