/**
 * Reads chunks on one connection: lock, snapshot, rows. The lock comes before the snapshot and keeps rewrites and column
 * changes out until the rows are read (1.10 d), so what the snapshot shows is what the SELECT returns. The transaction
 * never stays open for the consumer: rows go into a bounded buffer, and a read that cannot fill it further ends early.
 */
import { Channel } from '../../core/channel.js'
import { xidCut } from '../../core/cut.js'
import { TidemarkError, toError } from '../../core/errors.js'
import type { KeyRange } from '../../core/key.js'
import { type Key, keyOf, type Row } from '../../core/model.js'
import { packedChunk } from '../../core/packed-rows.js'
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
import { type PgConnection, parseLsn, quoteIdent, quoteLiteral, sqlState } from '../../drivers/postgres.js'
import { CopyOut } from '../../drivers/postgres-copy.js'
import { type CatalogTable, definitionSql } from './catalog.js'
import { type CopyPiece, CopyRows, joined, lastRow, withoutLast } from './copy-rows.js'
import { keysSql, orderSql, rangeSql } from './keys.js'
import type { Monitor } from './monitor.js'
import { tableName, tableRows } from './plan.js'

/** A chunk's transaction ends at this age: an ALTER TABLE behind it, and all behind that, waits no longer. */
const TRANSACTION_AGE_MS_MAX = 5_000
/** What one read may hold for its consumer. */
const BUFFER_BYTES_MAX = 2 * 1024 * 1024
/** How long a read waits for its consumer with the transaction open. */
const BUFFER_FULL_MS_MAX = 250
/** Small pieces that lie behind each other go to the consumer as one up to this size. */
const BATCH_BYTES_MAX = 64 * 1024
/** How long a reader waits for the table's lock before it asks again; short, because others queue behind a waiter. */
const LOCK_TIMEOUT_MS = 1_000
const CANCELLED = '57014'
const NOT_UTF8 = '22021'
const NOT_UTF8_FIX =
  'A row holds bytes that are no text in the encoding of the database, as SQL_ASCII allows. Mend the row, or leave the table out with tables.exclude.'

/** A SourceTable that carries its catalog entry. */
export interface PgTable extends SourceTable {
  readonly catalog: CatalogTable
}

export class PgChunkSession implements ChunkSession {
  readonly #connection: PgConnection
  readonly #monitor: Monitor
  #begun = 0
  #open = false
  #fresh = false
  #read: CopyRead | null = null

  constructor(connection: PgConnection, monitor: Monitor) {
    this.#connection = connection
    this.#monitor = monitor
  }

  async lock(table: SourceTable, { signal }: Abortable): Promise<void> {
    await this.end()
    for (;;) {
      signal.throwIfAborted()
      try {
        // None of these takes a snapshot, so the transaction's one is taken by cut(), behind the lock.
        await this.#connection.query(
          `begin isolation level repeatable read read only; set local lock_timeout = ${LOCK_TIMEOUT_MS};
           lock table ${tableRows(catalogOf(table))} in access share mode`,
        )
        this.#begun = Date.now()
        this.#open = true
        this.#fresh = true
        return
      } catch (error) {
        await this.#connection.query('rollback').catch(() => {})
        if (sqlState(error) !== '55P03') throw error
      }
    }
  }

  async cut(table: SourceTable, options: Abortable): Promise<ChunkCut | null> {
    if (!this.#fresh) await this.lock(table, options)
    this.#fresh = false
    const { oid, definition, schema } = catalogOf(table)
    const [row] = await this.#connection.query(
      `select pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, (extract(epoch from clock_timestamp()) * 1000000)::bigint::text,
        ${definitionSql(`${oid}::oid`)}, (select c.oid::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = ${quoteLiteral(schema.namespace)} and c.relname = ${quoteLiteral(schema.name)})`,
    )
    const [snapshot, insertLsn, tsUs, now, nowOid] = row as string[]
    if (now !== definition || Number(nowOid) !== oid) {
      await this.end()
      return null
    }
    const [xmin, xmax, xip] = snapshot!.split(':')
    const at = parseLsn(insertLsn!)
    const inProgress = xip === '' || xip === undefined ? [] : xip.split(',').map(BigInt)
    const cut = xidCut({ xmin: BigInt(xmin!), xmax: BigInt(xmax!), xip: inProgress }, at)
    return { cut, tsUs: BigInt(tsUs!), at, xid: BigInt(xmax!) }
  }

  rows(table: SourceTable, range: KeyRange, limit: ChunkLimit, { signal }: Abortable): ChunkRead {
    const catalog = catalogOf(table)
    const keyed = catalog.key.length > 0
    const order = keyed ? ` order by ${orderSql(catalog, tableName(catalog))} limit ${limit.rowsMax + 1}` : ''
    const sql = `copy (select ${columnList(catalog)} from ${tableRows(catalog)} ${rangeSql(catalog, range)}${order}) to stdout`
    const age = Math.max(0, TRANSACTION_AGE_MS_MAX - (Date.now() - this.#begun))
    this.#read = new CopyRead(this.#connection, this.#monitor, catalog, sql, { range, limit, age, signal })
    void this.#read.over.then(() => {
      this.#open = false
    })
    return this.#read
  }

  async keys(table: SourceTable, keys: readonly Key[], _options: Abortable): Promise<readonly ChunkRows[]> {
    const catalog = catalogOf(table)
    const rows: Row[] = []
    let bytes = 0
    const sql = `copy (select ${columnList(catalog)} from ${tableRows(catalog)} ${keysSql(catalog, keys)}) to stdout`
    const copy = new CopyOut(this.#connection, sql, (piece, count, last) => {
      bytes += piece.length
      rows.push(...new CopyRows({ bytes: piece, count, last }, catalog.schema.columns.length).rows())
    })
    await copy.over.catch((error) => {
      throw failed(error, catalog)
    })
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
    await this.#connection.query('rollback')
  }

  async close(): Promise<void> {
    await this.#connection.close()
  }
}

/**
 * One COPY into a bounded buffer. `over`: its transaction has ended, whatever the consumer still has to take. What waits
 * are bytes as they came: rows are made when they are taken, because thousands that wait cost the collector more than
 * making them did.
 */
class CopyRead implements ChunkRead {
  readonly end: Promise<ChunkEnd>
  readonly over: Promise<void>
  readonly #queue = new Channel<CopyPiece>({ bytesMax: BUFFER_BYTES_MAX })
  readonly #connection: PgConnection
  readonly #monitor: Monitor
  readonly #catalog: CatalogTable
  readonly #range: KeyRange
  readonly #limit: ChunkLimit
  readonly #timers: NodeJS.Timeout[] = []
  #stream: CopyOut
  #rows = 0
  #bytes = 0
  #old = false
  #last: CopyPiece | null = null
  /** The read was cut short; what still arrives is dropped. */
  #short = false
  #fullTimer: NodeJS.Timeout | null = null
  #cancelled: Promise<void> | null = null
  /** The COPY is over: a cancel would hit something else. */
  #finished = false

  constructor(
    connection: PgConnection,
    monitor: Monitor,
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
    this.#monitor = monitor
    this.#catalog = catalog
    this.#range = options.range
    this.#limit = options.limit
    const unwatch = monitor.watch(connection.pid, () => this.stop())
    this.#timers.push(setTimeout(() => this.#tooOld(), options.age))
    this.#stream = new CopyOut(connection, sql, (bytes, count, last) => this.#take({ bytes, count, last }))
    const copied = this.#consume().finally(() => {
      this.#finished = true
      unwatch()
      for (const timer of this.#timers) clearTimeout(timer)
      if (this.#fullTimer !== null) clearTimeout(this.#fullTimer)
    })
    const ended = copied.then(() => this.#rollback())
    this.over = ended.catch(() => {})
    this.end = ended.then(
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

  async *[Symbol.asyncIterator](): AsyncGenerator<ChunkRows> {
    const { schema } = this.#catalog
    while (await this.#queue.readable()) {
      let piece = this.#queue.shift()!
      for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
        const both = joined(piece, next, BATCH_BYTES_MAX)
        if (both === null) break
        piece = both
        this.#queue.shift()
      }
      yield packedChunk(schema, new CopyRows(piece, schema.columns.length), piece.bytes.length)
    }
  }

  /** A row that takes this long by itself must pass once, or the chunk would never get behind it. */
  #tooOld(): void {
    if (this.#rows > 0) this.stop()
    else this.#old = true
  }

  stop(): void {
    if (this.#short || this.#finished || this.#catalog.key.length === 0) return
    this.#short = true
    this.#stream.resume()
    // A server that waits for the socket notices a cancel only when it may write again, so what comes is drained.
    this.#cancelled = this.#monitor.cancel(this.#connection.pid).catch(() => {})
  }

  /** A cancel that came after the COPY had ended hits the next statement instead: this one, so it is tried again. */
  async #rollback(): Promise<void> {
    await this.#cancelled
    for (;;) {
      try {
        await this.#connection.query('rollback')
        return
      } catch (error) {
        if (this.#cancelled === null || sqlState(error) !== CANCELLED) throw error
      }
    }
  }

  async #consume(): Promise<void> {
    try {
      await this.#stream.over
    } catch (error) {
      if (!this.#short || sqlState(error) !== CANCELLED) throw failed(toError(error), this.#catalog)
    }
  }

  #take(piece: CopyPiece): void {
    if (this.#short) return
    this.#rows += piece.count
    let kept: CopyPiece | null = piece
    if (this.#catalog.key.length > 0 && this.#rows > this.#limit.rowsMax) {
      // The row beyond the limit only says that there is more.
      kept = withoutLast(piece)
      this.#short = true
      if (kept === null) return
    }
    this.#last = kept
    this.#bytes += kept.bytes.length
    const full = this.#queue.push(kept, kept.bytes.length)
    if (this.#bytes >= this.#limit.bytesMax || this.#old) this.stop()
    if (full !== undefined && !this.#short) this.#wait(full)
  }

  #wait(full: Promise<void>): void {
    this.#stream.pause()
    this.#fullTimer ??= setTimeout(() => this.stop(), BUFFER_FULL_MS_MAX)
    void full.then(() => {
      if (this.#fullTimer !== null) clearTimeout(this.#fullTimer)
      this.#fullTimer = null
      this.#stream.resume()
    })
  }

  #upTo(): ChunkEnd['upTo'] {
    if (!this.#short) return null
    if (this.#last !== null) return { key: keyOf(this.#catalog.schema, lastRow(this.#last)), side: 'after' }
    return this.#range.lo ?? { key: [], side: 'before' }
  }
}

function catalogOf(table: SourceTable): CatalogTable {
  return (table as PgTable).catalog
}

function columnList(catalog: CatalogTable): string {
  return catalog.schema.columns.map((c) => quoteIdent(c.name)).join(', ')
}

function failed(error: Error, catalog: CatalogTable): TidemarkError {
  const state = sqlState(error)
  return new TidemarkError('postgres.chunk_failed', {
    message: `reading rows of ${catalog.schema.id} failed: ${error.message}`,
    ...(state === NOT_UTF8 ? { fix: NOT_UTF8_FIX } : {}),
    // A lost connection, a recovery conflict or a cancelled statement may pass; other errors repeat.
    retriable: state === null || /^(08|57|40|53|55)/.test(state),
    cause: error,
  })
}
