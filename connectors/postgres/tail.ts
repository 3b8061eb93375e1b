/**
 * The log tail: pgoutput messages in, batches of changes out. Always true: a batch's position says exactly which row
 * messages it and those before it held, whatever was filtered (1.10 i); the server is told only released positions
 * (I1); what waits for the consumer is bounded in bytes, and the socket is paused behind it (I8).
 */
import { Channel } from '../../core/channel.js'
import { TidemarkError, toError } from '../../core/errors.js'
import type { Change, Position, Row, TableSchema, TxnRef } from '../../core/model.js'
import type { Abortable, LogBatch, LogItem } from '../../core/source.js'
import type { PgOptions } from '../../drivers/postgres.js'
import {
  type ReplicationOptions,
  ReplicationStream,
  STATUS_INTERVAL_MS_MAX,
} from '../../drivers/postgres-replication.js'
import {
  decodeBegin,
  decodeCommit,
  decodeRelation,
  decodeTruncate,
  MESSAGE,
  type RelationMessage,
  TupleReader,
} from './pgoutput.js'
import { formatPosition, type LogPlace, parsePosition } from './position.js'

/** A batch closes at this size even when more data is at hand. */
const BATCH_BYTES = 128 * 1024
/** Batches that wait for the consumer. */
const QUEUE_BYTES_MAX = 2 * 1024 * 1024
/** Positions that moved without data are passed on at most this often. */
const IDLE_ADVANCE_MS = 50
/** XLogData: kind, start, end, time. */
const DATA_HEADER_BYTES = 25
const XLOG_DATA = 0x77
const KEEPALIVE = 0x6b

/** The schema of a relation as the log describes it; null when the table is not captured. */
export type RelationResolver = (relation: RelationMessage) => TableSchema | null | Promise<TableSchema>

export interface TailOptions {
  readonly connection: PgOptions
  readonly slot: string
  readonly publication: string
  /** The server sends logical messages (14 and later). */
  readonly messages: boolean
  /** A 64-bit xid of the recent past, from which 32-bit ones are widened. */
  readonly xidBase: bigint
  readonly resolve: RelationResolver
  readonly verify: NonNullable<ReplicationOptions['verify']>
  /** The server's wal_sender_timeout; 0: none. */
  readonly walSenderTimeoutMs: number
}

interface Relation {
  readonly text: string
  readonly identity: string
  /** Null: not captured; its rows are counted and dropped. */
  readonly schema: TableSchema | null
}

interface Transaction {
  readonly ref: TxnRef
  readonly finalLsn: bigint
  readonly xid: bigint
  rows: number
  /** Row messages that a run before this one delivered. */
  skip: number
}

export class PostgresTail {
  readonly #o: TailOptions
  readonly #queue = new Channel<LogBatch>({ bytesMax: QUEUE_BYTES_MAX })
  readonly #relations = new Map<number, Relation>()
  readonly #tuples = new TupleReader()
  #stream: ReplicationStream | null = null
  #released = 0n
  #completed = 0n
  #inside: LogPlace['inside'] = null
  #transaction: Transaction | null = null
  #xid: bigint
  #items: LogItem[] = []
  #open: { txn: TxnRef; schema: TableSchema; changes: Change[]; bytes: number } | null = null
  #bytes = 0
  #moved = false
  #idleTimer: NodeJS.Timeout | null = null
  /** Messages that came while a relation was being looked up. */
  #backlog: Buffer[] | null = null

  constructor(options: TailOptions) {
    this.#o = options
    this.#xid = options.xidBase
  }

  /** Connects and lets the server send, into the bounded queue. null: makes a temporary slot; returns where it begins. */
  async start(
    position: Position | null,
    { signal, making }: Abortable & { readonly making?: (pid: number) => void },
  ): Promise<Position> {
    const { completed, inside } = position === null ? { completed: 0n, inside: null } : parsePosition(position)
    this.#completed = completed
    this.#inside = inside
    const { connection, slot, publication, messages, walSenderTimeoutMs: limit } = this.#o
    const statusIntervalMs =
      limit === 0 ? STATUS_INTERVAL_MS_MAX : Math.min(STATUS_INTERVAL_MS_MAX, Math.ceil(limit / 3))
    const handlers = { message: (b: Buffer) => this.#receive(b), drained: () => this.#drained() }
    const temporary = position === null
    const from = {
      slot,
      publication,
      from: completed,
      messages,
      temporary,
      statusIntervalMs,
      verify: this.#o.verify,
      making,
    }
    this.#stream = await ReplicationStream.start(connection, from, handlers, signal)
    this.#stream.release(this.#released)
    this.#stream.failed.catch((error) => this.#queue.fail(toError(error)))
    if (this.#completed < this.#stream.from) this.#completed = this.#stream.from
    return formatPosition({ completed: this.#stream.from, inside })
  }

  async *run({ signal }: Abortable): AsyncGenerator<LogBatch> {
    const stop = () => this.#queue.end()
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    try {
      yield* this.#queue
    } finally {
      signal.removeEventListener('abort', stop)
      await this.close()
    }
  }

  /** I1: see Source.release. Only whole transactions can be released. */
  release(position: Position): void {
    this.#released = parsePosition(position).completed
    this.#stream?.release(this.#released)
  }

  async close(): Promise<void> {
    if (this.#idleTimer) clearTimeout(this.#idleTimer)
    this.#queue.end()
    const stream = this.#stream
    this.#stream = null
    await stream?.stop()
  }

  // ---- messages

  #receive(payload: Buffer): void {
    if (this.#backlog !== null) {
      this.#backlog.push(Buffer.from(payload))
      return
    }
    if (payload[0] === XLOG_DATA) this.#data(payload)
    else if (payload[0] === KEEPALIVE) this.#keepalive(payload.readBigUInt64BE(1))
    if (this.#bytes >= BATCH_BYTES) this.#close()
  }

  #data(b: Buffer): void {
    switch (b[DATA_HEADER_BYTES]) {
      case MESSAGE.insert:
      case MESSAGE.update:
      case MESSAGE.delete:
        return this.#row(b)
      case MESSAGE.begin:
        return this.#begin(b)
      case MESSAGE.commit:
        return this.#commit(b)
      case MESSAGE.relation:
        return this.#relation(decodeRelation(b, DATA_HEADER_BYTES))
      case MESSAGE.truncate:
        return this.#truncate(b)
      case MESSAGE.type:
      case MESSAGE.origin:
      case MESSAGE.logical:
        return
      default:
        throw new TidemarkError('core.bug', { message: `pgoutput sent the unknown message ${b[DATA_HEADER_BYTES]}` })
    }
  }

  #begin(b: Buffer): void {
    const { finalLsn, tsUs, xid: short } = decodeBegin(b, DATA_HEADER_BYTES)
    const xid = this.#widen(short)
    // The commit record starts at finalLsn: that is the transaction's place among all commits.
    const ref: TxnRef = { ordinal: finalLsn, previous: this.#completed, tsUs, xid }
    this.#transaction = { ref, finalLsn, xid, rows: 0, skip: 0 }
    const inside = this.#inside
    if (inside === null || finalLsn < inside.finalLsn) return
    if (finalLsn !== inside.finalLsn || xid !== inside.xid) {
      throw new TidemarkError('postgres.position_lost', {
        message: `the checkpoint lies inside transaction ${inside.xid}, but the log goes on with transaction ${xid}`,
        fix: 'The server is not the one the checkpoint was made with, or it was restored. Run `tidemark drop FILE` and start anew.',
      })
    }
    this.#transaction.skip = inside.rows
    this.#inside = null
  }

  #commit(b: Buffer): void {
    this.#completed = decodeCommit(b, DATA_HEADER_BYTES).endLsn
    this.#transaction = null
    this.#moved = true
  }

  /** Nothing that committed before `walEnd` is still to come, unless a transaction is being sent. */
  #keepalive(walEnd: bigint): void {
    if (this.#transaction !== null || walEnd <= this.#completed) return
    this.#completed = walEnd
    if (this.#inside !== null && walEnd > this.#inside.finalLsn) this.#inside = null
    this.#idleTimer ??= setTimeout(() => {
      this.#idleTimer = null
      if (this.#transaction !== null || this.#backlog !== null) return
      this.#moved = true
      this.#close()
    }, IDLE_ADVANCE_MS)
  }

  /** 32-bit xids are the low half of one near the last one seen. */
  #widen(short: number): bigint {
    const span = 1n << 32n
    let xid = (this.#xid & ~(span - 1n)) | BigInt(short)
    if (xid > this.#xid + span / 2n && xid >= span) xid -= span
    else if (xid + span / 2n < this.#xid) xid += span
    if (xid > this.#xid) this.#xid = xid
    return xid
  }

  /** True when the message is to be delivered; counts it either way. */
  #count(): Transaction | null {
    const transaction = this.#transaction
    if (transaction === null)
      throw new TidemarkError('core.bug', { message: 'a row message came outside a transaction' })
    return ++transaction.rows <= transaction.skip ? null : transaction
  }

  #row(b: Buffer): void {
    const transaction = this.#count()
    if (transaction === null) return
    const relation = this.#relations.get(b.readUInt32BE(DATA_HEADER_BYTES + 1))
    if (relation === undefined) throw new TidemarkError('core.bug', { message: 'a row came before its relation' })
    const { schema } = relation
    if (schema === null) return
    const change = this.#decode(b, schema)
    const open = this.#open
    const bytes = b.length - DATA_HEADER_BYTES
    this.#bytes += bytes
    if (open !== null && open.schema === schema && open.txn === transaction.ref) {
      open.changes.push(change)
      open.bytes += bytes
      return
    }
    this.#seal()
    this.#open = { txn: transaction.ref, schema, changes: [change], bytes }
  }

  #decode(b: Buffer, schema: TableSchema): Change {
    const at = b.readUInt32BE(1) * 2 ** 32 + b.readUInt32BE(5)
    const end = b.length
    const tuples = this.#tuples
    tuples.offset = DATA_HEADER_BYTES + 6
    const kind = b[DATA_HEADER_BYTES]
    const tag = b[DATA_HEADER_BYTES + 5]
    if (kind === MESSAGE.insert) return { op: 'c', before: null, after: tuples.read(b, end), at }
    let before: Row | null = null
    if (tag === 0x4b || tag === 0x4f) {
      before = tuples.read(b, end)
      if (tag === 0x4b) before = keyOnly(schema, before)
      if (kind === MESSAGE.delete) return { op: 'd', before, after: null, at }
      tuples.offset++
    }
    const after = tuples.read(b, end)
    return { op: 'u', before, after: tag === 0x4f ? completed(after, before!) : after, at }
  }

  #truncate(b: Buffer): void {
    const transaction = this.#count()
    if (transaction === null) return
    this.#seal()
    const relations = decodeTruncate(b, DATA_HEADER_BYTES).map((oid) => this.#relations.get(oid)?.schema ?? null)
    const schemas = relations.filter((schema) => schema !== null)
    const at = b.readUInt32BE(1) * 2 ** 32 + b.readUInt32BE(5)
    if (schemas.length > 0) this.#items.push({ kind: 'truncate', txn: transaction.ref, schemas, at })
  }

  // ---- relations

  #relation(message: RelationMessage): void {
    const text = JSON.stringify(message)
    const known = this.#relations.get(message.oid)
    if (known?.text === text) return
    if (known?.schema && known.identity !== message.replicaIdentity) {
      throw new TidemarkError('postgres.identity_changed', {
        message: `the REPLICA IDENTITY of ${known.schema.id} was changed while the pipeline ran`,
        fix: 'Set it back, or run `tidemark drop FILE` and start anew: keys of events before and after differ.',
      })
    }
    const learn = (schema: TableSchema | null) =>
      this.#relations.set(message.oid, { text, identity: message.replicaIdentity, schema })
    const resolved = this.#o.resolve(message)
    if (!(resolved instanceof Promise)) {
      learn(resolved)
      return
    }
    // The schema is looked up on another connection; nothing is decoded meanwhile, and what was decoded must not wait.
    this.#drained()
    this.#backlog = []
    this.#stream?.pause()
    resolved.then(
      (schema) => {
        learn(schema)
        this.#replay()
      },
      (thrown) => this.#queue.fail(toError(thrown)),
    )
  }

  #replay(): void {
    const backlog = this.#backlog!
    this.#backlog = null
    try {
      for (let i = 0; i < backlog.length; i++) {
        this.#receive(backlog[i]!)
        if (this.#backlog !== null) {
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

  // ---- batches

  /** The data at hand is decoded: pass on what there is. */
  #drained(): void {
    if (this.#backlog === null && (this.#moved || this.#items.length > 0 || this.#open !== null)) this.#close()
  }

  #seal(): void {
    if (this.#open === null) return
    this.#items.push({ kind: 'rows', ...this.#open })
    this.#open = null
  }

  #close(): void {
    this.#seal()
    const transaction = this.#transaction
    const rows = transaction === null ? 0 : Math.max(transaction.rows, transaction.skip)
    const inside =
      transaction !== null && rows > 0 ? { rows, finalLsn: transaction.finalLsn, xid: transaction.xid } : this.#inside
    const batch: LogBatch = {
      items: this.#items,
      position: formatPosition({ completed: this.#completed, inside }),
      // Whatever committed before `completed` was delivered, and the start of a commit record lies before its end.
      ordinal: this.#completed - 1n,
      midTransaction: inside !== null,
      bytes: this.#bytes,
    }
    this.#items = []
    this.#bytes = 0
    this.#moved = false
    const room = this.#queue.push(batch, Math.max(batch.bytes, 64))
    if (room === undefined) return
    this.#stream?.pause()
    void room.then(() => {
      if (this.#backlog === null) this.#stream?.resume()
    })
  }
}

/** An old key arrives with NULL for every other column, which were not sent. A partition may send another key than its root's. */
function keyOnly(schema: TableSchema, row: Row): Row {
  return row.map((value, i) => {
    if (!schema.key.includes(i)) return undefined
    if (value !== null) return value
    throw new TidemarkError('postgres.identity_changed', {
      message: `a change of ${schema.id} carries an old key without ${schema.columns[i]!.name}: a partition has a REPLICA IDENTITY of its own`,
      fix: 'See `tidemark check FILE` for the partition. Rows that this change should have found are still in the target: run `tidemark drop FILE`, empty it and start anew.',
    })
  })
}

/** Under FULL the old row has what the new one leaves out. */
function completed(after: Row, before: Row): Row {
  for (let i = 0; i < after.length; i++) {
    if (after[i] === undefined) return after.map((value, j) => (value === undefined ? before[j] : value))
  }
  return after
}
