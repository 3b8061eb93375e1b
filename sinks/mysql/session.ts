/**
 * The pipeline's only connection to the target. One transaction per commit: the epoch row is locked first, data goes
 * in as write() brings it, the checkpoint last (I2). A write is applied while the next one is being made, one at a
 * time, so at most two are in memory (I8). After any failure the session is over: the caller opens another, and what
 * that one reads back says whether an unknown COMMIT happened.
 */
import { toError } from '../../core/errors.js'
import type { ChangeBatch, TableId, TableSchema } from '../../core/model.js'
import type { SinkOpenContext, SinkSession } from '../../core/sink.js'
import type { Abortable } from '../../core/source.js'
import { step } from '../../core/steps.js'
import type { MysqlConnection } from '../../drivers/mysql.js'
import { cutOnAbort } from '../cut-on-abort.js'
import { Applier } from './apply.js'
import { problemError } from './create.js'
import type { MysqlSinkOptions } from './options.js'
import type { TablePlan } from './plan.js'
import { refused } from './refusal.js'
import { connectTarget, requireWritable, type TargetServer } from './server.js'
import { createState, type Owned, StateRow } from './state.js'
import { type CapturedSource, Targets } from './targets.js'

export class MysqlSession implements SinkSession {
  readonly checkpoint: string | null
  readonly claim: string
  readonly #state: StateRow
  readonly #connection: MysqlConnection
  readonly #options: MysqlSinkOptions
  readonly #packetBytes: number
  /** Cuts the connection. */
  readonly #cut: AbortController
  readonly #targets: Targets
  readonly #applier: Applier
  /** One plan per table: the newest schema's. */
  readonly #plans = new Map<TableId, TablePlan>()
  /** Tables of the open transaction. */
  readonly #written = new Map<TableId, TableSchema>()
  #inTransaction = false
  /** The write being applied. */
  #applying: Promise<void> = Promise.resolve()
  #failure: Error | null = null

  private constructor(
    { connection, server }: { readonly connection: MysqlConnection; readonly server: TargetServer },
    cut: AbortController,
    options: MysqlSinkOptions,
    { state, owned }: { readonly state: StateRow; readonly owned: Owned },
  ) {
    this.#connection = connection
    this.#packetBytes = server.packetBytes
    this.#cut = cut
    this.#options = options
    this.#state = state
    this.claim = owned.epoch
    this.checkpoint = owned.checkpoint
    this.#targets = new Targets(connection, server, options, owned.targets)
    this.#applier = new Applier(connection, server.packetBytes, (schema) => this.#plan(schema))
  }

  /** I6: fences every older owner, waits for what it has under way, then reads back. */
  static async open(
    options: MysqlSinkOptions,
    { pipeline, lastClaim, signal }: SinkOpenContext,
  ): Promise<MysqlSession> {
    const cut = new AbortController()
    return await cutOnAbort(signal, cut, async () => {
      const { connection, server } = await connectTarget(options, pipeline, cut.signal)
      try {
        requireWritable(connection, server)
        await createState(connection, options['state.database'])
        const state = new StateRow(options['state.database'], pipeline)
        const owned = await state.fence(connection, {
          waitMs: options['fence.timeout'],
          lockMs: options['lock.timeout'],
          lastEpoch: lastClaim,
        })
        step('mysql-sink.fenced')
        return new MysqlSession({ connection, server }, cut, options, { state, owned })
      } catch (error) {
        connection.destroy()
        throw error
      }
    })
  }

  async prepare(
    tables: readonly TableSchema[],
    options: Abortable & { readonly first: ReadonlySet<TableId>; readonly source: CapturedSource },
  ): Promise<void> {
    await this.#guard(options.signal, async () => {
      const [problem] = this.#targets.collisions(tables, options.source)
      if (problem) throw problemError(problem)
      // 5.3: DDL commits implicitly, so it is never inside a transaction with rows, and may run again.
      for (const schema of tables) await this.#targets.create(schema, options.first.has(schema.id))
      step('mysql-sink.created')
      await this.#begin()
      await this.#targets.requireSame(tables.filter(({ id }) => !options.first.has(id)))
      for (const schema of tables) await this.#targets.prepare(schema, options.first.has(schema.id))
      const targets = this.#targets.records.changes()
      const save = targets === null ? '' : `${this.#state.save(this.claim, { targets })}; `
      await this.#connection.query(`${save}COMMIT`)
      this.#inTransaction = false
      step('mysql-sink.prepared')
    })
  }

  async write(batches: readonly ChangeBatch[], { signal }: Abortable): Promise<void> {
    await this.#guard(signal, () => this.#applying)
    this.#applying = this.#guard(signal, () => this.#apply(batches))
    // The next call reports it.
    this.#applying.catch(() => {})
  }

  async #apply(batches: readonly ChangeBatch[]): Promise<void> {
    if (batches.length === 0) return
    if (!this.#inTransaction) await this.#begin()
    await this.#applier.apply(batches)
    step('mysql-sink.applied')
  }

  async commit(checkpoint: string, { signal }: Abortable): Promise<void> {
    await this.#guard(signal, async () => {
      await this.#applying
      const save = this.#state.save(this.claim, { checkpoint, targets: this.#targets.records.changes() })
      this.#state.requireRoom(save, this.#packetBytes)
      step('mysql-sink.before-commit')
      const timer = setTimeout(() => this.#connection.destroy(), this.#options['commit.timeout'])
      try {
        if (this.#inTransaction) await this.#commitRows(save)
        else if ((await this.#connection.run(save))[0] !== 1) throw this.#state.fenced()
      } catch (error) {
        throw refused(error, 'COMMIT', null)
      } finally {
        clearTimeout(timer)
      }
      this.#inTransaction = false
      step('mysql-sink.committed')
    })
  }

  /** What was written has a metadata lock, so that a name which leads to the recorded table now led to it all the while. */
  async #commitRows(save: string): Promise<void> {
    if ((await this.#connection.run(save))[0] !== 1) throw this.#state.fenced()
    await this.#targets.requireSame([...this.#written.values()])
    await this.#connection.query('COMMIT')
    this.#written.clear()
  }

  async close(): Promise<void> {
    this.#failure ??= new Error('the session is closed')
    // A polite end would wait for a statement that waits for a lock.
    this.#connection.destroy()
    await this.#applying.catch(() => {})
  }

  /** 5.3: the epoch row is locked before anything else, so that a successor's fence waits for this transaction. */
  async #begin(): Promise<void> {
    const owned = await this.#connection.query(this.#state.begin(this.claim))
    if (owned.length === 0) {
      await this.#connection.query('ROLLBACK')
      throw this.#state.fenced()
    }
    this.#inTransaction = true
    step('mysql-sink.locked')
  }

  async #plan(schema: TableSchema): Promise<TablePlan> {
    const known = this.#plans.get(schema.id)
    const plan = known?.schema.fingerprint === schema.fingerprint ? known : await this.#targets.plan(schema)
    this.#plans.set(schema.id, plan)
    this.#written.set(schema.id, schema)
    return plan
  }

  /** Nothing follows a failure: an open transaction that lost a part must never be committed. */
  async #guard<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#failure !== null) throw this.#failure
    try {
      return await cutOnAbort(signal, this.#cut, work)
    } catch (error) {
      this.#failure ??= toError(error)
      throw error
    }
  }
}
