/** Pipelines of MySQL sources into memory, run inside the test. */
import { mysqlSource } from '../../connectors/mysql/index.js'
import { TidemarkError } from '../../core/errors.js'
import { tableId } from '../../core/model.js'
import { runPipeline } from '../../core/pipeline.js'
import { MemoryTarget } from '../../core/testing/memory-target.js'
import type { MysqlRow, MysqlTestDatabase } from './mysql.js'

export class MemoryPipeline {
  readonly target: MemoryTarget
  readonly notes: string[] = []
  readonly #db: MysqlTestDatabase
  readonly #options: Readonly<Record<string, unknown>>

  constructor(db: MysqlTestDatabase, options: Readonly<Record<string, unknown>> = {}, target = new MemoryTarget()) {
    this.target = target
    this.#db = db
    this.#options = { url: db.captureUrl, tables: `${db.name}.*`, 'visibility.margin': 50, ...options }
  }

  /** The same pipeline with another source. */
  with(options: Readonly<Record<string, unknown>>): MemoryPipeline {
    return new MemoryPipeline(this.#db, options, this.target)
  }

  /** Until everything committed before now is there. */
  async run(until: 'once' | 'caught-up' = 'caught-up', signal = AbortSignal.timeout(60_000)): Promise<void> {
    const options = mysqlSource.options.parse(this.#options) as never
    await runPipeline({
      name: this.#db.name,
      source: () => mysqlSource.create(options, { pipeline: this.#db.name }),
      sink: () => this.target.sink(),
      until,
      readers: 2,
      checkpointIntervalMs: 20,
      signal,
      note: (line) => this.notes.push(line),
    })
  }

  /** The error that a run stops with. */
  async failure(): Promise<TidemarkError> {
    try {
      await this.run()
    } catch (error) {
      if (error instanceof TidemarkError) return error
      throw error
    }
    throw new Error('the pipeline did not fail')
  }

  rows(table = 't'): string[] {
    const text = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value)
    return this.target
      .rows(tableId(this.#db.name, table))
      .map((row) => JSON.stringify(row.map(text)))
      .sort()
  }

  async wanted(table = 't'): Promise<string[]> {
    const rows: MysqlRow[] = await this.#db.query(`SELECT * FROM ${table}`)
    return rows.map((row) => JSON.stringify(Object.values(row))).sort()
  }
}
