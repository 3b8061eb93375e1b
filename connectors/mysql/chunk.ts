/**
 * Reads chunks on one connection. What the SELECT shows is bounded in one of three ways (correctness.md 2.1, 2.2):
 *
 *   gtid      at least gtid_executed as read before, at most the log's end as read behind it: a window
 *   margin    at least the log's end as it was a margin ago, at most its end behind: a window
 *   snapshot  exactly the position of the consistent snapshot
 *
 * The table's metadata lock comes before the SELECT and keeps column changes out until the rows are read (rules d, i): it is
 * taken last, and the transaction never stays open for the consumer.
 */
import { Channel } from '../../core/channel.js'
import { positionCut } from '../../core/cut.js'
import { TidemarkError, toError } from '../../core/errors.js'
import type { KeyRange } from '../../core/key.js'
import { type Key, keyOf, type Row, type TableSchema, type Value } from '../../core/model.js'
import type {
  Abortable,
  ChunkCut,
  ChunkEnd,
  ChunkLimit,
  ChunkRead,
  ChunkRows,
  ChunkSession,
  SourceTable,
} from '../../core/source.js'
import { MYSQL_ERROR, type MysqlConnection, mysqlErrno, type RawQuery } from '../../drivers/mysql.js'
import { type CatalogTable, definitionOf, tableSql } from './catalog.js'
import { GtidSet } from './gtid.js'
import { keyColumns, keysSql, orderSql, rangeSql } from './keys.js'
import { rowOf } from './plan.js'
import { type LogPlace, logEndOf, noBinlog, type ServerFacts } from './server.js'
import { selectSql, textDecoder } from './text-values.js'

/** A chunk's transaction ends at this age: DDL behind it, and all behind that, waits no longer (rule i). */
const TRANSACTION_AGE_MS_MAX = 5_000
/** What one read may hold for its consumer, and how long it waits for it with the transaction open. */
const BUFFER_BYTES_MAX = 2 * 1024 * 1024
const BUFFER_FULL_MS_MAX = 250
const BATCH_BYTES_MAX = 64 * 1024
/** Rows of a window stay in memory until the log has passed it (I8). */
const WINDOW_BYTES_MAX = 4 * 1024 * 1024
/** Snapshots taken until one is proven not to be older than the lock (rule d). */
const SNAPSHOT_TRIES_MAX = 200

export interface MysqlTable extends SourceTable {
  readonly catalog: CatalogTable
}

export interface ChunkServer {
  readonly facts: ServerFacts
  readonly marginMs: number
  ordinal(place: LogPlace): bigint
  /** False: what is known of the columns has changed since the table was described. */
  isCurrent(catalog: CatalogTable): boolean
  /** Ends what runs on another connection. */
  cancel(threadId: number): Promise<void>
  /** Rule k: throws when this connection has come to another server than the log's. */
  verify(connection: MysqlConnection): Promise<void>
}

const RAW_RESULTS = 'SET SESSION character_set_results = NULL'
const TEXT_RESULTS = 'SET SESSION character_set_results = utf8mb4'
const NOW_SQL = `SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)`

export class MysqlChunkSession implements ChunkSession {
  readonly #connection: MysqlConnection
  readonly #server: ChunkServer
  #open = false
  #begun = 0
  #read: TableRead | null = null

  constructor(connection: MysqlConnection, server: ChunkServer) {
    this.#connection = connection
    this.#server = server
  }

  /** Nothing yet: the lock is taken with the cut, so that nobody waits behind it for the cut's own waits. */
  async lock(_table: SourceTable, _options: Abortable): Promise<void> {
    await this.end()
  }

  async cut(table: SourceTable, options: Abortable): Promise<ChunkCut | null> {
    await this.end()
    const { catalog } = table as MysqlTable
    if (!this.#server.isCurrent(catalog)) return null
    await this.#server.verify(this.#connection)
    const cut =
      this.#server.facts.cut === 'snapshot'
        ? await this.#snapshot(catalog, options)
        : await this.#window(catalog, options)
    if (cut === null) await this.end()
    return cut
  }

  // ---- exact (MariaDB, Percona)

  async #snapshot({ schema, definition }: CatalogTable, { signal }: Abortable): Promise<ChunkCut | null> {
    const connection = this.#connection
    const { facts } = this.#server
    for (let tries = 0; tries < SNAPSHOT_TRIES_MAX; tries++) {
      signal.throwIfAborted()
      // In one packet, so that hardly anything can commit in between.
      const results = await connection.queries(
        `ROLLBACK; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT;
         SHOW STATUS LIKE 'binlog_snapshot_%'; SELECT 1 FROM ${tableSql(schema)} LIMIT 0; ${facts.statusSql}; ${NOW_SQL}`,
      )
      this.#opened()
      const rows = results.filter((result) => result.length > 0)
      const status = new Map(rows[0]!.map(([name, value]) => [name!.toLowerCase(), value!]))
      const now = rows[1]?.[0]
      if (now === undefined) throw noBinlog()
      const place = { file: status.get('binlog_snapshot_file')!, at: Number(status.get('binlog_snapshot_position')) }
      // Rule d: what was committed between the snapshot and the lock may have been DDL on this table.
      if (place.file !== now[0] || place.at !== Number(now[1])) continue
      if ((await definitionOf(connection, facts, schema)) !== definition) return null
      const at = this.#server.ordinal(place)
      const binlog = { file: place.file, pos: place.at }
      return { cut: positionCut(at - 1n), tsUs: BigInt(rows[2]![0]![0]!), at, xid: 0n, binlog }
    }
    throw new TidemarkError('mysql.chunk_failed', {
      message: `no consistent snapshot of ${schema.id} was taken without a commit in between, in ${SNAPSHOT_TRIES_MAX} tries`,
      fix: 'The server commits too often for it; the pipeline goes on trying.',
      retriable: true,
    })
  }

  // ---- windows

  async #window({ schema, definition }: CatalogTable, { signal }: Abortable): Promise<ChunkCut | null> {
    const connection = this.#connection
    const { facts, marginMs } = this.#server
    const from = await logEndOf(connection, facts)
    if (facts.cut === 'margin') await pause(marginMs, signal)
    // READ COMMITTED: the transaction holds only the lock, each SELECT sees what is there when it begins.
    await connection.queries(
      `SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ ONLY; SELECT 1 FROM ${tableSql(schema)} LIMIT 0`,
    )
    this.#opened()
    if ((await definitionOf(connection, facts, schema)) !== definition) return null
    const [[executed, tsUs]] = (await connection.query(
      `SELECT ${facts.cut === 'gtid' ? '@@GLOBAL.gtid_executed' : "''"}, (${NOW_SQL})`,
    )) as [[string, string]]
    const at = this.#server.ordinal(from)
    return {
      cut: facts.cut === 'gtid' ? GtidSet.parse(executed).cut(0n) : positionCut(at - 1n),
      tsUs: BigInt(tsUs),
      at,
      xid: 0n,
      binlog: { file: from.file, pos: from.at },
      window: {
        high: async () => {
          await this.#server.verify(connection)
          return positionCut(this.#server.ordinal(await logEndOf(connection, facts)) - 1n)
        },
      },
    }
  }

  #opened(): void {
    this.#open = true
    this.#begun = Date.now()
  }

  // ---- rows

  rows(table: SourceTable, range: KeyRange, limit: ChunkLimit, { signal }: Abortable): ChunkRead {
    const { catalog } = table as MysqlTable
    const columns = keyColumns(catalog)
    const keyed = columns.length > 0
    const order = keyed ? ` ORDER BY ${orderSql(columns)} LIMIT ${limit.rowsMax + 1}` : ''
    const sql = `SELECT ${columnList(catalog)} FROM ${tableSql(catalog.schema)} ${rangeSql(columns, range)}${order}`
    const bytesMax = this.#server.facts.cut === 'snapshot' ? limit.bytesMax : Math.min(limit.bytesMax, WINDOW_BYTES_MAX)
    this.#read = new TableRead(this.#connection, this.#server, catalog, sql, {
      range,
      limit: { ...limit, bytesMax },
      age: Math.max(0, TRANSACTION_AGE_MS_MAX - (Date.now() - this.#begun)),
      signal,
    })
    void this.#read.over.then(() => {
      this.#open = false
    })
    return this.#read
  }

  async keys(table: SourceTable, keys: readonly Key[], _options: Abortable): Promise<readonly ChunkRows[]> {
    const { catalog } = table as MysqlTable
    const decoders = catalog.types.map(textDecoder)
    const rows: Row[] = []
    let bytes = 0
    const sql = `SELECT ${columnList(catalog)} FROM ${tableSql(catalog.schema)} ${keysSql(keyColumns(catalog), keys)}`
    await this.#connection.queries(RAW_RESULTS)
    await this.#connection
      .stream(sql, (b, start, end) => {
        bytes += end - start
        rows.push(rowOf(b, start, end, decoders))
      })
      .over.catch((error) => {
        throw failed(error, catalog.schema)
      })
    await this.#connection.queries(TEXT_RESULTS)
    return rows.length === 0 ? [] : [{ schema: catalog.schema, rows, bytes }]
  }

  async end(): Promise<void> {
    const read = this.#read
    this.#read = null
    if (read !== null) {
      read.stop()
      await read.over
    }
    if (!this.#open) return
    this.#open = false
    await this.#connection.query('ROLLBACK')
  }

  async close(): Promise<void> {
    await this.#connection.close()
  }
}

/** One SELECT into a bounded buffer. `over`: its transaction has ended, whatever the consumer still has to take. */
class TableRead implements ChunkRead {
  readonly end: Promise<ChunkEnd>
  readonly over: Promise<void>
  readonly #queue = new Channel<ChunkRows>({ bytesMax: BUFFER_BYTES_MAX })
  readonly #connection: MysqlConnection
  readonly #server: ChunkServer
  readonly #catalog: CatalogTable
  readonly #range: KeyRange
  readonly #limit: ChunkLimit
  readonly #decoders: readonly ((bytes: Buffer, start: number, end: number) => Value)[]
  readonly #ageTimer: NodeJS.Timeout
  #query: RawQuery | null = null
  #batch: Row[] = []
  #batchBytes = 0
  #rows = 0
  #bytes = 0
  #old = false
  #last: Row | null = null
  /** The read was cut short; what still arrives is dropped. */
  #short = false
  #fullTimer: NodeJS.Timeout | null = null
  #cancelled: Promise<void> | null = null
  #finished = false

  constructor(
    connection: MysqlConnection,
    server: ChunkServer,
    catalog: CatalogTable,
    sql: string,
    options: {
      readonly range: KeyRange
      readonly limit: ChunkLimit
      readonly age: number
      readonly signal: AbortSignal
    },
  ) {
    this.#connection = connection
    this.#server = server
    this.#catalog = catalog
    this.#range = options.range
    this.#limit = options.limit
    this.#decoders = catalog.types.map(textDecoder)
    this.#ageTimer = setTimeout(() => this.#tooOld(), options.age)
    const ended = this.#run(sql).finally(() => {
      this.#finished = true
      clearTimeout(this.#ageTimer)
      if (this.#fullTimer !== null) clearTimeout(this.#fullTimer)
    })
    const rolledBack = ended.then(() => this.#rollback())
    this.over = rolledBack.catch(() => {})
    this.end = rolledBack.then(
      () => {
        this.#queue.end()
        return { upTo: this.#upTo() }
      },
      (thrown) => {
        this.#queue.fail(toError(thrown))
        throw thrown
      },
    )
    this.end.catch(() => {})
  }

  async #run(sql: string): Promise<void> {
    try {
      await this.#connection.queries(RAW_RESULTS)
      this.#query = this.#connection.stream(sql, (bytes, start, end) => this.#take(bytes, start, end))
      await this.#query.over
      this.#flush()
    } catch (error) {
      if (!this.#short || mysqlErrno(error) !== MYSQL_ERROR.queryInterrupted)
        throw failed(toError(error), this.#catalog.schema)
      this.#flush()
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<ChunkRows> {
    return this.#queue[Symbol.asyncIterator]()
  }

  /** A row that takes this long by itself must pass once, or the chunk would never get behind it. */
  #tooOld(): void {
    if (this.#rows > 0) this.stop()
    else this.#old = true
  }

  stop(): void {
    if (this.#short || this.#finished || this.#catalog.schema.key.length === 0) return
    this.#short = true
    this.#query?.resume()
    this.#cancelled = this.#server.cancel(this.#connection.threadId).catch(() => {})
  }

  /** A cancel that came after the SELECT had ended hits the next statement instead: this one, so it is tried again. */
  async #rollback(): Promise<void> {
    await this.#cancelled
    for (;;) {
      try {
        await this.#connection.queries(`ROLLBACK; ${TEXT_RESULTS}`)
        return
      } catch (error) {
        if (this.#cancelled === null || mysqlErrno(error) !== MYSQL_ERROR.queryInterrupted) throw error
      }
    }
  }

  #take(bytes: Buffer, start: number, end: number): void {
    if (this.#short) return
    this.#rows++
    if (this.#catalog.schema.key.length > 0 && this.#rows > this.#limit.rowsMax) {
      // The row beyond the limit only says that there is more.
      this.#short = true
      return
    }
    const row = rowOf(bytes, start, end, this.#decoders)
    const size = end - start
    this.#last = row
    this.#batch.push(row)
    this.#batchBytes += size
    this.#bytes += size
    if (this.#batchBytes >= BATCH_BYTES_MAX) this.#flush()
    if (this.#bytes >= this.#limit.bytesMax || this.#old) this.stop()
  }

  #flush(): void {
    if (this.#batch.length === 0) return
    const chunk = { schema: this.#catalog.schema, rows: this.#batch, bytes: this.#batchBytes }
    this.#batch = []
    this.#batchBytes = 0
    const full = this.#queue.push(chunk, chunk.bytes)
    if (full !== undefined && !this.#short) this.#wait(full)
  }

  #wait(full: Promise<void>): void {
    this.#query?.pause()
    this.#fullTimer ??= setTimeout(() => this.stop(), BUFFER_FULL_MS_MAX)
    void full.then(() => {
      if (this.#fullTimer !== null) clearTimeout(this.#fullTimer)
      this.#fullTimer = null
      this.#query?.resume()
    })
  }

  #upTo(): ChunkEnd['upTo'] {
    if (!this.#short) return null
    if (this.#last !== null) return { key: keyOf(this.#catalog.schema, this.#last), side: 'after' }
    return this.#range.lo ?? { key: [], side: 'before' }
  }
}

function columnList({ schema, types }: CatalogTable): string {
  return schema.columns.map(({ name }, i) => selectSql(name, types[i]!)).join(', ')
}

/** A lost lock, a changed definition or a lost connection may pass; other errors repeat. */
function failed(error: Error, schema: TableSchema): TidemarkError {
  return new TidemarkError('mysql.chunk_failed', {
    message: `reading rows of ${schema.id} failed: ${error.message}`,
    retriable: error instanceof TidemarkError ? error.retriable : false,
    cause: error instanceof TidemarkError ? error.cause : error,
  })
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms)
    function done(): void {
      signal.removeEventListener('abort', aborted)
      resolve()
    }
    function aborted(): void {
      clearTimeout(timer)
      reject(signal.reason)
    }
    signal.addEventListener('abort', aborted, { once: true })
    if (signal.aborted) aborted()
  })
}
