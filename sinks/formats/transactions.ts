/**
 * Counts the events of source transactions across batches and tables: Debezium's `transaction` block and the BEGIN and
 * END messages of its transaction topic, and Maxwell's `xoffset`.
 */
import type { ChangeBatch, Origin, TableSchema, TxnRef } from '../../core/model.js'
import { floorMs } from './calendar.js'
import { type ConnectSchema, schemaJson } from './connect-schema.js'

export interface TransactionPlace {
  /** Its number among all events of the transaction, from 1. */
  readonly total: number
  /** Its number among those of its table, from 1. */
  readonly ofTable: number
}

/** A transaction of which some events have been counted; plain JSON, for a checkpoint inside a transaction. */
export interface TransactionCounts {
  /** The commit's position in the log, as text. */
  readonly ordinal: string
  readonly total: number
  /** Events of each table, `schema.table`, in the order of their first ones. */
  readonly tables: Readonly<Record<string, number>>
}

export class TransactionCounter {
  #ordinal: bigint | null = null
  #total = 0
  #tables = new Map<string, number>()

  /** Counts one event. */
  next({ ordinal }: TxnRef, table: string): TransactionPlace {
    if (ordinal !== this.#ordinal) this.#reset(ordinal)
    const ofTable = (this.#tables.get(table) ?? 0) + 1
    this.#tables.set(table, ofTable)
    return { total: ++this.#total, ofTable }
  }

  get counts(): TransactionCounts | null {
    if (this.#ordinal === null) return null
    return { ordinal: String(this.#ordinal), total: this.#total, tables: Object.fromEntries(this.#tables) }
  }

  /** Goes on where another run stopped inside a transaction. */
  restore({ ordinal, total, tables }: TransactionCounts): void {
    this.#reset(BigInt(ordinal))
    this.#total = total
    this.#tables = new Map(Object.entries(tables))
  }

  #reset(ordinal: bigint): void {
    this.#ordinal = ordinal
    this.#total = 0
    this.#tables = new Map()
  }
}

/**
 * transaction: one id for a transaction, its own number and its commit's place, so that consumers can join on it.
 * event: Debezium's for PostgreSQL, which holds each event's place and so differs between the events of a transaction.
 */
export const TRANSACTION_ID_MODES = ['transaction', 'event'] as const
export type TransactionIdMode = (typeof TRANSACTION_ID_MODES)[number]

/** The table as transaction metadata names it. */
export function collectionName({ namespace, name }: TableSchema): string {
  return `${namespace}.${name}`
}

/** JSON of the `transaction` block of a table's next event; `null` for events of no transaction. */
export function transactionBlock(
  schema: TableSchema,
  counter: TransactionCounter,
  mode: TransactionIdMode,
): (origin: Origin, place: number | bigint) => string {
  const table = collectionName(schema)
  return (origin, place) => {
    if (origin.kind === 'snapshot') return 'null'
    const { total, ofTable } = counter.next(origin.txn, table)
    const id = transactionId(origin.txn, mode, place)
    return `{"id":${id},"total_order":${total},"data_collection_order":${ofTable}}`
  }
}

function transactionId({ xid, gtid, ordinal }: TxnRef, mode: TransactionIdMode, place: number | bigint): string {
  if (gtid !== undefined) return JSON.stringify(`${gtid.source}:${gtid.number}`)
  return JSON.stringify(`${xid ?? 'null'}:${mode === 'event' ? place : ordinal}`)
}

export interface TransactionMessage {
  readonly key: Buffer
  readonly value: Buffer
}

/** Messages of the topic `<prefix>.transaction`. The counter is the format's own. */
export class TransactionTopic {
  readonly #counter: TransactionCounter
  readonly #mode: TransactionIdMode
  readonly #includeSchema: boolean
  #open: TxnRef | null = null

  constructor(counter: TransactionCounter, mode: TransactionIdMode, includeSchema: boolean) {
    this.#counter = counter
    this.#mode = mode
    this.#includeSchema = includeSchema
  }

  /** What goes out before a batch is encoded: END of the transaction before, BEGIN of the batch's. */
  before(batch: ChangeBatch): TransactionMessage[] {
    const { origin } = batch
    if (origin.kind === 'snapshot' || origin.txn.ordinal === this.#open?.ordinal) return []
    const ended = this.end()
    this.#open = origin.txn
    const first = batch.kind === 'rows' ? (batch.changes[0]?.at ?? 0) : batch.at
    return [...ended, this.#message('BEGIN', origin.txn, first, 'null', 'null')]
  }

  /** END of the open transaction: when its last batch was encoded. */
  end(): TransactionMessage[] {
    const txn = this.#open
    this.#open = null
    const counts = this.#counter.counts
    if (txn === null || counts === null || counts.ordinal !== String(txn.ordinal)) return []
    const tables = Object.entries(counts.tables).map(
      ([name, count]) => `{"data_collection":${JSON.stringify(name)},"event_count":${count}}`,
    )
    return [this.#message('END', txn, txn.ordinal, String(counts.total), `[${tables}]`)]
  }

  /** The transaction that is not over, for a checkpoint inside it. */
  get open(): { readonly txn: TxnRef; readonly counts: TransactionCounts } | null {
    const { counts } = this.#counter
    return this.#open === null || counts === null ? null : { txn: this.#open, counts }
  }

  /** Goes on inside a transaction that another run began. */
  restore(txn: TxnRef, counts: TransactionCounts): void {
    this.#open = txn
    this.#counter.restore(counts)
  }

  #message(status: string, txn: TxnRef, place: number | bigint, count: string, tables: string): TransactionMessage {
    const id = transactionId(txn, this.#mode, place)
    const key = `{"id":${id}}`
    const value = `{"status":"${status}","id":${id},"event_count":${count},"data_collections":${tables},"ts_ms":${floorMs(txn.tsUs)}}`
    const wrap = (schema: ConnectSchema, payload: string) =>
      Buffer.from(this.#includeSchema ? `{"schema":${schemaJson(schema)},"payload":${payload}}` : payload)
    return { key: wrap(KEY_SCHEMA, key), value: wrap(VALUE_SCHEMA, value) }
  }
}

const ID = { field: 'id', schema: { type: 'string', optional: false } } as const
const COUNT = (optional: boolean) => ({ field: 'event_count', schema: { type: 'int64', optional } }) as const

const KEY_SCHEMA: ConnectSchema = {
  type: 'struct',
  fields: [ID],
  optional: false,
  name: 'io.debezium.connector.common.TransactionMetadataKey',
  version: 1,
}
const COLLECTION: ConnectSchema = {
  type: 'struct',
  fields: [{ field: 'data_collection', schema: { type: 'string', optional: false } }, COUNT(false)],
  optional: true,
  name: 'event.collection',
  version: 1,
}
const VALUE_SCHEMA: ConnectSchema = {
  type: 'struct',
  fields: [
    { field: 'status', schema: { type: 'string', optional: false } },
    ID,
    COUNT(true),
    { field: 'data_collections', schema: { type: 'array', items: COLLECTION, optional: true } },
    { field: 'ts_ms', schema: { type: 'int64', optional: false } },
  ],
  optional: false,
  name: 'io.debezium.connector.common.TransactionMetadataValue',
  version: 1,
}
