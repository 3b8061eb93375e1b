/**
 * The pipeline's only connection to the target. One transaction per commit: the epoch row is locked first, data goes
 * in as write() brings it, the checkpoint last (I2). A write is applied while the next one is being made, one at a
 * time, so at most two are in memory (I8). After any failure the session is over: the caller opens another, and what
 * that one reads back says whether an unknown COMMIT happened.
 */
import { TidemarkError, toError } from '../../core/errors.js'
import type { ChangeBatch, TableId, TableSchema } from '../../core/model.js'
import type { SinkOpenContext, SinkSession } from '../../core/sink.js'
import type { Abortable } from '../../core/source.js'
import { step } from '../../core/steps.js'
import { connectPg, type PgConnection } from '../../drivers/postgres.js'
import { cutOnAbort } from '../cut-on-abort.js'
import { Applier } from './apply.js'
import { problemError } from './create.js'
import { type PostgresSinkOptions, pgOptions } from './options.js'
import type { TablePlan } from './plan.js'
import { recreatedError, recreatedSql } from './records.js'
import { refused } from './refusal.js'
import { beginOwned, createState, fence, fenced, LOCK_DDL, type Owned, saveCheckpoint, saveTargets } from './state.js'
import { type CapturedSource, Targets } from './targets.js'

/** An open transaction that nobody works on holds the successor up; the server ends it after this. */
const IDLE_IN_TRANSACTION_MS = 60_000

export class PostgresSession implements SinkSession {
  readonly checkpoint: string | null
  readonly claim: string
  readonly #pipeline: string
  readonly #epoch: string
  readonly #connection: PgConnection
  readonly #options: PostgresSinkOptions
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
    connection: PgConnection,
    cut: AbortController,
    options: PostgresSinkOptions,
    owned: Owned & { readonly pipeline: string },
  ) {
    this.#connection = connection
    this.#cut = cut
    this.#options = options
    this.#pipeline = owned.pipeline
    this.#epoch = owned.epoch
    this.claim = owned.epoch
    this.checkpoint = owned.checkpoint
    this.#targets = new Targets(connection, options, { pipeline: owned.pipeline, saved: owned.targets })
    this.#applier = new Applier(connection, (schema) => this.#plan(schema))
  }

  /** I6: fences every older owner, waits for what it has under way, then reads back. */
  static async open(
    options: PostgresSinkOptions,
    { pipeline, lastClaim, signal }: SinkOpenContext,
  ): Promise<PostgresSession> {
    const cut = new AbortController()
    return await cutOnAbort(signal, cut, async () => {
      const connection = await connectPg(pgOptions(options, pipeline), { signal: cut.signal })
      try {
        await configure(connection, options)
        await createState(connection)
        const owned = await fence(connection, pipeline, Math.ceil(options['fence.timeout']), lastClaim)
        step('pg-sink.fenced')
        return new PostgresSession(connection, cut, options, { pipeline, ...owned })
      } catch (error) {
        await connection.close()
        throw error
      }
    })
  }

  async prepare(
    tables: readonly TableSchema[],
    options: Abortable & { readonly first: ReadonlySet<TableId>; readonly source: CapturedSource },
  ): Promise<void> {
    await this.#guard(options.signal, async () => {
      const [problem] = await this.#targets.collisions(tables, options.source)
      if (problem) throw problemError(problem)
      await this.#begin()
      await this.#connection.query(LOCK_DDL)
      await this.#targets.requireSame(tables.filter(({ id }) => !options.first.has(id)))
      for (const schema of tables) await this.#targets.prepare(schema, options.first.has(schema.id))
      const records = this.#targets.records.changes()
      const save = records === null ? '' : `${saveTargets(this.#pipeline, this.#epoch, records)}; `
      await this.#connection.query(`${save}COMMIT`)
      this.#inTransaction = false
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
    step('pg-sink.applied')
  }

  async commit(checkpoint: string, { signal }: Abortable): Promise<void> {
    await this.#guard(signal, async () => {
      await this.#applying
      const save = saveCheckpoint(this.#pipeline, this.#epoch, checkpoint, this.#targets.records.changes())
      step('pg-sink.before-commit')
      const timer = setTimeout(() => this.#connection.destroy(), this.#options['commit.timeout'])
      try {
        if (this.#inTransaction) await this.#commitRows(save)
        else if ((await this.#connection.run(save)).count === 0) throw fenced(this.#pipeline)
      } catch (error) {
        throw refused(error, 'COMMIT', null)
      } finally {
        clearTimeout(timer)
      }
      this.#inTransaction = false
      step('pg-sink.committed')
    })
  }

  /** What was written is locked, so that a name which leads to the recorded table now led to it all the while. */
  async #commitRows(save: string): Promise<void> {
    const written = this.#targets.known([...this.#written.values()])
    const ids = (await this.#connection.query(`${save}; ${recreatedSql(written)}`)).map(([id]) => id)
    const others = written.filter(({ id }) => ids.includes(id))
    if (others.length > 0) throw recreatedError(this.#pipeline, others)
    await this.#connection.query('COMMIT')
    this.#written.clear()
  }

  async close(): Promise<void> {
    this.#failure ??= new Error('the session is closed')
    await this.#connection.close().catch(() => {})
    await this.#applying.catch(() => {})
  }

  /** 5.3: the epoch row is locked before anything else, so that a successor's fence waits for this transaction. */
  async #begin(): Promise<void> {
    const owned = await this.#connection.query(beginOwned(this.#pipeline, this.#epoch))
    if (owned.length === 0) {
      await this.#connection.query('ROLLBACK')
      throw fenced(this.#pipeline)
    }
    this.#inTransaction = true
    step('pg-sink.locked')
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

async function configure(connection: PgConnection, options: PostgresSinkOptions): Promise<void> {
  const [row] = await connection.query('SELECT pg_is_in_recovery()')
  if (row![0] === 't') {
    const { host, port } = connection.options
    throw new TidemarkError('sink.read_only', {
      message: `${host}:${port} is a standby, which takes no writes`,
      fix: 'Give the sink the address of the primary.',
      retriable: true,
    })
  }
  // The source forgets what was committed here, so a commit must be on disk whatever the role's defaults are (5.3).
  await connection.query(
    `SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
       WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);
     SET idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS};
     SET lock_timeout = ${Math.ceil(options['lock.timeout'])};
     SET default_transaction_read_only = off;
     SET default_transaction_isolation = 'read committed';
     SET default_transaction_deferrable = off;
     SET jit = off`,
  )
}
