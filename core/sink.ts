/**
 * What a sink implements. A session owns the target: opening one fences every older owner first and only then
 * reads back the last committed checkpoint (I6). write() may buffer or work inside an open transaction; after
 * commit() resolves, everything written and the checkpoint are durable together (I2), after a crash both or neither.
 */
import type { ChangeBatch, TableId, TableSchema } from './model.js'
import type { Abortable, SourceIdentity } from './source.js'

export interface SinkTraits {
  /** Where the checkpoint is kept, for messages: `topic x`. Absent: in the sink. */
  readonly checkpointIn?: string
  /**
   * exactly-once: data and checkpoint commit together. at-least-once: the checkpoint follows the data, so a crash may
   * repeat some. none: the sink keeps no checkpoint (stdout...).
   */
  readonly guarantee: 'exactly-once' | 'at-least-once' | 'none'
  /** True: the sink updates rows in place, so it can keep the unsent values of a row whose key moves (1.10 g). */
  readonly completesMoves: boolean
  /** A whole row whose key changes arrives as one update where the copy allows it, not as a delete and an insert. */
  readonly keepsMoves?: boolean
  /** True: open() does not keep an older owner from going on, so nothing that one holds in the source is taken from it. */
  readonly unfenced?: boolean
  /** True: a start that dies before its first rows leaves nothing behind here, so that what it left in the source is taken over. */
  readonly startsUnrecorded?: boolean
  /** Commit at the latest after this many bytes of batches; absent: only time and idleness count. */
  readonly commitBytesMax?: number
  /**
   * A truncate is committed by itself, behind everything before it and before everything after it, also inside a source
   * transaction: the target keeps no order between it and rows.
   */
  readonly commitsTruncateAlone?: boolean
  /** Snapshot batches say which rows are the first and the last (`marks`), for which the last row of each table waits. */
  readonly marksSnapshot?: boolean
  /** A source transaction that takes longer to write than this is committed in parts: the target ends what stays open. */
  readonly commitMsMax?: number
}

export interface SinkOpenContext extends Abortable {
  readonly pipeline: string
  /**
   * `claim` of this process's last session. Whoever claimed the target since is the rightful owner, so open() then
   * throws `sink.fenced` instead of taking it back: a process that slept must not fence its successor.
   */
  readonly lastClaim?: string | undefined
  readonly note: (line: string) => void
}

export interface Sink extends SinkTraits {
  readonly connector: string
  /** I6: fence, wait for in-doubt writes of older owners, then read back. */
  open(context: SinkOpenContext): Promise<SinkSession>
}

export interface SinkSession {
  /** Names this session's claim among all that were ever made, and may change with it; absent where there is nothing to claim. */
  readonly claim?: string
  /** The last committed checkpoint, exactly as given to commit(); null on a first start. */
  readonly checkpoint: string | null
  /**
   * Makes or checks targets; called at every start before the first write, with the schemas after transforms and
   * routes, and again right behind a commit with all tables when a source that is only a log has brought a new one. `first` holds the ids (after routes) of tables that this pipeline has never written: their targets must be empty unless an
   * option says otherwise. A schema that changes later arrives only with its batches. `source` lets a sink refuse
   * to write into the very tables that are captured.
   */
  prepare(
    tables: readonly TableSchema[],
    options: Abortable & {
      readonly first: ReadonlySet<TableId>
      readonly source: { readonly identity: SourceIdentity; readonly tables: readonly TableId[] }
    },
  ): Promise<void>
  /**
   * Batches in order. Resolves when the sink can take more; may hold everything until commit. A sink that encodes says
   * how many bytes each batch became, for reports.
   */
  write(batches: readonly ChangeBatch[], options: Abortable): Promise<void | readonly number[]>
  /**
   * Makes everything written since the last commit and the checkpoint visible together. Throws `sink.fenced` when no
   * longer the owner. `not-durable`: everything was taken, but the source must not forget it yet. `midTransaction`: more of
   * the last source transaction is to come.
   */
  commit(checkpoint: string, options: Abortable & { readonly midTransaction?: boolean }): Promise<void | 'not-durable'>
  /** Gives up what was not committed and closes. Never throws. */
  close(): Promise<void>
}
