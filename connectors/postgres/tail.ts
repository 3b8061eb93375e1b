/**
 * The log tail: pgoutput messages in, batches of changes out. Always true: a batch's position says exactly which row
 * messages it and those before it held, whatever was filtered (1.10 i); the server is told only released positions
 * (I1); what waits for the consumer is bounded in bytes, and the socket is paused behind it (I8).
 */
import { Channel } from '../../core/channel.js'
import { TidemarkError, toError } from '../../core/errors.js'
import type { Change, Position, TableSchema, TxnRef } from '../../core/model.js'
import type { Abortable, LogBatch, LogItem } from '../../core/source.js'
import type { PgOptions } from '../../drivers/postgres.js'
import {
  type ReplicationOptions,
  ReplicationStream,
  STATUS_INTERVAL_MS_MAX,
} from '../../drivers/postgres-replication.js'
import { DATA_HEADER_BYTES, decodeChange, placeOf } from './log-change.js'
import { LogCursor } from './log-cursor.js'
import {
  decodeBegin,
  decodeCommit,
  decodeRelation,
  decodeTruncate,
  MESSAGE,
  type RelationMessage,
  TupleReader,
} from './pgoutput.js'
import { formatPosition, parsePosition } from './position.js'

/** A batch closes at this size even when more data is at hand. */
const BATCH_BYTES = 128 * 1024
/** Batches that wait for the consumer: few, because rows that outlive a collection of young objects cost more than their decoding. */
const QUEUE_BYTES_MAX = 256 * 1024
/** Positions that moved without data are passed on at most this often. */
const IDLE_ADVANCE_MS = 50
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

export class PostgresTail {
  readonly #o: TailOptions
  readonly #queue = new Channel<LogBatch>({ bytesMax: QUEUE_BYTES_MAX })
  readonly #relations = new Map<number, Relation>()
  readonly #tuples = new TupleReader()
  #stream: ReplicationStream | null = null
  #released = 0n
  readonly #cursor: LogCursor
  #items: LogItem[] = []
  #open: { txn: TxnRef; schema: TableSchema; changes: Change[]; bytes: number } | null = null
  #bytes = 0
  #moved = false
  #idleTimer: NodeJS.Timeout | null = null
  /** Messages that came while a relation was being looked up. */
  #backlog: Buffer[] | null = null

  constructor(options: TailOptions) {
    this.#o = options
    this.#cursor = new LogCursor(options.xidBase)
  }

  /** Connects and lets the server send, into the bounded queue. null: makes a temporary slot; returns where it begins. */
  async start(
    position: Position | null,
    { signal, making }: Abortable & { readonly making?: (pid: number) => void },
  ): Promise<Position> {
    const cursor = this.#cursor
    cursor.start(position)
    const { connection, slot, publication, messages, walSenderTimeoutMs: limit } = this.#o
    const statusIntervalMs =
      limit === 0 ? STATUS_INTERVAL_MS_MAX : Math.min(STATUS_INTERVAL_MS_MAX, Math.ceil(limit / 3))
    const handlers = { message: (b: Buffer) => this.#receive(b), drained: () => this.#drained() }
    const temporary = position === null
    const from = {
      slot,
      publication,
      from: cursor.completed,
      messages,
      temporary,
      statusIntervalMs,
      verify: this.#o.verify,
      making,
    }
    this.#stream = await ReplicationStream.start(connection, from, handlers, signal)
    this.#stream.release(this.#released)
    this.#stream.failed.catch((error) => this.#queue.fail(toError(error)))
    const { inside } = cursor.place
    if (cursor.completed < this.#stream.from) cursor.completed = this.#stream.from
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
        return this.#cursor.begin(decodeBegin(b, DATA_HEADER_BYTES))
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

  #commit(b: Buffer): void {
    this.#cursor.commit(decodeCommit(b, DATA_HEADER_BYTES).endLsn)
    this.#moved = true
  }

  #keepalive(walEnd: bigint): void {
    if (!this.#cursor.keepalive(walEnd)) return
    this.#idleTimer ??= setTimeout(() => {
      this.#idleTimer = null
      if (this.#cursor.transaction !== null || this.#backlog !== null) return
      this.#moved = true
      this.#close()
    }, IDLE_ADVANCE_MS)
  }

  #row(b: Buffer): void {
    const transaction = this.#cursor.count()
    if (transaction === null) return
    const relation = this.#relations.get(b.readUInt32BE(DATA_HEADER_BYTES + 1))
    if (relation === undefined) throw new TidemarkError('core.bug', { message: 'a row came before its relation' })
    const { schema } = relation
    if (schema === null) return
    const change = decodeChange(b, schema, this.#tuples)
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

  /** Alone in its batch: the place before it is that of the messages so far. */
  #truncate(b: Buffer): void {
    const relations = decodeTruncate(b, DATA_HEADER_BYTES).map((oid) => this.#relations.get(oid)?.schema ?? null)
    const schemas = relations.filter((schema) => schema !== null)
    if (schemas.length > 0 && (this.#items.length > 0 || this.#open !== null)) this.#close()
    const transaction = this.#cursor.count()
    if (transaction === null || schemas.length === 0) return
    this.#items.push({ kind: 'truncate', txn: transaction.ref, schemas, at: placeOf(b) })
    this.#close()
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
    const place = this.#cursor.place
    const batch: LogBatch = {
      items: this.#items,
      position: formatPosition(place),
      // Whatever committed before `completed` was delivered, and the start of a commit record lies before its end.
      ordinal: place.completed - 1n,
      midTransaction: place.inside !== null,
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
