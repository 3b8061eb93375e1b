/**
 * A seeded application that writes to one table while a sync runs: inserts, updates, deletes, key moves, savepoints,
 * rollbacks, prepared transactions, transactions of many rows and values large enough for TOAST. Several sessions write
 * at once, so deadlocks happen and are rolled back; what committed is whatever the source says.
 */
import type { TestConnection, TestDatabase } from './postgres.js'
import { type Random, random } from './seed.js'

const RATE_PER_SECOND_DEFAULT = 500
const KEYS_DEFAULT = 2_000
const SESSIONS_DEFAULT = 3
const TOAST_CHARS = 6_144
const ROWS_PER_TRANSACTION_MAX = 8
const BIG_TRANSACTION_ROWS = 300
const INSERT_ROWS_PER_STATEMENT = 5_000

export interface WriterTable {
  /** As SQL writes it. */
  readonly name: string
  /** Columns: id bigint key, n int, name text, note text (out of line when large), amount numeric(18,4). */
  readonly keys: number
}

export async function createWriterTable(
  db: Pick<TestDatabase, 'query'>,
  name: string,
  options: { readonly keys?: number; readonly rows?: number; readonly identity?: 'default' | 'full' } = {},
): Promise<WriterTable> {
  const { keys = KEYS_DEFAULT, rows = keys / 2, identity = 'default' } = options
  await db.query(`
    CREATE TABLE ${name} (id bigint PRIMARY KEY, n int NOT NULL, name text, note text, amount numeric(18,4));
    ALTER TABLE ${name} ALTER COLUMN note SET STORAGE EXTERNAL;
    ALTER TABLE ${name} REPLICA IDENTITY ${identity}`)
  // Rows take every other key, so that inserts find room between them.
  for (let from = 0; from < rows; from += INSERT_ROWS_PER_STATEMENT) {
    const to = Math.min(rows, from + INSERT_ROWS_PER_STATEMENT) - 1
    await db.query(`
      INSERT INTO ${name}
      SELECT i * 2, 0, 'name ' || i, CASE WHEN i % 10 = 0 THEN repeat(md5(i::text), ${TOAST_CHARS / 32}) END, i / 7.0
      FROM generate_series(${from}, ${to}) i`)
  }
  return { name, keys }
}

export interface WriterOptions {
  readonly seed: number
  /** Row changes a second over all sessions, about. */
  readonly ratePerSecond?: number
  readonly sessions?: number
  /** Needs max_prepared_transactions. */
  readonly prepared?: boolean
  readonly keyMoves?: boolean
  readonly toast?: boolean
  readonly truncate?: boolean
  /** Ends by itself after this many row changes; stop() ends it before. */
  readonly changesMax?: number
}

export interface Writer {
  /** Row changes sent so far, rolled back ones included. */
  changes(): number
  commits(): number
  /** Resolves when every session has ended its transaction. Rejects with what broke it. */
  stop(): Promise<void>
  /** Resolves when `changesMax` is reached. */
  readonly done: Promise<void>
}

interface State {
  stopping: boolean
  changes: number
  commits: number
}

export function startWriter(db: TestDatabase, table: WriterTable, options: WriterOptions): Writer {
  const state: State = { stopping: false, changes: 0, commits: 0 }
  const source = random(options.seed)
  const sessions = options.sessions ?? SESSIONS_DEFAULT
  const done = Promise.all(
    Array.from({ length: sessions }, async (_, index) => {
      const connection = await db.connect()
      const session = new Session(connection, table, options, source.fork(), state, index, db.name)
      try {
        await session.run((options.ratePerSecond ?? RATE_PER_SECOND_DEFAULT) / sessions)
      } finally {
        await connection.end()
      }
    }),
  ).then(() => {})
  done.catch(() => {})
  return {
    changes: () => state.changes,
    commits: () => state.commits,
    done,
    stop: () => {
      state.stopping = true
      return done
    },
  }
}

/** Errors that concurrent writers provoke by design: deadlock, unique violation. */
const EXPECTED = new Set(['40P01', '23505'])

class Session {
  #serial = 0
  readonly #db: TestConnection
  readonly #table: WriterTable
  readonly #options: WriterOptions
  readonly #random: Random
  readonly #state: State
  readonly #label: string

  constructor(
    db: TestConnection,
    table: WriterTable,
    options: WriterOptions,
    source: Random,
    state: State,
    index: number,
    database: string,
  ) {
    this.#db = db
    this.#table = table
    this.#options = options
    this.#random = source
    this.#state = state
    this.#label = `${database}_${table.name.replaceAll(/\W/g, '')}_${index}`
  }

  async run(ratePerSecond: number): Promise<void> {
    const started = performance.now()
    let sent = 0
    const { changesMax = Number.POSITIVE_INFINITY } = this.#options
    while (!this.#state.stopping && this.#state.changes < changesMax) {
      sent += await this.#transaction()
      const aheadMs = (sent / ratePerSecond) * 1_000 - (performance.now() - started)
      if (aheadMs > 1) await new Promise((resolve) => setTimeout(resolve, aheadMs))
    }
  }

  /** Row changes of one transaction. */
  async #transaction(): Promise<number> {
    const random = this.#random
    const rows = random.chance(0.01) ? BIG_TRANSACTION_ROWS : 1 + random.below(ROWS_PER_TRANSACTION_MAX)
    try {
      await this.#db.query('BEGIN')
      for (let i = 0; i < rows; i++) {
        if (random.chance(0.1)) await this.#savepoint()
        else await this.#change()
      }
      await this.#end()
    } catch (error) {
      if (!EXPECTED.has((error as { code?: string }).code ?? '')) throw error
      await this.#db.query('ROLLBACK')
    }
    return rows
  }

  async #end(): Promise<void> {
    const random = this.#random
    if (random.chance(0.08)) {
      await this.#db.query('ROLLBACK')
      return
    }
    if (this.#options.prepared && random.chance(0.05)) {
      const gid = `${this.#label}_${this.#serial++}`
      await this.#db.query(`PREPARE TRANSACTION '${gid}'`)
      // Work of its own while the prepared one is in doubt.
      await this.#db.query('SELECT pg_sleep(0.005)')
      await this.#db.query(random.chance(0.8) ? `COMMIT PREPARED '${gid}'` : `ROLLBACK PREPARED '${gid}'`)
    } else {
      await this.#db.query('COMMIT')
    }
    this.#state.commits += 1
  }

  async #savepoint(): Promise<void> {
    await this.#db.query('SAVEPOINT s')
    await this.#change()
    await this.#db.query(this.#random.chance(0.5) ? 'ROLLBACK TO s' : 'RELEASE s')
  }

  async #change(): Promise<void> {
    this.#state.changes += 1
    const { sql, params } = this.#statement()
    await this.#db.query(sql, params)
  }

  #statement(): { sql: string; params: unknown[] } {
    const { name } = this.#table
    const { keyMoves = true, toast = true, truncate = false } = this.#options
    const random = this.#random
    const id = random.below(this.#table.keys)
    const n = random.below(1_000_000)
    const roll = random.next()
    if (truncate && roll < 0.001) return { sql: `TRUNCATE ${name}`, params: [] }
    if (roll < 0.35) {
      const note = toast && random.chance(0.1) ? `${n} `.repeat(TOAST_CHARS / 6) : null
      return {
        sql: `INSERT INTO ${name} VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`,
        params: [id, n, `name ${n}`, note, `${n}.25`],
      }
    }
    if (roll < 0.65)
      return { sql: `UPDATE ${name} SET n = $2::int, amount = $2::int / 3.0 WHERE id = $1`, params: [id, n] }
    if (roll < 0.7 && toast) {
      return { sql: `UPDATE ${name} SET note = repeat($2, 900) WHERE id = $1`, params: [id, `${n}-`] }
    }
    if (roll < 0.78 && keyMoves) {
      const to = random.below(this.#table.keys)
      return {
        sql: `UPDATE ${name} SET id = $2, n = n + 1 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM ${name} WHERE id = $2)`,
        params: [id, to],
      }
    }
    if (roll < 0.8) {
      return { sql: `UPDATE ${name} SET n = n + 1 WHERE id BETWEEN $1 AND $1 + 20`, params: [id] }
    }
    return { sql: `DELETE FROM ${name} WHERE id = $1`, params: [id] }
  }
}
