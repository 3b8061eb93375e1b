/**
 * The slot at a resume: it must be ours and still hold everything behind the checkpoint's position, and whoever else holds
 * it must be gone. Never repaired or replaced behind the user's back.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'
import { type PgConnection, parseLsn, quoteIdent, sqlState } from '../../drivers/postgres.js'
import { parsePosition } from './position.js'
import { applicationName, pauseForSlot, SLOT_WAIT_MS_MAX } from './setup.js'

/** A predecessor of ours that was fenced but still holds the slot is ended after this. */
const SLOT_TERMINATE_AFTER_MS = 2_000
/** How long a predecessor that nothing has fenced is waited for: it may be alive and well. */
const UNFENCED_WAIT_MS_MAX = 30_000

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

const ANEW = 'Run `tidemark drop FILE`, empty the targets and start anew: changes made in between are gone.'

/** Who may hold the slot besides us. */
interface SlotHolder {
  readonly pipeline: string
  /** An older owner of the pipeline cannot commit any more. */
  readonly fenced: boolean
  readonly signal: AbortSignal
  readonly note: (line: string) => void
}

/** The slot must be ours and must still hold everything behind the position. Never repaired by itself. */
export async function checkSlot(
  connection: PgConnection,
  name: string,
  position: Position,
  holder: SlotHolder,
): Promise<void> {
  const slot = await readSlot(connection, name, position)
  if (slot.active_pid === null) return checkPosition(connection, name, position, slot, holder.fenced)
  await takeOver(connection, name, holder)
  // Its holder may have moved it on meanwhile.
  checkPosition(connection, name, position, await readSlot(connection, name, position), holder.fenced)
}

async function readSlot(connection: PgConnection, name: string, position: Position): Promise<SlotRow> {
  const [row] = await connection.queryObjects(
    `select plugin, slot_type, database, active_pid::text, confirmed_flush_lsn::text as confirmed, wal_status, temporary::text,
       coalesce(to_jsonb(s)->>'invalidation_reason', case when to_jsonb(s)->>'conflicting' = 'true' then 'conflict' end) as invalidation
     from pg_replication_slots s where slot_name = $1`,
    [name],
  )
  const slot = row as unknown as SlotRow | undefined
  const { database } = connection.options
  const lost = (message: string, fix = ANEW) =>
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
  return slot
}

function checkPosition(
  { options }: PgConnection,
  name: string,
  position: Position,
  { confirmed }: SlotRow,
  fenced: boolean,
): void {
  if (confirmed === null || parseLsn(confirmed) <= parsePosition(position).completed) return
  const other = fenced
    ? `Something else consumed the slot of database ${options.database}, or the target was restored from a backup.`
    : 'If another process of this pipeline has gone on from this checkpoint, nothing is lost: start from the checkpoint that it saved last. Otherwise:'
  throw new TidemarkError('postgres.position_lost', {
    message: `slot ${name} has moved on to ${confirmed}, but the checkpoint needs everything after ${position}`,
    fix: `${other} ${ANEW}`,
  })
}

/** A slot that a predecessor still holds is taken from it once the sink has fenced it, and waited for otherwise. */
async function takeOver(
  connection: PgConnection,
  name: string,
  { pipeline, fenced, signal, note }: SlotHolder,
): Promise<void> {
  const begun = Date.now()
  if (!fenced) note(`slot ${name} is in use; waiting for its holder to let go`)
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
    if (!fenced && Date.now() - begun > UNFENCED_WAIT_MS_MAX)
      throw held(
        ': another process of this pipeline seems to run',
        `Stop it, or give this pipeline another name. If it is gone: SELECT pg_terminate_backend(${pid});`,
      )
    if (Date.now() - begun > SLOT_WAIT_MS_MAX)
      throw held(' and does not let go', `Run: SELECT pg_terminate_backend(${pid});`)
    if (fenced && !ended && Date.now() - begun > SLOT_TERMINATE_AFTER_MS) {
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
    await pauseForSlot(signal)
  }
}
