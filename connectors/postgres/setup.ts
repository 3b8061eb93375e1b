/** Making and dropping the replication slot, in the order of correctness.md 2.4, and the names that pipelines give. */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'
import {
  connectPg,
  type PgConnection,
  type PgOptions,
  parseLsn,
  quoteLiteral,
  sqlState,
} from '../../drivers/postgres.js'
import type { ServerFacts } from './catalog.js'

/** PostgreSQL cuts names beyond this. */
const NAME_BYTES_MAX = 63
/** How often a slot that a predecessor still holds is looked at, and how long it may take to be let go. */
const SLOT_WAIT_POLL_MS = 250
export const SLOT_WAIT_MS_MAX = 60_000
const BLOCKER_REPORT_MS = 5_000
/** How long telling a backend to give up may take. */
const CANCEL_MS_MAX = 5_000

/** `tidemark_<pipeline>`, made of what a slot name may hold; cut names keep a digest so that they stay apart. */
export function ownedName(pipeline: string): string {
  const plain = `tidemark_${pipeline.toLowerCase().replace(/[^a-z0-9_]/g, '_')}`
  const changed = plain !== `tidemark_${pipeline}`
  if (!changed && plain.length <= NAME_BYTES_MAX) return plain
  const digest = createHash('sha256').update(pipeline).digest('hex').slice(0, 8)
  return `${plain.slice(0, NAME_BYTES_MAX - 9)}_${digest}`
}

export function applicationName(pipeline: string): string {
  return `tidemark:${pipeline}`.slice(0, NAME_BYTES_MAX)
}

export async function serverFacts(connection: PgConnection): Promise<ServerFacts> {
  const [[version]] = (await connection.query(`select current_setting('server_version_num')`)) as [[string]]
  return { version: Number(version), generatedInLog: Number(version) >= 180_000 }
}

// ---- slot

export interface SlotOptions {
  readonly name: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly note: (line: string) => void
}

/**
 * A first start that nothing was written down for must not find a slot: it would be that of another pipeline of this
 * name, and to take it would lose what that one has not read.
 */
export async function requireNoSlot(
  connection: PgConnection,
  name: string,
  { pipeline, checkpointIn = 'the sink' }: { readonly pipeline: string; readonly checkpointIn?: string | undefined },
): Promise<void> {
  const [slot] = await connection.query(
    `select database, active_pid::text, confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1`,
    [name],
  )
  if (slot === undefined) return
  const [database, pid, confirmed] = slot
  const use = pid === null ? 'not in use' : `in use by pid ${pid}`
  throw new TidemarkError('postgres.slot', {
    message: `replication slot ${name} exists (database ${database}, confirmed up to ${confirmed}, ${use}), but ${checkpointIn} holds no checkpoint of pipeline ${pipeline}: it was removed or made anew, or another pipeline that is called ${pipeline} reads the slot`,
    fix: `If this pipeline ran before, put back what was removed, or give up its place: \`tidemark drop FILE\` frees the slot, and the next start copies every row again. If the slot is another pipeline's, give this one another pipeline.name.`,
    at: 'pipeline.name',
  })
}

/** A place in the log that every slot made from now on lies behind, and none that is there already. */
export async function placeBeforeSlots(connection: PgConnection): Promise<bigint> {
  const [[lsn]] = (await connection.query('select pg_current_wal_insert_lsn()::text')) as [[string]]
  await connection.query(`select pg_logical_emit_message(false, 'tidemark', '')`)
  return parseLsn(lsn)
}

/**
 * Makes the slot and returns where it starts. Waits for every transaction that was running, and says for whom. A slot of
 * this name is a leftover of our own unfinished start (see requireNoSlot()), unless it was made since this start began:
 * then it belongs to a successor of a process that slept.
 */
export async function createSlot(
  connection: PgConnection,
  server: ServerFacts,
  options: SlotOptions & { readonly since: bigint; readonly pipeline: string },
): Promise<Position> {
  const { name, note, since, pipeline } = options
  const [slot] = await connection.query(`select restart_lsn::text from pg_replication_slots where slot_name = $1`, [
    name,
  ])
  if (slot?.[0] != null && parseLsn(slot[0]) > since) {
    throw new TidemarkError('sink.fenced', {
      message: `replication slot ${name} was made since this process started: another process has taken over pipeline ${pipeline}`,
      fix: 'Stop one of the processes, or give one of them another pipeline.name.',
    })
  }
  if (await dropSlot(connection, name, options)) note(`replication slot ${name} of an earlier start was dropped`)
  const failover = server.version >= 170_000 ? ', false, true' : ''
  const sql = `select lsn::text from pg_create_logical_replication_slot(${quoteLiteral(name)}, 'pgoutput', false${failover})`
  return await watchingCreation(connection.options, options, async (making) => {
    making(connection.pid)
    const [[lsn]] = (await connection.query(sql)) as [[string]]
    return lsn as Position
  })
}

/**
 * Runs `create`, which says on which backend it makes the slot. That backend waits for every transaction that was running:
 * they are named, and after the time limit or an abort it is told to give up.
 */
export async function watchingCreation<T>(
  where: PgOptions,
  { name, timeoutMs, signal, note }: SlotOptions,
  create: (making: (pid: number) => void) => Promise<T>,
): Promise<T> {
  let pid = 0
  const begun = Date.now()
  // An abort must not keep the one that cancels from connecting.
  const beside = async <R>(work: (c: PgConnection) => Promise<R>) => {
    const other = await connectPg(where, { signal: AbortSignal.timeout(CANCEL_MS_MAX) })
    try {
      return await work(other)
    } finally {
      await other.close()
    }
  }
  let cancelled: Promise<unknown> | null = null
  const cancel = () => {
    cancelled ??= beside((c) => c.query('select pg_cancel_backend($1)', [pid])).catch(() => {})
  }
  const report = async () => {
    if (Date.now() - begun > timeoutMs) return cancel()
    const blockers = await beside((c) => slotBlockers(c, pid))
    if (blockers.length > 0) note(`creating slot ${name} waits for ${blockers.join('; ')}`)
  }
  const watch = setInterval(() => void report().catch(() => {}), Math.min(BLOCKER_REPORT_MS, timeoutMs))
  signal.addEventListener('abort', cancel, { once: true })
  try {
    return await create((backend) => {
      pid = backend
    })
  } catch (error) {
    // A process that ended before would leave the backend waiting.
    await cancelled
    signal.throwIfAborted()
    throw await slotFailed(error, name, () => beside((c) => slotBlockers(c, pid)))
  } finally {
    clearInterval(watch)
    signal.removeEventListener('abort', cancel)
  }
}

async function slotFailed(error: unknown, name: string, blockersOf: () => Promise<string[]>): Promise<unknown> {
  const state = sqlState(error)
  if (state === '57014') {
    const blockers = await blockersOf()
    return new TidemarkError('postgres.slot_blocked', {
      message: `slot ${name} could not be made: transactions that began before it are still open: ${blockers.join('; ') || 'unknown'}`,
      fix: 'End them (COMMIT, ROLLBACK, or SELECT pg_terminate_backend(pid)), or raise slot.create.timeout.',
      cause: error,
    })
  }
  if (state === '53400') {
    return new TidemarkError('postgres.no_free_slot', {
      message: `no replication slot is free: ${(error as Error).message}`,
      fix: 'Drop an unused one (SELECT slot_name FROM pg_replication_slots WHERE NOT active), or raise max_replication_slots and restart.',
      cause: error,
    })
  }
  return error
}

/** Transactions that slot creation waits for, in any database, and prepared ones, which have no process. */
export async function slotBlockers(connection: PgConnection, except = 0): Promise<string[]> {
  const running = await connection.query(
    `select format('pid %s (%s, database %s, open for %s s, %s)', pid, coalesce(nullif(application_name, ''), usename), datname,
        extract(epoch from now() - xact_start)::int, state)
     from pg_stat_activity where backend_xid is not null and pid <> $1 and pid <> pg_backend_pid() order by xact_start limit 5`,
    [except],
  )
  const prepared = await connection.query(
    `select format('prepared transaction %L (database %s, since %s)', gid, database, prepared::timestamp(0)) from pg_prepared_xacts order by prepared limit 5`,
  )
  return [...running, ...prepared].map(([text]) => text!)
}

/** Drops the slot if it exists; waits a moment for a holder that is just ending, and names one that stays. */
export async function dropSlot(
  connection: PgConnection,
  name: string,
  { signal, waitMs = SLOT_WAIT_MS_MAX }: { readonly signal: AbortSignal; readonly waitMs?: number },
): Promise<boolean> {
  for (const deadline = Date.now() + waitMs; ; ) {
    const [slot] = await connection.query(
      `select s.active_pid::text, a.application_name from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid
       where s.slot_name = $1`,
      [name],
    )
    if (slot === undefined) return false
    try {
      await connection.query(`select pg_drop_replication_slot($1)`, [name])
      return true
    } catch (error) {
      if (sqlState(error) !== '55006') throw error
      const [pid, application] = slot
      if (Date.now() > deadline && pid !== null) {
        throw new TidemarkError('postgres.slot_held', {
          message: `replication slot ${name} is being read by pid ${pid} of the server (${application || 'unknown'}); nothing was removed`,
          fix: `Stop that process first, then run this again. If it is gone: SELECT pg_terminate_backend(${pid});`,
          cause: error,
        })
      }
      await pauseForSlot(signal)
    }
  }
}

export function pauseForSlot(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  return new Promise((resolve) => setTimeout(resolve, SLOT_WAIT_POLL_MS))
}
