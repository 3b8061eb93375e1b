/**
 * 1.10 e: a snapshot may show commits that the server has not flushed and would lose in a crash. A transactional logical
 * message committed with synchronous_commit=local flushes everything before it, so one such commit vouches for every
 * snapshot taken earlier. A connection that ended may mean a server that forgot, so it never vouches again.
 */
import { TidemarkError } from '../../core/errors.js'
import type { PgConnection } from '../../drivers/postgres.js'

export class DurableMark {
  readonly #connection: PgConnection
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null
  #ended: Error | null = null

  constructor(connection: PgConnection) {
    this.#connection = connection
    void connection.ended.then((error) => {
      this.#ended = error ?? new Error('the connection was closed')
    })
  }

  /** Resolves when everything committed before the call is flushed. */
  async flush(): Promise<void> {
    // A mark that is on its way may have been made before the caller's snapshot, so the one after it is needed.
    if (this.#running === null) {
      this.#running = this.#mark().finally(() => {
        this.#running = null
      })
      return this.#running
    }
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = null
        return this.flush()
      })
    return this.#next
  }

  async #mark(): Promise<void> {
    if (this.#ended !== null) throw lost(this.#ended)
    try {
      await this.#connection.query(
        `begin; set local synchronous_commit = 'local'; select pg_logical_emit_message(true, 'tidemark', ''); commit`,
      )
    } catch (error) {
      throw this.#ended === null ? error : lost(this.#ended)
    }
  }
}

function lost(cause: Error): TidemarkError {
  return new TidemarkError('postgres.connection', {
    message: `the connection that vouches for snapshots ended: ${cause.message}`,
    retriable: true,
    cause,
  })
}
