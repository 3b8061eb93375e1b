/**
 * One attempt of a pipeline: opens sink and source in the order that makes a crash at any step harmless, then runs four
 * tasks until one of them ends it: the tail feeds the merger, the scheduler's readers feed it too, the pump writes what
 * the merger emits and commits, and upkeep prunes and beats. Whatever the merger emitted before a barrier is in the
 * barrier's checkpoint and nothing else is (I2). Long because the tasks share one state.
 */
import { setMaxListeners } from 'node:events'
import { Channel } from './channel.js'
import {
  CHECKPOINT_VERSION,
  type CheckpointState,
  readCheckpoint,
  type SavedTable,
  savedPlace,
  writeCheckpoint,
} from './checkpoint.js'
import { type Clock, Gate, Wake } from './clock.js'
import { assert, TidemarkError, toError } from './errors.js'
import { requireSameSource } from './identity.js'
import { ask, located, logQuestions, settleQuestions } from './locate.js'
import { Merger } from './merger.js'
import type { Metrics, Progress } from './metrics.js'
import type { ChangeBatch, Position, TableId, TableSchema } from './model.js'
import type { StateStore } from './pipeline.js'
import type { Sink, SinkSession } from './sink.js'
import { CHUNK_ROWS_DEFAULT, HELD_BYTES_MAX, SnapshotScheduler } from './snapshot.js'
import type { LogBatch, Source, SourceOpen, SourceTable } from './source.js'
import { step } from './steps.js'
import { tableProgress } from './table-progress.js'
import type { Transform } from './transform.js'

/** Batches that wait for the sink. */
const OUT_BYTES_MAX = 128 * 1024
/** What one write() of the sink gets at most. */
const WRITE_BYTES_MAX = 128 * 1024
/** A source transaction up to this size is committed whole; a larger one in parts, each with its place in the checkpoint. */
export const TRANSACTION_BYTES_WHOLE_MAX = 64 * 1024 * 1024
/** An idle sink commits what waits at once, but no sooner after the last commit than this, or than that took twice over. */
const COMMIT_GAP_MS = 10
/** How often a position that moved without data is committed, so that the source may forget. */
const IDLE_CHECKPOINT_MS = 10_000
/** An idle pipeline commits this often all the same, so that no target takes it for one that was given up. */
const KEEP_ALIVE_MS = 12 * 3_600_000
/** How long a clean stop waits for the end of the transaction it is in. */
const STOP_WAIT_MS = 5_000

export interface RunSettings {
  readonly name: string
  readonly source: () => Source
  readonly sink: () => Sink
  readonly transform: Transform
  readonly mode: 'initial' | 'latest-offset' | 'snapshot'
  readonly until: 'forever' | 'once' | 'caught-up'
  readonly readers: number
  readonly chunkRows?: number
  readonly checkpointIntervalMs: number
  readonly commitBytesMax: number
  readonly transactionBytesWhole: number
  readonly heartbeatIntervalMs: number
  readonly state: StateStore | null
  readonly signal: AbortSignal
  /** The sink claim of the attempt before this one. */
  readonly lastClaim?: string | undefined
  readonly note: (line: string) => void
  readonly clock: Clock
  readonly metrics: Metrics
}

interface Barrier {
  readonly checkpoint: CheckpointState
  readonly ordinal: bigint
  readonly snapshotDone: boolean
  readonly final: boolean
  readonly midTransaction: boolean
}

/** Tables for the sink to prepare; what lies before is committed. */
interface Met {
  readonly tables: readonly TableSchema[]
  readonly added: ReadonlySet<TableId>
}

type Out = { readonly batch: ChangeBatch } | { readonly barrier: Barrier } | { readonly met: Met }

export class PipelineRun {
  /** True once everything was opened: failures before that are not worth another attempt. */
  started = false
  snapshotAlreadyComplete = false
  readonly #o: RunSettings
  /** Ends every task of this attempt. */
  readonly #end = new AbortController()
  readonly #out = new Channel<Out>({ bytesMax: OUT_BYTES_MAX })
  readonly #released = new Wake()
  /** A barrier was placed. */
  readonly #placed = new Wake()
  /** See SnapshotOptions. */
  readonly #rowsGate = new Gate()
  readonly #logGate = new Gate()
  #settling = false
  #sink!: Sink
  #session!: SinkSession
  #source!: Source
  #opened!: SourceOpen
  /** Those of open(), and those that the log brought. */
  #tables!: SourceTable[]
  #merger!: Merger
  #scheduler!: SnapshotScheduler
  #wanted = false
  #dirty = false
  #stopping = false
  #forced = false
  /** 1.10 f: a truncate is committed by itself, wherever in its transaction it stands. */
  #cutting = false
  #committed: { position: Position; at: number } | null = null
  #commitAllowedAt = 0
  /** When the first write since the last commit began. */
  #writingSince: number | null = null
  /** caught-up: ordinals that a committed checkpoint must have reached. */
  #targets: bigint[] = []
  /** caught-up: the last chunk of this run has yet to finish, or its target is being asked for. */
  #aiming: 'later' | 'now' | 'done' = 'later'

  constructor(settings: RunSettings) {
    this.#o = settings
    // Every connection and wait listens to it; a warning about many listeners would be wrong.
    setMaxListeners(0, this.#end.signal)
  }

  async run(): Promise<'done' | 'stopped'> {
    const { signal } = this.#o
    const opening = AbortSignal.any([signal, this.#end.signal])
    setMaxListeners(0, opening)
    let session: SinkSession | null = null
    let source: Source | null = null
    try {
      this.#sink = this.#o.sink()
      session = this.#session = await this.#sink.open({
        pipeline: this.#o.name,
        lastClaim: this.#o.lastClaim,
        signal: opening,
        note: this.#o.note,
      })
      step('start.sink-fenced')
      source = this.#source = this.#o.source()
      await this.#start(opening)
      this.started = true
      if (this.#until === 'once' && this.#merger.snapshotDone && this.#o.mode !== 'latest-offset') {
        this.snapshotAlreadyComplete = true
        return 'done'
      }
      return await this.#tasks()
    } finally {
      this.#end.abort(new Error('the attempt is over'))
      this.#out.end()
      await source?.close()
      await session?.close()
    }
  }

  /** What the sink session is claimed as, once it is. */
  get claim(): string | undefined {
    return this.#session?.claim
  }

  /** False: the sink keeps nothing and no state file was given, so every run starts anew. */
  get durable(): boolean {
    return this.#sink.guarantee !== 'none' || this.#o.state !== null
  }

  /** Where no rows are read beside the log, sink and source are equal where the log ends. */
  get #until(): RunSettings['until'] {
    return this.#source.streamOnly && this.#o.until === 'once' ? 'caught-up' : this.#o.until
  }

  get #chunkRows(): number {
    return this.#o.chunkRows ?? this.#opened?.chunkRows ?? CHUNK_ROWS_DEFAULT
  }

  // ---- opening

  async #start(signal: AbortSignal): Promise<void> {
    const { name, state, transform, mode } = this.#o
    const text = this.#session.checkpoint ?? (this.#sink.guarantee === 'none' && state ? await state.read() : null)
    const saved = text === null ? null : readCheckpoint(text)
    const before = saved?.phase === 'running' ? Object.entries(saved.tables) : []
    const known = new Map(before.map(([id, { tag }]) => [id as TableId, tag ?? null]))
    this.#opened = await this.#source.open({
      pipeline: name,
      durable: this.durable,
      fenced: this.#sink.guarantee === 'exactly-once' && !this.#sink.unfenced,
      first: saved === null && !this.#sink.startsUnrecorded,
      checkpointIn: this.#sink.checkpointIn,
      known,
      saved: saved && savedPlace(saved),
      signal,
      note: this.#o.note,
    })
    const { tables, identity } = this.#opened
    this.#tables = [...tables]
    if (saved !== null) requireSameSource(saved, name, this.#source.connector, this.#opened)
    // A rule may mean a table that has yet to come up.
    if (!this.#source.streamOnly) transform.start?.(tables.map((t) => t.schema))
    const { targets, first } = this.#destinations((id) => saved?.tables[id]?.started === true)
    await this.#session.prepare(targets, {
      first,
      source: { identity, tables: tables.map((t) => t.schema.id) },
      signal,
    })
    const running = saved?.phase === 'running' ? saved : null
    // A resume that is refused must leave the source as it was, so that comes before anything is changed there.
    if (running) {
      await this.#source.resumeLog(running.position, { signal })
      await this.#forgetRemoved(running)
    }
    await this.#source.prepare({ signal })
    step('start.prepared')
    const position = running ? running.position : await this.#firstStart(signal)
    this.#merge(running, position, mode !== 'latest-offset' && !this.#source.streamOnly)
    if (!running) {
      await this.#commit({ ...this.#barrier(), final: false })
      step('start.first-checkpoint')
    }
    this.#committed = { position, at: this.#o.clock.now() }
    if (this.#until === 'caught-up') await this.#aim(signal)
    if (this.#merger.chunksFinished) this.#aiming = 'done'
  }

  /**
   * prepare() ends the feed of tables that are captured no more. Their state goes first: one that came back with it would
   * seem to have been followed all the while.
   */
  async #forgetRemoved(saved: CheckpointState): Promise<void> {
    const captured = new Set<string>(this.#opened.tables.map((t) => t.schema.id))
    const left = Object.entries(saved.tables).filter(([id]) => captured.has(id))
    if (left.length === Object.keys(saved.tables).length) return
    await this.#save({ ...saved, tables: Object.fromEntries(left) })
    step('start.removed-forgotten')
  }

  /** correctness.md 2.4: the intent is durable before the log feed exists, so a kill between both leaves no stranger. */
  async #firstStart(signal: AbortSignal): Promise<Position> {
    if (this.durable) {
      await this.#save({
        ...this.#header(),
        phase: 'creating',
        position: '' as Position,
        ordinal: '0',
        cuts: [],
        tables: {},
      })
      step('start.intent-committed')
    }
    const position = await this.#source.createLog({ signal })
    step('start.log-created')
    return position
  }

  #merge(state: CheckpointState | null, position: Position, snapshot: boolean): void {
    const { tables } = this.#opened
    const added = new Set(state ? tables.map((t) => t.schema.id).filter((id) => !state.tables[id]) : [])
    for (const id of Object.keys(state?.tables ?? {})) {
      if (!tables.some((t) => t.schema.id === id))
        this.#o.note(`table ${id} is no longer captured; its state is dropped`)
    }
    this.#merger = new Merger({
      tables,
      added,
      state,
      position,
      snapshot,
      streamOnly: this.#source.streamOnly ?? false,
      completesMoves: this.#sink.completesMoves,
      keepsMoves: this.#sink.keepsMoves ?? false,
      marks: this.#sink.marksSnapshot ?? false,
      emit: (batch) => void this.#out.push({ batch }, batch.bytes),
    })
    this.#scheduler = new SnapshotScheduler({
      source: this.#source,
      merger: this.#merger,
      readers: this.#o.readers,
      chunkRows: this.#chunkRows,
      clock: this.#o.clock,
      signal: this.#end.signal,
      room: () => this.#out.room(),
      rowsGate: this.#rowsGate,
      logGate: this.#logGate,
      changed: () => this.#changed(),
      note: this.#o.note,
    })
  }

  // ---- tasks

  async #tasks(): Promise<'done' | 'stopped'> {
    const { signal } = this.#o
    let failure: Error | null = null
    const fail = (thrown: unknown) => {
      if (this.#end.signal.aborted) return
      failure ??= toError(thrown)
      this.#out.fail(failure)
    }
    // What is thrown in a listener ends the process.
    const stop = () => {
      try {
        this.#stop()
      } catch (thrown) {
        fail(thrown)
      }
    }
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    const admitting = this.#admit()
    const others = [this.#tail(), this.#scheduler.run(fail), this.#upkeep(), admitting].map((task) => task.catch(fail))
    try {
      this.#changed(false)
      return await this.#pump()
    } catch (thrown) {
      throw failure ?? thrown
    } finally {
      signal.removeEventListener('abort', stop)
      this.#end.abort(new Error('the attempt is over'))
      this.#out.end()
      this.#scheduler.wake.set()
      this.#released.set()
      this.#placed.set()
      await Promise.all(others)
    }
  }

  /** 1.10 j: chunks of a table added later wait until no older transaction can write what the log will not show. */
  async #admit(): Promise<void> {
    const added: TableId[] = []
    for (const [id, table] of this.#merger.tables) {
      if (table.added) added.push(id)
      else this.#scheduler.admit(id)
    }
    if (added.length === 0) return
    await this.#source.admit?.(added, { signal: this.#end.signal })
    for (const id of added) this.#scheduler.admit(id)
  }

  async #tail(): Promise<void> {
    const signal = this.#end.signal
    const merger = this.#merger
    for await (const batch of this.#source.tail(merger.position, { signal })) {
      const truncates = batch.items.some(({ kind }) => kind === 'truncate')
      if (truncates) merger.beforeTruncate(batch)
      const alone = truncates && this.#sink.commitsTruncateAlone === true
      while (!signal.aborted) {
        const held = this.#logGate.wait()
        const open = held === undefined ? logQuestions(merger, batch) : []
        if (held !== undefined) await held
        else if (open.length > 0) await ask(this.#source, open, { signal })
        else if (alone && !this.#apart()) await this.#placed.wait()
        else break
      }
      if (this.#source.streamOnly) await this.#meet(batch, signal)
      this.#changed(merger.log(batch))
      if (alone) while (!this.#apart() && !signal.aborted) await this.#placed.wait()
      this.#cutting = false
      await this.#out.room()
      // I8: held events wait for their rows, so the log waits too; their reads are cut short to hurry.
      while (merger.heldBytes > HELD_BYTES_MAX && !signal.aborted) {
        this.#scheduler.cutShort()
        await this.#released.wait()
      }
      if (signal.aborted) return
    }
    if (signal.aborted) return
    throw new TidemarkError('core.log_ended', { message: 'the source ended the log stream', retriable: true })
  }

  /** What was emitted is committed before the sink prepares for tables that come up: prepare() works between commits. */
  async #meet(batch: LogBatch, signal: AbortSignal): Promise<void> {
    const schemas = batch.items.flatMap((item) => (item.kind === 'rows' ? [item.schema] : item.schemas))
    const added = new Set(schemas.map(({ id }) => id).filter((id) => !this.#merger.tables.has(id)))
    if (added.size === 0) return
    for (const id of added) {
      const table = await this.#source.refresh(id, { signal })
      this.#merger.meet(table)
      this.#tables.push(table)
    }
    this.#want()
    const { targets: tables, first } = this.#destinations((id) => !added.has(id))
    const met = { tables, added: first }
    void this.#out.push({ met }, 0)
  }

  /** What the sink prepares. Several tables may go to one target, which is written once the first of them is. */
  #destinations(written: (id: TableId) => boolean): { targets: readonly TableSchema[]; first: ReadonlySet<TableId> } {
    const { transform } = this.#o
    const all = this.#tables.map(({ schema }) => ({ target: transform.apply(schema), written: written(schema.id) }))
    const targets = new Map(all.map(({ target }) => [target.id, target]))
    const first = new Set(targets.keys())
    for (const { target, written } of all) if (written) first.delete(target.id)
    return { targets: [...targets.values()], first }
  }

  async #prepare({ tables, added }: Met): Promise<void> {
    const { identity } = this.#opened
    const source = { identity, tables: this.#tables.map(({ schema }) => schema.id) }
    await this.#session.prepare(tables, { first: added, source, signal: this.#end.signal })
  }

  async #upkeep(): Promise<void> {
    const { clock, checkpointIntervalMs, heartbeatIntervalMs } = this.#o
    const signal = this.#end.signal
    let beat = clock.now()
    while (!signal.aborted) {
      await clock.sleep(checkpointIntervalMs, signal)
      if (signal.aborted) return
      if (!this.#merger.chunksFinished) {
        this.#merger.prune(await this.#source.visible({ signal }))
        this.#scheduler.wake.set()
      }
      const now = clock.now()
      if (this.#source.heartbeat && now - beat >= heartbeatIntervalMs) {
        beat = now
        await this.#source.heartbeat({ signal })
      }
      const idleMs = now - (this.#committed?.at ?? 0)
      const moved = this.#merger.position !== this.#committed?.position && idleMs >= IDLE_CHECKPOINT_MS
      if (this.#dirty || moved || idleMs >= KEEP_ALIVE_MS) this.#want()
    }
  }

  /** Writes what was emitted and commits at barriers: at once when idle (group commit), else after the interval. */
  async #pump(): Promise<'done' | 'stopped'> {
    const { clock, checkpointIntervalMs, commitBytesMax, transform, metrics } = this.#o
    const signal = this.#end.signal
    const out = this.#out
    const bytesMax = Math.min(commitBytesMax, this.#sink.commitBytesMax ?? Number.POSITIVE_INFINITY)
    let uncommitted = 0
    let nap: Promise<true> | null = null
    for (;;) {
      const batches: ChangeBatch[] = []
      let barrier: Barrier | null = null
      for (let bytes = 0; bytes < WRITE_BYTES_MAX && barrier === null; ) {
        const item = out.shift()
        if (item === undefined) break
        if ('barrier' in item) barrier = item.barrier
        else if ('met' in item) {
          assert(uncommitted === 0 && batches.length === 0, 'a new table came up between two writes of one commit')
          await this.#prepare(item.met)
        } else {
          batches.push(item.batch)
          bytes += item.batch.bytes
        }
      }
      if (batches.length > 0) {
        step('checkpoint.before-write')
        this.#writingSince ??= clock.now()
        const encoded = await this.#session.write(
          batches.map((b) => transform.batch(b)),
          { signal },
        )
        batches.forEach((batch, i) => {
          metrics.wrote(batch.schema.id, batch, encoded?.[i] ?? batch.bytes)
          uncommitted += batch.bytes
        })
      }
      if (barrier !== null) {
        await this.#commit(barrier)
        this.#writingSince = null
        uncommitted = 0
        if (barrier.final) return 'stopped'
        if (this.#reached(barrier)) return 'done'
        continue
      }
      const since = this.#writingSince
      const early = this.#commitAllowedAt - clock.now()
      const due =
        (out.length === 0 && early <= 0) ||
        uncommitted >= bytesMax ||
        (since !== null && clock.now() - since >= checkpointIntervalMs)
      if (since !== null && due) this.#want()
      if (out.length > 0) continue
      const more = [out.readable()]
      if (since !== null && !due) {
        nap ??= clock.sleep(early, signal).then(() => {
          nap = null
          return true
        })
        more.push(nap)
      }
      if (!(await Promise.race(more))) return 'stopped'
    }
  }

  // ---- barriers

  /** The merger moved on: a wanted barrier may be possible now, or a target reached. */
  #changed(dirty = true): void {
    if (dirty) this.#dirty = true
    this.#released.set()
    if (this.#merger.unresolvedCuts === 0 || this.#stopping) this.#scheduler.wake.set()
    else this.#scheduler.logMoved()
    if (this.#until === 'caught-up' && this.#merger.chunksFinished && this.#aiming === 'later') {
      this.#aiming = 'now'
      this.#aim(this.#end.signal).then(
        () => {
          this.#aiming = 'done'
          this.#changed(false)
        },
        (thrown) => this.#out.fail(toError(thrown)),
      )
    }
    if (this.#o.until !== 'forever' && this.#met(this.#merger.ordinal, this.#merger.snapshotDone)) this.#want()
    this.#place()
  }

  /** Notes the log's end as a target: at the start, and again when this run's last chunk has finished. */
  async #aim(signal: AbortSignal): Promise<void> {
    this.#targets.push(await this.#source.logEnd({ signal }))
  }

  #met(ordinal: bigint, snapshotDone: boolean): boolean {
    if (!snapshotDone) return false
    if (this.#until === 'once') return true
    return this.#aiming === 'done' && this.#targets.every((target) => ordinal >= target)
  }

  #reached({ ordinal, snapshotDone }: Barrier): boolean {
    return this.#o.until !== 'forever' && this.#met(ordinal, snapshotDone)
  }

  #want(): void {
    this.#wanted = true
    this.#place()
  }

  /** Puts a barrier behind everything emitted, unless a transaction or a keyless table would be cut apart. */
  #place(): void {
    const merger = this.#merger
    if (!this.#wanted || !merger.divisible) return
    if (merger.midTransaction && merger.transactionBytes < this.#o.transactionBytesWhole && !this.#inParts) return
    if (this.#settling) return
    if (settleQuestions(merger).length > 0) return void this.#settle()
    this.#wanted = false
    this.#dirty = false
    const barrier = this.#barrier()
    void this.#out.push({ barrier }, 0)
    this.#placed.set()
  }

  /** Places a barrier right here. False: not yet, the rows of a keyless table are in the way, or questions to the server. */
  #apart(): boolean {
    const merger = this.#merger
    this.#cutting = true
    this.#want()
    // Rows that wait for the log must not stop it.
    return !this.#wanted || (!merger.divisible && merger.windowBytes > 0)
  }

  /** Nobody waits for the end of the transaction: a truncate, the user who stops, or a target that ends what stays open. */
  get #inParts(): boolean {
    const { commitMsMax } = this.#sink
    if (this.#cutting) return true
    if (this.#forced || commitMsMax === undefined || this.#writingSince === null) return this.#forced
    return this.#o.clock.now() - this.#writingSince >= commitMsMax
  }

  /** D5: the server is asked where held keys lie against the rows that were handed over; nothing moves meanwhile. */
  async #settle(): Promise<void> {
    this.#settling = true
    const release = [this.#rowsGate.hold(), this.#logGate.hold()]
    try {
      const done = () => {
        this.#settling = false
        this.#place()
      }
      await located(this.#source, () => settleQuestions(this.#merger), { signal: this.#end.signal }, done)
    } catch (thrown) {
      this.#out.fail(toError(thrown))
    } finally {
      for (const open of release) open()
    }
  }

  #barrier(): Barrier {
    const merger = this.#merger
    const state = merger.checkpoint()
    const tables = Object.fromEntries(Object.entries(state.tables).map(([id, saved]) => [id, this.#tagged(id, saved)]))
    const checkpoint: CheckpointState = { ...this.#header(), phase: 'running', ...state, tables }
    const { ordinal, snapshotDone, midTransaction } = merger
    return { checkpoint, ordinal, snapshotDone, midTransaction, final: this.#stopping }
  }

  #tagged(id: string, saved: SavedTable): SavedTable {
    const tag = this.#source.tag?.(id as TableId) ?? null
    return tag === null ? saved : { ...saved, tag }
  }

  #header(): Pick<CheckpointState, 'version' | 'pipeline' | 'connector' | 'source'> {
    const { name } = this.#o
    return {
      version: CHECKPOINT_VERSION,
      pipeline: name,
      connector: this.#source.connector,
      source: this.#opened.identity,
    }
  }

  async #commit({ checkpoint, midTransaction }: Barrier): Promise<void> {
    const begun = this.#o.clock.now()
    step('checkpoint.before-commit')
    const kept = await this.#save(checkpoint, midTransaction)
    step('checkpoint.committed')
    if (kept) this.#source.release(checkpoint.position) // I1: only now may the source forget.
    step('checkpoint.released')
    const now = this.#o.clock.now()
    this.#committed = { position: checkpoint.position, at: now }
    this.#commitAllowedAt = now + Math.max(COMMIT_GAP_MS, 2 * (now - begun))
    this.#o.metrics.committed(checkpoint.position, now)
  }

  /** False: the sink took everything but does not vouch for it. */
  async #save(checkpoint: CheckpointState, midTransaction = false): Promise<boolean> {
    const text = writeCheckpoint(checkpoint)
    const kept = await this.#session.commit(text, { signal: this.#end.signal, midTransaction })
    if (this.#sink.guarantee === 'none') await this.#o.state?.write(text)
    return kept !== 'not-durable'
  }

  #stop(): void {
    this.#stopping = true
    this.#want()
    this.#scheduler.wake.set()
    void this.#o.clock.sleep(STOP_WAIT_MS, this.#end.signal).then(() => {
      if (this.#end.signal.aborted) return
      this.#forced = true
      this.#want()
      // A keyless table is being copied: nothing of it is committed, so leaving now loses nothing.
      if (!this.#merger.divisible) this.#out.end()
    })
  }

  // ---- for people

  progress(): Progress {
    const { metrics } = this.#o
    const { lagMs, position, checkpoints, restarts } = metrics
    const phase = this.#stopping
      ? 'stopping'
      : !this.started
        ? 'starting'
        : this.#merger.snapshotDone
          ? 'streaming'
          : 'snapshot'
    const tables = (this.#tables ?? []).map((table) => {
      const id = table.schema.id
      const chunks = { done: this.#scheduler?.chunks.get(id) ?? 0, rows: this.#chunkRows }
      return tableProgress(table, this.#merger?.tables.get(id), chunks, metrics.tables.get(id))
    })
    return { phase, tables, lagMs, position, checkpoints, restarts }
  }
}
