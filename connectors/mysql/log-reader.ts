/**
 * Interprets the events of one binlog: where it is, which transaction is open, what is complete. What is always true: `place` says
 * exactly which row events were handed over; no event is left out unless its kind says that it may be; a transaction's ordinal
 * is the place of its first event, so that it is known before its rows are.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Position, TxnRef } from '../../core/model.js'
import {
  checkedEnd,
  checksumsOf,
  crc,
  EVENT,
  type EventHeader,
  type GtidEvent,
  HEADER_BYTES,
  type QueryEvent,
  queryTextStart,
  readGtid,
  readHeader,
  readMariadbGtid,
  readQuery,
  readRotate,
  readTaggedGtid,
  readXaPrepare,
  xaStatement,
} from './binlog-events.js'
import { inflated } from './compressed.js'
import { readStatement, type Statement } from './ddl.js'
import { GtidSet } from './gtid.js'
import {
  baseOn,
  formatMysqlPosition,
  type Inside,
  type MysqlPosition,
  ordinalOf,
  parseMysqlPosition,
} from './position.js'
import { ROW_EVENTS } from './row-events.js'
import type { LogPlace } from './server.js'

export interface LogTransaction {
  readonly ref: TxnRef
  readonly id: string
  readonly gtid: GtidEvent | null
  /** Of `ref`; BEGIN brings the thread. */
  readonly binlog: { readonly file: string; readonly serverId: number; thread: number | null }
  /** BEGIN was seen, so a DDL statement does not end it. */
  begun: boolean
  /** Row events so far, and how many of them an earlier run delivered. */
  events: number
  skip: number
  /** Its rows are visible only from XA COMMIT on. */
  xid: string | null
}

/** What the reader hands on. */
export interface LogSink {
  /** A row event of `type` between these bytes; true: count it as delivered although nothing came of it. */
  rows(type: number, b: Buffer, start: number, end: number, at: number, transaction: LogTransaction): void
  tableMap(b: Buffer, start: number, end: number): void | Promise<void>
  /** Anything but BEGIN, COMMIT and the like. */
  statement(statement: Statement, sql: string, transaction: LogTransaction | null, at: number): void
  xa(verb: 'prepare' | 'commit' | 'rollback', xid: string, transaction: LogTransaction): void
  payload(b: Buffer, start: number, end: number): Promise<void>
}

export interface LogReaderOptions {
  readonly server: string
  readonly mariadb: boolean
  readonly gtids: boolean
  readonly sink: LogSink
}

const TWO_32 = 0x1_0000_0000
const IGNORED = new Set<number>([
  EVENT.stop,
  EVENT.intvar,
  EVENT.rand,
  EVENT.userVar,
  EVENT.ignorable,
  EVENT.rowsQuery,
  EVENT.previousGtids,
  EVENT.transactionContext,
  EVENT.viewChange,
  EVENT.heartbeat,
  EVENT.heartbeatV2,
  EVENT.mariadbAnnotateRows,
  EVENT.mariadbCheckpoint,
  EVENT.mariadbGtidList,
  EVENT.mariadbStartEncryption,
])

export class LogReader {
  /** Everything that begins at or before it was handed over. */
  ordinal = 0n
  transaction: LogTransaction | null = null
  readonly #o: LogReaderOptions
  #place: LogPlace = { file: '', at: 4 }
  /** Where the event at hand begins, or the one that brought it compressed. */
  #start = 4
  #base = 0n
  #checksums = false
  #set: GtidSet | null = null
  /** MariaDB: the last of each domain. */
  #domains = new Map<string, string>()
  #inside: Inside | null = null
  #last: string | null = null
  #gtidsText: string | null = null

  constructor(options: LogReaderOptions) {
    this.#o = options
  }

  start(position: Position): MysqlPosition {
    const from = parseMysqlPosition(position)
    const moved = from.server !== this.#o.server
    this.#place = { file: from.file, at: from.at }
    this.#base = baseOn(this.#o.server, from)
    this.#inside = from.inside
    this.#last = moved ? null : from.last
    if (from.gtids !== null && this.#o.mariadb) {
      for (const gtid of from.gtids.split(',').filter((text) => text !== ''))
        this.#domains.set(gtid.split('-')[0]!, gtid)
    } else if (from.gtids !== null) this.#set = GtidSet.parse(from.gtids)
    this.ordinal = ordinalOf(from.base, this.#place) - 1n
    return from
  }

  get base(): bigint {
    return this.#base
  }

  /** Where a reader that has delivered everything handed over so far resumes. */
  get position(): Position {
    const { transaction } = this
    const events = transaction === null ? 0 : Math.max(transaction.events, transaction.skip)
    const inside =
      transaction !== null && events > 0 && transaction.xid === null ? { id: transaction.id, events } : this.#inside
    const { file, at } = transaction === null ? this.#place : this.#began
    return formatMysqlPosition({
      server: this.#o.server,
      file,
      at,
      base: this.#base,
      gtids: this.#gtids,
      inside,
      last: this.#last,
    })
  }

  /** Where the open transaction begins. */
  #began: LogPlace = { file: '', at: 4 }

  get #gtids(): string | null {
    if (!this.#o.gtids) return null
    this.#gtidsText ??= this.#o.mariadb ? [...this.#domains.values()].sort().join(',') : (this.#set ?? '').toString()
    return this.#gtidsText
  }

  get where(): string {
    return `${this.#place.file}:${this.#place.at}`
  }

  handle(b: Buffer, start: number, packetEnd: number): void | Promise<void> {
    const header = readHeader(b, start)
    if (header.type === EVENT.formatDescription) {
      this.#checksums = checksumsOf(b, start, packetEnd)
      if (!header.artificial && header.next !== 0) this.#advance(header)
      return
    }
    if (header.type === EVENT.rotate) return this.#rotate(b, start, packetEnd)
    const end = this.#checksums ? checkedEnd(b, start, packetEnd, () => this.where) : packetEnd
    this.#start = this.#place.at
    if (!header.artificial) this.#advance(header)
    return this.event(header, b, start, end)
  }

  /** An event of the log, or of a compressed transaction in it, without its checksum. */
  event(header: EventHeader, b: Buffer, start: number, end: number): void | Promise<void> {
    const { type } = header
    switch (type) {
      case EVENT.gtid:
      case EVENT.anonymousGtid:
        return this.#begin(header, readGtid(b, start, end), b, start, end)
      case EVENT.gtidTagged:
        return this.#begin(header, readTaggedGtid(b, start), b, start, end)
      case EVENT.mariadbGtid:
        return this.#begin(header, readMariadbGtid(b, start), b, start, end)
      case EVENT.query:
        return this.#query(header, readQuery(b, start, end), b, start, end)
      case EVENT.mariadbQueryCompressed: {
        const sql = inflated(b, queryTextStart(b, start), end).toString('utf8')
        return this.#query(header, { ...readQuery(b, start, end), sql }, b, start, end)
      }
      case EVENT.tableMap:
        return this.#o.sink.tableMap(b, start, end)
      case EVENT.xid:
        return this.#commit()
      case EVENT.xaPrepare:
        return this.#prepared(b, start)
      case EVENT.transactionPayload:
        return this.#o.sink.payload(b, start + HEADER_BYTES, end)
      case EVENT.incident:
        throw this.#refused(
          'an incident: the server lost changes that it could not log',
          'Empty the targets, run `tidemark drop FILE` and start anew.',
        )
      case EVENT.partialUpdateRows:
        throw this.#refused(
          'a partial update of JSON',
          "SET GLOBAL binlog_row_value_options = ''; and let sessions reconnect, then start the pipeline anew.",
        )
    }
    if (ROW_EVENTS.has(type)) return this.#rows(header, b, start, end)
    if (IGNORED.has(type)) return this.#idle()
    if (header.ignorable) return
    throw this.#refused(`an event of the unknown kind ${type}`, 'Please report this with the version of the server.')
  }

  // ---- place

  #rotate(b: Buffer, start: number, end: number): void {
    // Before the file's first event nobody knows whether there is a checksum.
    const body = end - 4
    const checked = body > start + HEADER_BYTES + 8 && crc(b, start, body) === b.readUInt32LE(body)
    const { file, position } = readRotate(b, start, checked ? body : end)
    this.#place = { file, at: position }
    this.#idle()
  }

  #advance({ next, length }: EventHeader): void {
    const { file, at } = this.#place
    this.#place = { file, at: next === 0 ? at + length : widened(at, next) }
  }

  /** Outside a transaction everything up to here is complete. */
  #idle(): void {
    if (this.transaction !== null) return
    const ordinal = ordinalOf(this.#base, this.#place) - 1n
    if (ordinal > this.ordinal) this.ordinal = ordinal
  }

  // ---- transactions

  #begin(header: EventHeader, gtid: GtidEvent | null, b: Buffer, start: number, end: number): void {
    if (this.transaction !== null) this.#commit()
    const { file, at } = this.#place
    this.#began = { file, at: at - header.length }
    const ordinal = ordinalOf(this.#base, this.#began)
    const source = gtid?.source ?? ''
    const id = source === '' ? `${ordinal}` : `${source}:${gtid!.number}`
    const tsUs = gtid?.tsUs ?? BigInt(header.timestamp) * 1_000_000n
    const binlog = { file, serverId: header.serverId, thread: null }
    const ref: TxnRef = {
      ordinal,
      previous: 0n,
      tsUs,
      binlog,
      ...(source === '' ? {} : { gtid: { source, number: gtid!.number } }),
    }
    this.transaction = { ref, id, gtid, binlog, begun: false, events: 0, skip: 0, xid: null }
    this.#last = `${file}/${this.#began.at}/${crc(b, start, end)}`
    this.#resumeInside(this.transaction)
  }

  /** Rule k: "the first n of X" holds only for the very same transaction. */
  #resumeInside(transaction: LogTransaction): void {
    const inside = this.#inside
    if (inside === null) return
    if (inside.id !== transaction.id) {
      // A transaction prepared long ago is sent again, because its commit was not seen.
      if (transaction.ref.ordinal <= this.ordinal) return
      throw new TidemarkError('mysql.position_lost', {
        message: `the checkpoint lies inside transaction ${inside.id}, but the log goes on with ${transaction.id}`,
        fix: 'The server is not the one the checkpoint was made with, or it was restored. Run `tidemark drop FILE` and start anew.',
      })
    }
    transaction.skip = inside.events
    this.#inside = null
  }

  #commit(): void {
    const { transaction } = this
    if (transaction === null) return this.#idle()
    this.transaction = null
    this.#complete(transaction.gtid)
    this.#idle()
  }

  #complete(gtid: GtidEvent | null): void {
    if (gtid === null || gtid.source === '') return
    this.#gtidsText = null
    if (this.#o.mariadb) this.#domains.set(gtid.source, `${gtid.source}-${gtid.serverId}-${gtid.number}`)
    else {
      this.#set ??= GtidSet.parse('')
      this.#set.add(gtid.source, gtid.number)
    }
  }

  #prepared(b: Buffer, start: number): void {
    const { transaction } = this
    const { xid, onePhase } = readXaPrepare(b, start)
    if (transaction === null)
      throw this.#refused('XA PREPARE outside a transaction', 'Please report this with the version of the server.')
    if (onePhase) {
      this.#o.sink.xa('commit', xid, transaction)
      return this.#commit()
    }
    this.#o.sink.xa('prepare', xid, transaction)
    this.transaction = null
    this.#idle()
  }

  /** The PREPARE whose GTID a resume leaves out has its COMMIT now (rule c). */
  finished(prepare: LogTransaction): void {
    this.#complete(prepare.gtid)
  }

  #query(header: EventHeader, { database, sql, thread }: QueryEvent, b: Buffer, start: number, end: number): void {
    const xa = xaStatement(sql)
    const statement = xa === null ? readStatement(sql, database) : null
    // Servers without GTID events begin a transaction with the statement itself.
    if (this.transaction === null) this.#begin(header, null, b, start, end)
    const transaction = this.transaction!
    transaction.binlog.thread ??= thread
    if (xa !== null) return this.#xaQuery(xa, transaction)
    switch (statement!.kind) {
      case 'begin':
        transaction.begun = true
        return
      case 'commit':
      case 'rollback':
        return this.#commit()
      case 'savepoint':
        return
    }
    this.#o.sink.statement(statement!, sql, transaction, this.#start)
    if (!transaction.begun && transaction.events === 0) this.#commit()
  }

  #xaQuery({ verb, xid }: { readonly verb: string; readonly xid: string }, transaction: LogTransaction): void {
    switch (verb) {
      case 'START':
      case 'BEGIN':
        transaction.begun = true
        transaction.xid = xid
        return
      case 'COMMIT':
      case 'ROLLBACK':
        this.#o.sink.xa(verb === 'COMMIT' ? 'commit' : 'rollback', xid, transaction)
        return this.#commit()
    }
  }

  // ---- rows

  #rows({ type }: EventHeader, b: Buffer, start: number, end: number): void {
    const { transaction } = this
    if (transaction === null)
      throw this.#refused('rows outside a transaction', 'Please report this with the version of the server.')
    transaction.events++
    if (transaction.gtid?.xa === 'prepare') transaction.xid ??= ''
    if (transaction.events <= transaction.skip) return
    this.#o.sink.rows(type, b, start, end, this.#start, transaction)
  }

  #refused(what: string, fix: string): TidemarkError {
    return new TidemarkError('mysql.binlog_event', { message: `the binlog holds ${what}, before ${this.where}`, fix })
  }
}

/** The whole place whose low 32 bits an event has: files may be longer than 4 GiB (T67). */
function widened(at: number, low: number): number {
  const candidate = Math.floor(at / TWO_32) * TWO_32 + low
  return candidate < at - TWO_32 / 2 ? candidate + TWO_32 : candidate
}
