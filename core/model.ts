/**
 * What travels through a pipeline. Rows are arrays in column order and values stay as close to the source's
 * own form as exactness allows (I7): the schema's dialect says how to read them. Batches belong to one table
 * and one version of its schema.
 */

import type { BinlogSnapshot, BinlogTransaction } from './binlog-place.js'
import type { PackedRows } from './packed-rows.js'

declare const brand: unique symbol
type Brand<T, B> = T & { readonly [brand]: B }

/** A table's full name, quoted where needed: `public.orders`, `"My Schema"."a.b"`. Unambiguous, printable, a map key. */
export type TableId = Brand<string, 'TableId'>

const PLAIN_NAME = /^[a-z_][a-z0-9_$]*$/

/** Quotes a name for a TableId unless it is plain lower case. */
export function quoteName(name: string): string {
  return PLAIN_NAME.test(name) ? name : `"${name.replaceAll('"', '""')}"`
}

export function tableId(namespace: string, name: string): TableId {
  return `${quoteName(namespace)}.${quoteName(name)}` as TableId
}

/**
 * How the values of a row are written. `postgres`: the server's text output under the session settings in drivers/postgres.ts.
 * `mysql`: the server's text, see connectors/mysql/column-types.ts. `plain`: natural JavaScript values for the column's kind.
 */
export type Dialect = 'postgres' | 'mysql' | 'plain'

/**
 * One column value. null is SQL NULL. undefined means "not sent": an unchanged TOAST value in `after`, or a
 * column outside the old key in `before`. In dialect `postgres` every other value is a string, in dialect `mysql` a
 * string too, or a Uint8Array where the type holds bytes.
 * In dialect `plain`: boolean for bool, number for int16/int32/float, bigint for int64, string for decimal (exact
 * text), string, uuid, json (text), date `2024-02-29`, time `12:34:56.123456`, timestamp `2024-02-29 12:34:56.123456`,
 * timestamptz the same in UTC with `+00`, Uint8Array for bytes, arrays as arrays.
 */
export type Value = string | number | bigint | boolean | Uint8Array | readonly Value[] | null | undefined
export type Row = readonly Value[]
/** The values of the key columns, in key order. */
export type Key = readonly Value[]

export type TypeKind =
  | 'bool'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'float32'
  | 'float64'
  | 'decimal'
  | 'money'
  | 'string'
  | 'bytes'
  | 'bits'
  | 'date'
  | 'time'
  | 'timetz'
  | 'timestamp'
  | 'timestamptz'
  | 'interval'
  | 'uuid'
  | 'json'
  | 'xml'
  | 'enum'
  | 'array'
  | 'point'
  | 'hstore'
  | 'other'

export interface ColumnType {
  readonly kind: TypeKind
  /** The source's own name for the type with its modifiers, e.g. `numeric(18,4)`, `public.mood`, `character varying(20)[]`. Domains: see `domain`. */
  readonly native: string
  /** Base type name without modifiers or array brackets, e.g. `numeric`, `jsonb`, `tsvector`, `int4range`. */
  readonly base: string
  /** decimal: total digits; time and timestamp: fractional digits. null: not declared. */
  readonly precision: number | null
  /** decimal: digits after the point. null: not declared (any scale). */
  readonly scale: number | null
  /** bits, character types: declared length. */
  readonly length: number | null
  /** array: the element's type. */
  readonly element: ColumnType | null
  /** enum: its labels in order. */
  readonly labels: readonly string[] | null
  /** The domain's full name where the column's type is one; the other fields describe its base type. */
  readonly domain: string | null
  /** Character types: the collation's full name where it is not the database's default. */
  readonly collation?: string
}

export interface Column {
  readonly name: string
  readonly type: ColumnType
  readonly nullable: boolean
  /** Computed by the source from other columns. */
  readonly generated: boolean
  /** What rows that were copied before the column was added hold in it, null: NULL; absent: it was there, or nobody knows. */
  readonly filled?: string | null
  /** The column's name when the pipeline knew it last, where it was renamed since. */
  readonly formerName?: string
  /** A constant default in the dialect's form, where the column has one; null otherwise. */
  readonly defaultValue: Value
}

export interface TableSchema {
  readonly id: TableId
  readonly database: string
  /** Schema (PostgreSQL) or database (MySQL) name, unquoted. */
  readonly namespace: string
  readonly name: string
  readonly dialect: Dialect
  readonly columns: readonly Column[]
  /** Positions in `columns` of the event key (the replica identity's columns, 1.10 h), in key order; empty: keyless. */
  readonly key: readonly number[]
  /** Equal for equal definitions: a digest of everything above. Codecs are compiled once per fingerprint. */
  readonly fingerprint: string
}

export type Op = 'r' | 'c' | 'u' | 'd'

export interface Change {
  readonly op: Op
  /** u: the old row if the source sent one (whole, or only key columns with the rest undefined), else null. d: the old row, whole or key only. r, c: null. */
  readonly before: Row | null
  /** r, c, u: the new row; undefined values are unchanged and were not sent. d: null. */
  readonly after: Row | null
  /** Place of the row in the log (r: of the snapshot), for envelopes only; never compared. */
  readonly at: number | bigint
}

/** A source transaction, as cuts see it. Only the fields its source knows are set. */
export interface TxnRef {
  /** Position of the commit in the log; grows strictly from transaction to transaction. */
  readonly ordinal: bigint
  /** Commit of the transaction before this one in the log, 0n when unknown. */
  readonly previous: bigint
  /** Commit time, microseconds since 1970 UTC. */
  readonly tsUs: bigint
  /** 64-bit transaction id of the top-level transaction. */
  readonly xid?: bigint
  /** `uuid[:tag]` and number, or `domain-server` and sequence. */
  readonly gtid?: { readonly source: string; readonly number: bigint }
  /** For envelopes only. */
  readonly binlog?: BinlogTransaction
}

/** Where a batch comes from. A snapshot batch carries the time and place of its chunk's cut. */
export type Origin =
  | {
      readonly kind: 'snapshot'
      readonly tsUs: bigint
      readonly at: bigint
      readonly xid: bigint
      readonly binlog?: BinlogSnapshot
    }
  | { readonly kind: 'log'; readonly txn: TxnRef }

/** A row's place in its snapshot, or in that of its table, by the order in which rows leave; incremental: read after that was over. */
export type SnapshotMark =
  | 'true'
  | 'first'
  | 'first_in_data_collection'
  | 'last_in_data_collection'
  | 'last'
  | 'incremental'

/** What the rows of a snapshot batch are; `true` where nothing is said. `last` wins where a batch has one row. */
export interface BatchMarks {
  readonly first?: SnapshotMark
  readonly last?: SnapshotMark
  readonly others?: SnapshotMark
}

/** What sinks receive: changes of one table under one schema, or a truncate of it. `bytes` estimates its memory. */
export type ChangeBatch =
  | {
      readonly kind: 'rows'
      readonly schema: TableSchema
      readonly origin: Origin
      /** Where `packed` is given, made when they are first read. */
      readonly changes: readonly Change[]
      readonly bytes: number
      /** The same changes, all of them `r`, as the bytes that the source sent. */
      readonly packed?: PackedRows
      /** Snapshot batches of sinks that ask for them (SinkTraits.marksSnapshot). */
      readonly marks?: BatchMarks | undefined
    }
  | {
      readonly kind: 'truncate'
      readonly schema: TableSchema
      readonly origin: Origin
      readonly at: number | bigint
      readonly bytes: number
    }

/** A place in the log to resume from, opaque to the core and printable; made and read only by its source. */
export type Position = Brand<string, 'Position'>

/** Reads the key of a row. */
export function keyOf(schema: TableSchema, row: Row): Key {
  const key: Value[] = new Array(schema.key.length)
  for (let i = 0; i < key.length; i++) key[i] = row[schema.key[i]!]
  return key
}

/** Text that is equal exactly for equal keys. */
export function keyText(key: Key): string {
  const first = key[0]
  if (key.length === 1 && typeof first === 'string') return first
  return JSON.stringify(key, (_, v) =>
    typeof v === 'bigint' ? { n: String(v) } : v instanceof Uint8Array ? { b: Buffer.from(v).toString('hex') } : v,
  )
}
