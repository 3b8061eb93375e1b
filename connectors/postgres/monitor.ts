/**
 * One connection that watches the chunk readers: whoever waits behind a reader's table lock ends that read within a
 * fraction of a second (1.10 d), and reads that must end are cancelled from here.
 */
import type { PgConnection } from '../../drivers/postgres.js'

const POLL_MS = 250

export class Monitor {
  readonly #connect: () => Promise<PgConnection>
  readonly #watched = new Map<number, () => void>()
  #connection: Promise<PgConnection> | null = null
  #timer: NodeJS.Timeout | null = null
  #polling = false

  constructor(connect: () => Promise<PgConnection>) {
    this.#connect = connect
  }

  /** Calls `blocking` when somebody waits for a lock that the backend holds. Returns the end of the watch. */
  watch(pid: number, blocking: () => void): () => void {
    this.#watched.set(pid, blocking)
    this.#timer ??= setInterval(() => void this.#poll().catch(() => {}), POLL_MS)
    return () => {
      this.#watched.delete(pid)
      if (this.#watched.size > 0 || this.#timer === null) return
      clearInterval(this.#timer)
      this.#timer = null
    }
  }

  async cancel(pid: number): Promise<void> {
    await (await this.#open()).query('select pg_cancel_backend($1)', [pid])
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#watched.clear()
    await (await this.#connection?.catch(() => null))?.close()
  }

  async #poll(): Promise<void> {
    if (this.#polling) return
    this.#polling = true
    try {
      const connection = await this.#open()
      const rows = await connection.query(
        `select distinct b.pid::text from pg_stat_activity a cross join lateral unnest(pg_blocking_pids(a.pid)) b(pid)
         where a.wait_event_type = 'Lock' and b.pid = any($1::int[])`,
        [[...this.#watched.keys()]],
      )
      for (const [pid] of rows) this.#watched.get(Number(pid))?.()
    } finally {
      this.#polling = false
    }
  }

  #open(): Promise<PgConnection> {
    this.#connection ??= this.#connect().then((connection) => {
      void connection.ended.then(() => {
        this.#connection = null
      })
      return connection
    })
    return this.#connection
  }
}
