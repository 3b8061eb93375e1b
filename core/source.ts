/**
 * What a source connector implements. One log tail streams all the time; chunk sessions read key ranges beside
 * it. The core calls these in a fixed order (see docs/writing-a-connector.md):
 *
 *   open -> [first start: prepare -> createLog | resume: resumeLog -> prepare] -> tail + chunk sessions -> release* -> close
 *
 * Everything takes an AbortSignal; an abort ends the call with the signal's reason and leaks nothing.
 */
import type { BinlogSnapshot } from './binlog-place.js'
import type { Cut } from './cut.js'
import type { Bound, KeyOrder, KeyRange } from './key.js'
import type { Places } from './located-order.js'
import type { Change, Key, Position, Row, TableId, TableSchema, TxnRef } from './model.js'
import type { PackedRows } from './packed-rows.js'

export interface Abortable {
  readonly signal: AbortSignal
}

/** A table as the catalog shows it at start. */
export interface SourceTable {
  readonly schema: TableSchema
  readonly order: KeyOrder
  /** Rows, from statistics; null when the source has none. A hint, never trusted. */
  readonly estimatedRows: number | null
  readonly estimatedBytes: number | null
}

/** What a checkpoint must agree with on resume: another server, database or slot is an error. */
export type SourceIdentity = Readonly<Record<string, string>>

/** What a checkpoint says of the source that it was made with. */
export interface SavedPlace {
  readonly identity: SourceIdentity
  /** null: nothing was delivered yet. */
  readonly position: Position | null
  /** Rows in the sink may show commits up to this ordinal, also beyond the position; 0n: none do. */
  readonly shown: bigint
}

/** A piece of the log. Items are in log order; a batch may end inside a transaction. A truncate is alone in its batch. */
export interface LogBatch {
  readonly items: readonly LogItem[]
  /** Where a reader that has delivered exactly this much resumes. */
  readonly position: Position
  /** Everything that committed at or before this ordinal has been delivered. */
  readonly ordinal: bigint
  /** True when `position` lies inside a transaction. */
  readonly midTransaction: boolean
  /** Estimated memory of the items. */
  readonly bytes: number
}

export type LogItem =
  | {
      readonly kind: 'rows'
      readonly txn: TxnRef
      readonly schema: TableSchema
      readonly changes: readonly Change[]
      readonly bytes: number
    }
  | {
      readonly kind: 'truncate'
      readonly txn: TxnRef
      readonly schemas: readonly TableSchema[]
      readonly at: number | bigint
    }

/** Rows of a chunk in key order (any order for keyless tables). */
export interface ChunkRows {
  readonly schema: TableSchema
  readonly rows: readonly Row[]
  readonly bytes: number
  /** The same rows as bytes, from a source that has them so; `rows` should then be made only when it is read. */
  readonly packed?: PackedRows
}

export interface ChunkCut {
  readonly cut: Cut
  /** For events: time of the snapshot (us since 1970), a log position and a transaction id that describe it. */
  readonly tsUs: bigint
  readonly at: bigint
  readonly xid: bigint
  readonly binlog?: BinlogSnapshot
  /**
   * Set for sources without exact cuts: the chunk is then a window. Its `cut` is the upper bound known so far
   * and high() is asked after the last row.
   */
  readonly window?: { high(options: Abortable): Promise<Cut> }
}

/** How much to read. Whatever limit is met first cuts the chunk short after the last row yielded. */
export interface ChunkLimit {
  readonly rowsMax: number
  readonly bytesMax: number
}

/** What a finished read covered. */
export interface ChunkEnd {
  /**
   * null: the whole range was read. Otherwise everything up to this bound was, and the rest was not; the range's own
   * lower bound when it ended before the first row (`{ key: [], side: 'before' }` where that is null).
   */
  readonly upTo: Bound | null
}

/**
 * One connection that reads chunks, one at a time: lock -> cut -> (cut ...) -> rows | keys -> end.
 * The chunk opens in the merger between lock() and cut() (I4).
 */
export interface ChunkSession {
  /** Keeps the table from being rewritten until end(). Waits a limited time. */
  lock(table: SourceTable, options: Abortable): Promise<void>
  /**
   * A new snapshot. Called again after a refused cut: the implementation starts a new transaction and locks again.
   * null: the table's definition differs from `table.schema`; plan again with `refresh`.
   */
  cut(table: SourceTable, options: Abortable): Promise<ChunkCut | null>
  /**
   * Streams the rows of the range under the cut, in key order, at most `limit`. Reading goes on into a byte-bounded
   * buffer however slow the consumer is; when that is full too long, or somebody waits for the table's lock, the
   * read ends early and the transaction with it (1.10 d). Never waits for the sink with its transaction open.
   */
  rows(table: SourceTable, range: KeyRange, limit: ChunkLimit, options: Abortable): ChunkRead
  /** The rows with exactly these keys, under the cut; absent keys yield nothing (1.10 g). */
  keys(table: SourceTable, keys: readonly Key[], options: Abortable): Promise<readonly ChunkRows[]>
  /** Ends the chunk's transaction and forgets the cut. Idempotent. */
  end(): Promise<void>
  close(): Promise<void>
}

/** `end` resolves after the last batch was yielded. */
export interface ChunkRead extends AsyncIterable<ChunkRows> {
  readonly end: Promise<ChunkEnd>
  /** Asks the read to end early at the last row read; what is buffered is still yielded. */
  stop(): void
}

export interface SourceOpen {
  readonly identity: SourceIdentity
  readonly tables: readonly SourceTable[]
  /** Server name and version for messages, e.g. `PostgreSQL 15.18 at 127.0.0.1:5432/shop`. */
  readonly server: string
  /** Rows that one chunk aims at, where the user set it. */
  readonly chunkRows?: number | undefined
  /**
   * Names of identity values that may differ from the checkpoint's (OpenContext.saved): the source has made sure that
   * nothing the checkpoint holds is missing here. Every other difference stops the pipeline.
   */
  readonly accepted?: readonly string[]
}

export interface OpenContext extends Abortable {
  /** The pipeline's name; keys slot and publication. */
  readonly pipeline: string
  /** False: no checkpoint survives this run (stdout...), so the log feed is temporary. */
  readonly durable: boolean
  /** The sink keeps every older owner from committing, so what one still holds in the source may be taken from it. */
  readonly fenced: boolean
  /** Nothing was ever written down for this pipeline, not even that a start was tried: what it would own must not exist yet. */
  readonly first: boolean
  /** Where the checkpoint would be, for messages; absent: in the sink. */
  readonly checkpointIn?: string | undefined
  /** Tables of the checkpoint that this run resumes with what tag() said of each; empty on a first start. */
  readonly known: ReadonlyMap<TableId, string | null>
  /** What a resume goes on from; null on a first start. */
  readonly saved: SavedPlace | null
  /** Called for every note a user should see, one line. */
  readonly note: (line: string) => void
}

export interface Source {
  readonly connector: string
  /**
   * True: the log is all there is (a topic). No rows are read beside it, and tables may come up in it that open() did not
   * know: refresh() describes them.
   */
  readonly streamOnly?: boolean
  /** Connects, checks that the source is ready, finds the tables. Errors name the fix. */
  open(context: OpenContext): Promise<SourceOpen>
  /** Makes what must exist before the log feed does (publication). Idempotent. */
  prepare(options: Abortable): Promise<void>
  /** Makes the log feed (slot), dropping a leftover of our own intent first. Returns where it starts. */
  createLog(options: Abortable): Promise<Position>
  /** Checks that the feed exists, is ours and still holds everything after `position`. Stops otherwise. */
  resumeLog(position: Position, options: Abortable): Promise<void>
  /** The log from `position` on. May be called once. Throws when the connection ends. */
  tail(position: Position, options: Abortable): AsyncIterable<LogBatch>
  /**
   * What the source must know of the table on a resume to see that it is another one, or was changed past the log.
   * Kept in every checkpoint, so short; null: nothing yet.
   */
  tag?(table: TableId): string | null
  /** I1: everything before this position is durable in the sink; the source may forget it. Never throws, never waits. */
  release(position: Position): void
  /** A new connection for chunk reads. */
  session(options: Abortable): Promise<ChunkSession>
  /** The table as it is now, after a definition change. */
  refresh(table: TableId, options: Abortable): Promise<SourceTable>
  /** Up to `count` keys that split the range into pieces of about `rows` rows; fewer or none at the end of the table. A hint. */
  plan(table: SourceTable, range: KeyRange, rows: number, count: number, options: Abortable): Promise<readonly Key[]>
  /** For located orders: the places of keys, and of the bounds themselves, among the bounds. */
  locate(table: SourceTable, keys: readonly Key[], bounds: readonly Key[], options: Abortable): Promise<Places>
  /** What a snapshot taken now shows: prunes remembered transactions (1.9). */
  visible(options: Abortable): Promise<Cut>
  /**
   * 1.10 e: resolves once everything that any earlier cut shows is durable in the source. One call serves all cuts
   * taken before it. Rejects for ever after the connection it started with has ended.
   */
  durable(options: Abortable): Promise<void>
  /** The log's end now: an ordinal that the tail reaches without further traffic. */
  logEnd(options: Abortable): Promise<bigint>
  /**
   * Waits until the log holds everything that transactions older than the tables' addition can still write (1.10 j).
   * Called for added tables on resume, and before their first chunk.
   */
  admit?(tables: readonly TableId[], options: Abortable): Promise<void>
  /** Lets positions advance while captured tables are idle. Called on a timer. */
  heartbeat?(options: Abortable): Promise<void>
  close(): Promise<void>
}
