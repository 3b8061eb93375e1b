/**
 * The replication slot: made in the order of correctness.md 2.4, checked at every start, and never replaced behind the
 * user's back.
 */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'
import { connectPg, type PgConnection, parseLsn, quoteIdent, quoteLiteral, sqlState } from '../../drivers/postgres.js'
import type { ServerFacts } from './catalog.js'
import { parsePosition } from './position.js'

/** PostgreSQL cuts names beyond this. */
const NAME_BYTES_MAX = 63
/** How often a slot that a predecessor still holds is looked at, and how long it may take to be let go. */
const SLOT_WAIT_POLL_MS = 250
const SLOT_WAIT_MS_MAX = 60_000
/** A predecessor of ours that was fenced but still holds the slot is ended after this. */
const SLOT_TERMINATE_AFTER_MS = 2_000
const BLOCKER_REPORT_MS = 5_000

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
export async function requireNoSlot(connection: PgConnection, name: string, pipeline: string): Promise<void> {
  const [slot] = await connection.query(
    `select database, active_pid::text, confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1`,
    [name],
  )
  if (slot === undefined) return
  const [database, pid, confirmed] = slot
  const use = pid === null ? 'not in use' : `in use by pid ${pid}`
  throw new TidemarkError('postgres.slot', {
    message: `replication slot ${name} exists (database ${database}, confirmed up to ${confirmed}, ${use}), but the sink knows nothing of it: another pipeline that is called ${pipeline} seems to read it`,
    fix: `Give this pipeline another pipeline.name. If nothing reads the slot any more: SELECT pg_drop_replication_slot(${quoteLiteral(name)});`,
    at: 'pipeline.name',
  })
}

/**
 * Makes the slot and returns where it starts. Waits for every transaction that was running, and says for whom. A slot of
 * this name is a leftover of our own unfinished start: see requireNoSlot().
 */
export async function createSlot(
  connection: PgConnection,
  server: ServerFacts,
  options: SlotOptions,
): Promise<Position> {
  const { name, timeoutMs, signal, note } = options
  await dropSlot(connection, name, signal)
  const failover = server.version >= 170_000 ? ', false, true' : ''
  const making = connection.query(
    `select lsn::text from pg_create_logical_replication_slot(${quoteLiteral(name)}, 'pgoutput', false${failover})`,
  )
  const begun = Date.now()
  const watch = setInterval(() => void report().catch(() => {}), BLOCKER_REPORT_MS)
  const report = async () => {
    const blockers = await watching((c) => slotBlockers(c, connection.pid))
    if (Date.now() - begun > timeoutMs) await watching((c) => c.query('select pg_cancel_backend($1)', [connection.pid]))
    else if (blockers.length > 0) note(`creating slot ${name} waits for ${blockers.join('; ')}`)
  }
  const watching = async <T>(work: (c: PgConnection) => Promise<T>) => {
    const other = await connectPg(connection.options, { signal })
    try {
      return await work(other)
    } finally {
      await other.close()
    }
  }
  try {
    const [[lsn]] = (await making) as [[string]]
    return lsn as Position
  } catch (error) {
    throw await slotFailed(error, connection, name, watching)
  } finally {
    clearInterval(watch)
  }
}

async function slotFailed(
  error: unknown,
  connection: PgConnection,
  name: string,
  watching: <T>(work: (c: PgConnection) => Promise<T>) => Promise<T>,
): Promise<unknown> {
  const state = sqlState(error)
  if (state === '57014') {
    const blockers = await watching((c) => slotBlockers(c, connection.pid))
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

/** Drops the slot if it exists; waits a moment for a holder that is just ending. */
export async function dropSlot(connection: PgConnection, name: string, signal: AbortSignal): Promise<boolean> {
  for (const deadline = Date.now() + SLOT_WAIT_MS_MAX; ; ) {
    const [slot] = await connection.query(`select active_pid::text from pg_replication_slots where slot_name = $1`, [
      name,
    ])
    if (slot === undefined) return false
    try {
      await connection.query(`select pg_drop_replication_slot($1)`, [name])
      return true
    } catch (error) {
      if (sqlState(error) !== '55006' || Date.now() > deadline) throw error
      await pause(signal)
    }
  }
}

interface SlotRow {
  readonly plugin: string | null
  readonly slot_type: string
  readonly database: string | null
  readonly active_pid: string | null
  readonly confirmed: string | null
  readonly wal_status: string | null
  readonly invalidation: string | null
  readonly temporary: string
}

/** The slot must be ours and must still hold everything behind the position. Never repaired by itself. */
export async function checkSlot(
  connection: PgConnection,
  name: string,
  position: Position,
  context: { readonly pipeline: string; readonly signal: AbortSignal; readonly note: (line: string) => void },
): Promise<void> {
  const [row] = await connection.queryObjects(
    `select plugin, slot_type, database, active_pid::text, confirmed_flush_lsn::text as confirmed, wal_status, temporary::text,
       coalesce(to_jsonb(s)->>'invalidation_reason', case when to_jsonb(s)->>'conflicting' = 'true' then 'conflict' end) as invalidation
     from pg_replication_slots s where slot_name = $1`,
    [name],
  )
  const slot = row as unknown as SlotRow | undefined
  const { database } = connection.options
  const anew = 'Run `tidemark drop FILE`, empty the targets and start anew: changes made in between are gone.'
  const lost = (message: string, fix = anew) =>
    new TidemarkError('postgres.slot', { message, fix, at: 'source.slot.name' })
  if (slot === undefined) throw lost(`replication slot ${name} is gone, and with it the changes after ${position}`)
  if (slot.slot_type !== 'logical' || slot.plugin !== 'pgoutput' || slot.database !== database) {
    throw lost(
      `replication slot ${name} is not this pipeline's: it is ${slot.slot_type}, plugin ${slot.plugin ?? 'none'}, database ${slot.database ?? 'none'}`,
      'Give this pipeline another slot.name or pipeline.name.',
    )
  }
  if (slot.wal_status === 'lost' || slot.invalidation) {
    throw lost(
      `replication slot ${name} was invalidated by the server (${slot.invalidation ?? 'its WAL was removed'}); the changes after ${position} are gone`,
    )
  }
  const { completed } = parsePosition(position)
  if (slot.confirmed !== null && parseLsn(slot.confirmed) > completed) {
    throw new TidemarkError('postgres.position_lost', {
      message: `slot ${name} has moved on to ${slot.confirmed}, but the checkpoint needs everything after ${position}`,
      fix: `Something else consumed the slot, or the target was restored from a backup. ${anew}`,
    })
  }
  if (slot.active_pid !== null) await takeOver(connection, name, context)
}

/** The sink has fenced the predecessor already, so a slot that it still holds may be taken from it. */
async function takeOver(
  connection: PgConnection,
  name: string,
  {
    pipeline,
    signal,
    note,
  }: { readonly pipeline: string; readonly signal: AbortSignal; readonly note: (line: string) => void },
): Promise<void> {
  const begun = Date.now()
  let ended = false
  for (;;) {
    const [holder] = await connection.query(
      `select s.active_pid::text, a.application_name from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid
       where s.slot_name = $1 and s.active_pid is not null`,
      [name],
    )
    if (holder === undefined) return
    const [pid, application] = holder
    const ours = application === applicationName(pipeline)
    const held = (why: string, fix: string) =>
      new TidemarkError('postgres.slot_held', {
        message: `slot ${name} is held by pid ${pid} (${application || 'unknown'})${why}`,
        fix,
      })
    if (!ours && application !== null)
      throw held(', which is not this pipeline', 'Stop it, or give this pipeline another slot.name.')
    if (Date.now() - begun > SLOT_WAIT_MS_MAX)
      throw held(' and does not let go', `Run: SELECT pg_terminate_backend(${pid});`)
    if (!ended && Date.now() - begun > SLOT_TERMINATE_AFTER_MS) {
      ended = true
      note(`slot ${name} is still held by pid ${pid} of a predecessor; ending it`)
      await connection.query('select pg_terminate_backend($1)', [pid]).catch((error: unknown) => {
        if (sqlState(error) !== '42501') throw error
        throw held(
          ' of a predecessor',
          `Run: SELECT pg_terminate_backend(${pid}); or: GRANT pg_signal_backend TO ${quoteIdent(connection.options.user)};`,
        )
      })
    }
    await pause(signal)
  }
}

function pause(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  return new Promise((resolve) => setTimeout(resolve, SLOT_WAIT_POLL_MS))
}
