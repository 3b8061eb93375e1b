/**
 * The pipeline's row in the table of checkpoints: its checkpoint, the owner's epoch and which connection that owner works
 * on. Always true: the row's epoch is locked before anything is written, in the same transaction, so a fenced owner
 * cannot change a target any more, and the fence waits for what an older owner has under way (I6, 5.3).
 */
import { TidemarkError } from '../../core/errors.js'
import {
  MYSQL_ERROR,
  type MysqlConnection,
  mysqlErrno,
  quoteMysqlName as quoteName,
  quoteMysqlText as quoteText,
} from '../../drivers/mysql.js'
import { databaseExists } from './catalog.js'
import { wholeSeconds } from './server.js'

const TABLE = 'checkpoint'
/** How long a killed connection may take to roll its transaction back. */
const KILLED_WAIT_MS = 10_000
/** Two answers for when one server was started differ by the seconds that it rounds to. */
const STARTED_SECONDS_APART_MAX = 5
const UTF8_BYTES_MAX = 3

export interface State {
  readonly checkpoint: string | null
  /** See TargetRecords. */
  readonly targets: string | null
}

export interface Owned extends State {
  readonly epoch: string
}

export function stateTable(database: string): string {
  return `${quoteName(database)}.${quoteName(TABLE)}`
}

/** What makes the table, each statement on its own: DDL commits whatever is open. */
export function stateStatements(database: string): string[] {
  return [
    `CREATE DATABASE IF NOT EXISTS ${quoteName(database)}`,
    `CREATE TABLE IF NOT EXISTS ${stateTable(database)} (
  pipeline VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  epoch BIGINT UNSIGNED NOT NULL,
  checkpoint LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  targets LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  owner_connection BIGINT UNSIGNED,
  server_started BIGINT,
  updated_at DATETIME(6) NOT NULL,
  PRIMARY KEY (pipeline)
) ENGINE = InnoDB`,
  ]
}

export async function stateExists(connection: MysqlConnection, database: string): Promise<boolean> {
  const rows = await connection.query(
    `SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ${quoteText(database)} AND TABLE_NAME = '${TABLE}'`,
  )
  return rows.length > 0
}

export async function createState(connection: MysqlConnection, database: string): Promise<void> {
  if (await stateExists(connection, database)) return
  // A database that is there need not be made, which not every user may.
  const statements = stateStatements(database).slice((await databaseExists(connection, database)) ? 1 : 0)
  for (const statement of statements) await connection.query(statement)
}

/** Statements and questions about one pipeline's row. */
export class StateRow {
  readonly pipeline: string
  readonly table: string
  readonly #where: string

  constructor(database: string, pipeline: string) {
    this.pipeline = pipeline
    this.table = stateTable(database)
    this.#where = `WHERE pipeline = ${quoteText(pipeline)}`
  }

  /** Takes the pipeline over: waits for what its last owner has under way, then ends that owner's connection. */
  async fence(
    connection: MysqlConnection,
    { waitMs, lockMs, lastEpoch }: { waitMs: number; lockMs: number; lastEpoch: string | undefined },
  ): Promise<Owned> {
    // A plain INSERT would wait for the row's lock. Epochs start at the time, so that a dropped pipeline of the same name
    // never gets one that an old owner still has.
    if ((await connection.query(`SELECT 1 FROM ${this.table} ${this.#where}`)).length === 0) {
      await connection.query(
        `INSERT IGNORE INTO ${this.table} (pipeline, epoch, updated_at) VALUES (${quoteText(this.pipeline)}, ${Date.now() * 1_000}, UTC_TIMESTAMP(6))`,
      )
    }
    try {
      return await this.#raiseEpoch(connection, waitMs, lastEpoch)
    } catch (error) {
      if (mysqlErrno(error) !== MYSQL_ERROR.lockWaitTimeout) throw error
      await this.#killOwner(connection, error)
      try {
        return await this.#raiseEpoch(connection, KILLED_WAIT_MS, lastEpoch)
      } catch (again) {
        if (mysqlErrno(again) !== MYSQL_ERROR.lockWaitTimeout) throw again
        throw await this.#blocked(connection, 'it is still there after the last owner was ended', again)
      }
    } finally {
      await connection.query(`SET SESSION innodb_lock_wait_timeout = ${wholeSeconds(lockMs)}`).catch(() => {})
    }
  }

  async #raiseEpoch(connection: MysqlConnection, waitMs: number, lastEpoch: string | undefined): Promise<Owned> {
    const mine = lastEpoch === undefined ? '' : ` AND epoch = ${BigInt(lastEpoch)}`
    try {
      const started = await serverStarted(connection)
      await connection.query(`SET SESSION innodb_lock_wait_timeout = ${wholeSeconds(waitMs)}; START TRANSACTION`)
      const [count] = await connection.run(
        `UPDATE ${this.table} SET epoch = epoch + 1, owner_connection = CONNECTION_ID(), server_started = ${started},
           updated_at = UTC_TIMESTAMP(6) ${this.#where}${mine}`,
      )
      const [row] = await connection.query(`SELECT epoch, checkpoint, targets FROM ${this.table} ${this.#where}`)
      await connection.query('COMMIT')
      if (count === 1 && row) return { epoch: row[0]!, checkpoint: row[1]!, targets: row[2]! }
    } catch (error) {
      await connection.query('ROLLBACK').catch(() => {})
      throw error
    }
    if (lastEpoch !== undefined) throw this.fenced()
    throw new TidemarkError('sink.fenced', {
      message: `the checkpoint row of pipeline ${this.pipeline} was removed while this process started`,
      retriable: true,
    })
  }

  fenced(): TidemarkError {
    return new TidemarkError('sink.fenced', {
      message: `another process has taken over pipeline ${this.pipeline}, or it was dropped`,
      fix: 'Stop one of the processes, or give one of them another pipeline.name.',
    })
  }

  /** A server numbers its connections once, so number and start of the server say which one it is. */
  async #killOwner(connection: MysqlConnection, cause: unknown): Promise<void> {
    const started = Number(await serverStarted(connection))
    const [row] = await connection.query(`SELECT owner_connection, server_started FROM ${this.table} ${this.#where}`)
    const [owner, since] = row ?? []
    const same = since != null && Math.abs(Number(since) - started) <= STARTED_SECONDS_APART_MAX
    if (owner == null || !same || Number(owner) === connection.threadId) {
      throw await this.#blocked(connection, 'it is not the last owner of the pipeline, so it was left alone', cause)
    }
    try {
      await connection.query(`KILL CONNECTION ${BigInt(owner)}`)
    } catch (error) {
      if (mysqlErrno(error) === MYSQL_ERROR.noSuchThread) {
        throw await this.#blocked(connection, 'it is not the last owner of the pipeline, so it was left alone', cause)
      }
      throw await this.#blocked(connection, `this user may not end the last owner's connection ${owner}`, error)
    }
  }

  async #blocked(connection: MysqlConnection, why: string, cause: unknown): Promise<Error> {
    const holders = await connection
      .query(
        `SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX
         WHERE trx_rows_locked > 0 AND trx_mysql_thread_id <> CONNECTION_ID() ORDER BY trx_started`,
      )
      .catch(() => [])
    const ids = holders.map(([id]) => (id === '0' ? 'a prepared XA transaction' : id))
    const who = ids.length === 0 ? 'some session' : `one of the connections ${ids.join(', ')}`
    return new TidemarkError('sink.fence_blocked', {
      message: `pipeline ${this.pipeline} cannot be taken over: ${who} holds its row in ${this.table}, and ${why}`,
      fix:
        ids.length === 0
          ? 'With the PROCESS privilege: SELECT * FROM information_schema.INNODB_TRX;  and end the one that holds it.'
          : `Look at it (SELECT * FROM information_schema.INNODB_TRX;), then as a privileged user: KILL ${ids[0]};`,
      cause,
    })
  }

  // ---- the owner's side. Text of statements, so that they share a round trip with their neighbours.

  /** Opens a transaction as the owner; no row comes back when somebody else is. */
  begin(epoch: string): string {
    return `START TRANSACTION; SELECT 1 FROM ${this.table} ${this.#where} AND epoch = ${epoch} FOR UPDATE`
  }

  /** `targets`: null where it stays as it is. */
  save(
    epoch: string,
    { checkpoint, targets }: { readonly checkpoint?: string; readonly targets: string | null },
  ): string {
    const changes = [
      ...(checkpoint === undefined ? [] : [`checkpoint = ${quoteText(checkpoint)}`]),
      ...(targets === null ? [] : [`targets = ${quoteText(targets)}`]),
      'updated_at = UTC_TIMESTAMP(6)',
    ]
    return `UPDATE ${this.table} SET ${changes.join(', ')} ${this.#where} AND epoch = ${epoch}`
  }

  /** A statement that is longer than the server takes would cost the connection, and say nothing. */
  requireRoom(sql: string, packetBytes: number): void {
    if (sql.length * UTF8_BYTES_MAX < packetBytes || Buffer.byteLength(sql) < packetBytes) return
    throw new TidemarkError('sink.rejected', {
      message: `${this.table}: the checkpoint of pipeline ${this.pipeline} takes ${Buffer.byteLength(sql)} bytes, and the server takes ${packetBytes}`,
      fix: 'Raise it: SET GLOBAL max_allowed_packet = ...;',
    })
  }

  /** Read without fencing anybody. */
  async read(connection: MysqlConnection): Promise<State> {
    const [row] = await connection.query(`SELECT checkpoint, targets FROM ${this.table} ${this.#where}`)
    return { checkpoint: row?.[0] ?? null, targets: row?.[1] ?? null }
  }

  /** True when there was a row. */
  async remove(connection: MysqlConnection): Promise<boolean> {
    const [count] = await connection.run(`DELETE FROM ${this.table} ${this.#where}`)
    return count! > 0
  }
}

/** Seconds since 1970, by the server's clock. */
async function serverStarted(connection: MysqlConnection): Promise<string> {
  const [[status], [now]] = (await connection.queries("SHOW GLOBAL STATUS LIKE 'Uptime'; SELECT UNIX_TIMESTAMP()")) as [
    [[string, string]],
    [[string]],
  ]
  return String(Number(now[0]) - Number(status[1]))
}
