/**
 * The log tail: events in, batches of changes out. Always true: a batch's position says exactly which row events it and those
 * before it held; what waits for the consumer is bounded in bytes, and the socket is paused behind it (I8); nothing is decoded
 * while a definition is being looked up.
 */
import { binlogAt } from '../../core/binlog-place.js'
import { Channel } from '../../core/channel.js'
import { TidemarkError, toError } from '../../core/errors.js'
import type { Change, Position, TableSchema, TxnRef } from '../../core/model.js'
import type { Abortable, LogBatch, LogItem } from '../../core/source.js'
import type { MysqlOptions } from '../../drivers/mysql.js'
import { type BinlogStart, BinlogStream } from '../../drivers/mysql-replication.js'
import { HEADER_BYTES } from './binlog-events.js'
import type { CapturedTables } from './captured.js'
import { inflatedRows, payloadEvents } from './compressed.js'
import type { Statement } from './ddl.js'
import type { DecodePlan } from './decode-plan.js'
import { LogReader, type LogSink, type LogTransaction } from './log-reader.js'
import { ROW_EVENTS, readRows, rowsBody } from './row-events.js'
import type { ServerFacts } from './server.js'
import { tableIdOf } from './table-map.js'
import { withoutHistory } from './versioned.js'

/** A batch closes at this size even when more data is at hand. */
const BATCH_BYTES = 128 * 1024
/** Batches that wait for the consumer. */
const QUEUE_BYTES_MAX = 256 * 1024
/** Rows of XA transactions that wait for their COMMIT. */
const PREPARED_BYTES_MAX = 64 * 1024 * 1024

export interface MysqlTailOptions {
  readonly connection: MysqlOptions
  readonly tls: boolean
  readonly server: ServerFacts
  readonly serverId: number
  readonly uuid: string
  readonly tables: CapturedTables
}

interface MappedTable {
  /** The map's bytes: the same ones come before every statement's rows. */
  readonly bytes: Buffer
  readonly generation: number
  /** null: not captured. */
  readonly plan: DecodePlan | null
}

interface Prepared {
  readonly transaction: LogTransaction
  readonly rows: { readonly schema: TableSchema; readonly changes: readonly Change[]; readonly bytes: number }[]
}

export class MysqlTail implements LogSink {
  readonly #o: MysqlTailOptions
  readonly #queue = new Channel<LogBatch>({ bytesMax: QUEUE_BYTES_MAX })
  readonly #reader: LogReader
  readonly #mapped = new Map<number, MappedTable>()
  readonly #prepared = new Map<string, Prepared>()
  #preparing: Prepared | null = null
  #preparedBytes = 0
  #stream: BinlogStream | null = null
  #items: LogItem[] = []
  #open: { txn: TxnRef; schema: TableSchema; changes: Change[]; bytes: number } | null = null
  #bytes = 0
  #truncated = false
  #ordinal = -1n
  /** Events that came while something was being looked up. */
  #backlog: Buffer[] | null = null

  constructor(options: MysqlTailOptions) {
    this.#o = options
    const { identity, mariadb, gtids } = options.server
    this.#reader = new LogReader({ server: identity, mariadb, gtids, sink: this })
  }

  async *run(position: Position, { signal }: Abortable): AsyncGenerator<LogBatch> {
    const stop = () => this.#queue.end()
    signal.addEventListener('abort', stop, { once: true })
    try {
      await this.#start(position, signal)
      if (signal.aborted) stop()
      yield* this.#queue
    } catch (thrown) {
      if (!signal.aborted) throw thrown
    } finally {
      signal.removeEventListener('abort', stop)
      await this.close()
    }
  }

  async #start(position: Position, signal: AbortSignal): Promise<void> {
    const from = this.#reader.start(position)
    const start: BinlogStart =
      from.gtids !== null ? { kind: 'gtid', set: from.gtids } : { kind: 'file', file: from.file, position: from.at }
    const { connection, tls, serverId, uuid } = this.#o
    const handlers = {
      event: (b: Buffer, s: number, e: number) => this.#receive(b, s, e),
      drained: () => this.#drained(),
    }
    this.#stream = await BinlogStream.start(connection, tls, { start, serverId, uuid }, handlers, signal)
    this.#stream.failed.catch((error) => this.#queue.fail(toError(error)))
  }

  async close(): Promise<void> {
    this.#queue.end()
    const stream = this.#stream
    this.#stream = null
    await stream?.stop()
  }

  // ---- events

  #receive(b: Buffer, start: number, end: number): void {
    if (this.#backlog !== null) {
      this.#backlog.push(Buffer.from(b.subarray(start, end)))
      return
    }
    const waiting = this.#reader.handle(b, start, end)
    if (waiting !== undefined) this.#suspend(waiting)
    else if (this.#bytes >= BATCH_BYTES || this.#truncated) this.#close()
  }

  /** What was decoded must not wait for what is looked up. */
  #suspend(work: Promise<void>): void {
    this.#close()
    this.#backlog = []
    this.#stream?.pause()
    work.then(
      () => this.#replay(),
      (thrown) => this.#queue.fail(toError(thrown)),
    )
  }

  #replay(): void {
    const backlog = this.#backlog!
    this.#backlog = null
    try {
      for (let i = 0; i < backlog.length; i++) {
        this.#receive(backlog[i]!, 0, backlog[i]!.length)
        if (this.#backlog !== null) {
          // Everything behind it waits too, in order.
          this.#backlog = backlog.slice(i + 1)
          return
        }
      }
      this.#drained()
    } catch (thrown) {
      return this.#queue.fail(toError(thrown))
    }
    if (!this.#queue.full) this.#stream?.resume()
  }

  // ---- what the reader hands on

  tableMap(b: Buffer, start: number, end: number): void | Promise<void> {
    const tableId = tableIdOf(b, start)
    const body = b.subarray(start + HEADER_BYTES, end)
    const { tables } = this.#o
    const known = this.#mapped.get(tableId)
    if (known !== undefined && known.generation === tables.generation && body.equals(known.bytes)) return
    const bytes = Buffer.from(body)
    const learn = (plan: DecodePlan | null) => {
      // A server numbers its tables anew with every definition; the old numbers come no more.
      if (this.#mapped.size >= MAPS_MAX) this.#mapped.clear()
      this.#mapped.set(tableId, { bytes, generation: tables.generation, plan })
    }
    const plan = tables.plan(b, start, end, this.#reader.where)
    if (!(plan instanceof Promise)) return learn(plan)
    return plan.then(learn)
  }

  rows(type: number, b: Buffer, start: number, end: number, at: number, transaction: LogTransaction): void {
    const tableId = tableIdOf(b, start)
    const mapped = this.#mapped.get(tableId)
    // A dummy that only says that the statement is over.
    if (mapped === undefined && tableId === 0xffffff) return
    if (mapped === undefined) {
      throw new TidemarkError('mysql.binlog_event', {
        message: `rows of table number ${tableId} came without a table map, before ${this.#reader.where}`,
        fix: 'Please report this with the version of the server.',
      })
    }
    const { plan } = mapped
    if (plan === null) return
    const rowType = ROW_EVENTS.get(type)!
    const body = rowsBody(b, start, rowType)
    const whole = rowType.compressed ? inflatedRows(b, body, end, rowType.kind) : { bytes: b, from: body, end }
    const read = readRows(whole.bytes, whole.from, whole.end, rowType.kind, plan, at)
    const changes = plan.rowEnd === null ? read : withoutHistory(read, plan.rowEnd, plan.schema.columns.length)
    if (changes.length === 0) return
    if (transaction.xid !== null) return this.#prepare(transaction, plan.schema, changes, end - start)
    this.#add(transaction.ref, plan.schema, changes, end - start)
  }

  #add(txn: TxnRef, schema: TableSchema, changes: readonly Change[], bytes: number): void {
    this.#bytes += bytes
    const open = this.#open
    if (open !== null && open.schema === schema && open.txn === txn) {
      for (const change of changes) open.changes.push(change)
      open.bytes += bytes
      return
    }
    this.#seal()
    this.#open = { txn, schema, changes: [...changes], bytes }
  }

  statement(statement: Statement, sql: string, transaction: LogTransaction | null, at: number): void {
    const truncated = this.#o.tables.statement(statement, sql, this.#reader.where)
    if (truncated.length === 0 || transaction === null) return
    // It is alone in its batch, which ends once its transaction does: see #receive.
    if (this.#items.length > 0 || this.#open !== null) this.#close()
    this.#items.push({ kind: 'truncate', txn: transaction.ref, schemas: truncated, at: binlogAt(at, 0) })
    this.#truncated = true
  }

  // ---- XA (rule c)

  #prepare(transaction: LogTransaction, schema: TableSchema, changes: readonly Change[], bytes: number): void {
    this.#preparing ??= { transaction, rows: [] }
    this.#preparing.rows.push({ schema, changes, bytes })
    this.#preparedBytes += bytes
    if (this.#preparedBytes <= PREPARED_BYTES_MAX) return
    throw new TidemarkError('mysql.xa', {
      message: `prepared XA transactions hold more than ${PREPARED_BYTES_MAX} bytes of captured rows, before ${this.#reader.where}`,
      fix: 'Commit or roll back what XA RECOVER lists, and keep XA transactions small.',
    })
  }

  xa(verb: 'prepare' | 'commit' | 'rollback', xid: string, transaction: LogTransaction): void {
    if (verb === 'prepare' || (verb === 'commit' && this.#preparing !== null)) {
      const prepared = this.#preparing ?? { transaction, rows: [] }
      this.#preparing = null
      if (verb === 'commit') return this.#committed(prepared, transaction)
      if (prepared.rows.length > 0 && this.#o.server.cut !== 'gtid') throw this.#unfollowed(xid)
      this.#prepared.set(xid, prepared)
      return
    }
    const prepared = this.#prepared.get(xid)
    this.#prepared.delete(xid)
    if (prepared === undefined) {
      // Without GTIDs a prepared transaction with captured rows stopped the pipeline already, or was refused at its start.
      if (verb === 'rollback' || this.#o.server.cut !== 'gtid') return
      throw new TidemarkError('mysql.xa', {
        message: `XA COMMIT of ${xid}, before ${this.#reader.where}, whose XA PREPARE came before the place where the pipeline began`,
        fix: 'Its rows are unknown. Run `tidemark drop FILE`, empty the targets and start anew while XA RECOVER lists nothing.',
      })
    }
    if (verb === 'commit') this.#committed(prepared, transaction)
    else for (const { bytes } of prepared.rows) this.#preparedBytes -= bytes
    this.#reader.finished(prepared.transaction)
  }

  #committed(prepared: Prepared, transaction: LogTransaction): void {
    for (const { schema, changes, bytes } of prepared.rows) {
      this.#preparedBytes -= bytes
      this.#add(transaction.ref, schema, changes, bytes)
    }
  }

  #unfollowed(xid: string): TidemarkError {
    return new TidemarkError('mysql.xa', {
      message: `XA transaction ${xid} changes captured tables, which can be followed only on MySQL with gtid_mode = ON`,
      fix: 'Set gtid_mode = ON, or write captured tables without XA.',
    })
  }

  // ---- compressed transactions

  async payload(b: Buffer, start: number, end: number): Promise<void> {
    const copy = Buffer.from(b.subarray(start, end))
    for await (const events of payloadEvents(copy)) {
      for (const { header, bytes, from, to } of events) {
        const waiting = this.#reader.event(header, bytes, from, to)
        if (waiting !== undefined) await waiting
        if (this.#bytes >= BATCH_BYTES) this.#close()
      }
      await this.#queue.room()
    }
  }

  // ---- batches

  /** The data at hand is decoded: pass on what there is. */
  #drained(): void {
    if (this.#backlog !== null) return
    if (this.#reader.ordinal !== this.#ordinal || this.#items.length > 0 || this.#open !== null) this.#close()
  }

  #seal(): void {
    if (this.#open === null) return
    this.#items.push({ kind: 'rows', ...this.#open })
    this.#open = null
  }

  #close(): void {
    this.#seal()
    const { ordinal, position, transaction } = this.#reader
    if (this.#items.length === 0 && ordinal === this.#ordinal) return
    const batch: LogBatch = {
      items: this.#items,
      position,
      ordinal,
      midTransaction: transaction !== null && Math.max(transaction.events, transaction.skip) > 0,
      bytes: this.#bytes,
    }
    this.#ordinal = ordinal
    this.#truncated = false
    this.#items = []
    this.#bytes = 0
    const room = this.#queue.push(batch, Math.max(batch.bytes, 64))
    if (room === undefined) return
    this.#stream?.pause()
    void room.then(() => {
      if (this.#backlog === null) this.#stream?.resume()
    })
  }
}

/** Table maps kept; a server that made more has forgotten the old numbers. */
const MAPS_MAX = 10_000
