/**
 * The pipeline's row in tidemark.checkpoint: its checkpoint, the owner's epoch and which backend that owner works on.
 * Always true: the row's epoch is locked before anything is written, in the same transaction, so a fenced owner
 * cannot change a target any more, and the fence waits for what an older owner has under way (I6, 5.3).
 */
import { TidemarkError } from '../../core/errors.js'
import { type PgConnection, quoteLiteral, sqlState } from '../../drivers/postgres.js'

export const STATE_SCHEMA = 'tidemark'
export const STATE_TABLE = 'tidemark.checkpoint'

/** Serialises the creation of schemas, types and tables between starting pipelines: the letters "tidemark". */
const DDL_LOCK_KEY = '8388346167743836779'
const LOCK_NOT_AVAILABLE = '55P03'
/** How long a terminated backend may take to end its transaction. */
const TERMINATED_WAIT_MS = 10_000

const PERMISSION_DENIED = '42501'

/** The row is updated at every commit, so it gets room for updates in place and frequent vacuums. */
const CREATE_TABLE = `CREATE TABLE IF NOT EXISTS ${STATE_TABLE} (
  pipeline text PRIMARY KEY,
  epoch bigint NOT NULL,
  checkpoint text,
  owner_pid integer,
  owner_started timestamptz,
  updated_at timestamptz NOT NULL DEFAULT now(),
  targets jsonb
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
  toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 5000)`

/** Tables that were made before there was the column. */
export const ADD_TARGETS = `ALTER TABLE ${STATE_TABLE} ADD COLUMN IF NOT EXISTS targets jsonb`

export const LOCK_DDL = `SELECT pg_advisory_xact_lock(${DDL_LOCK_KEY})`

export async function stateExists(connection: PgConnection): Promise<boolean> {
  const [row] = await connection.query(`SELECT to_regclass('${STATE_TABLE}') IS NOT NULL`)
  return row![0] === 't'
}

export async function createState(connection: PgConnection): Promise<void> {
  if (await stateExists(connection)) return await addTargets(connection)
  // IF NOT EXISTS alone fails when two sessions create the same thing at once.
  await connection.query(`BEGIN; ${LOCK_DDL}; CREATE SCHEMA IF NOT EXISTS ${STATE_SCHEMA}; ${CREATE_TABLE}; COMMIT`)
}

/** Whether it lacks the column is asked first: only its owner may alter the table. */
async function addTargets(connection: PgConnection): Promise<void> {
  if (await hasTargets(connection)) return
  try {
    await connection.query(`BEGIN; ${LOCK_DDL}; ${ADD_TARGETS}; COMMIT`)
  } catch (error) {
    if (sqlState(error) !== PERMISSION_DENIED) throw error
    throw new TidemarkError('postgres.permission', {
      message: `${STATE_TABLE} was made by an earlier version, and this user may not add a column to it`,
      fix: `Run as its owner: ${ADD_TARGETS};`,
      cause: error,
    })
  }
}

export async function hasTargets(connection: PgConnection): Promise<boolean> {
  const [row] = await connection.query(
    `SELECT FROM pg_attribute WHERE attrelid = '${STATE_TABLE}'::regclass AND attname = 'targets' AND NOT attisdropped`,
  )
  return row !== undefined
}

export interface State {
  readonly checkpoint: string | null
  /** See TargetRecords. */
  readonly targets: string | null
}

export interface Owned extends State {
  readonly epoch: string
}

/** Takes the pipeline over: waits for what its last owner has under way, then ends that owner's backend. */
export async function fence(
  connection: PgConnection,
  pipeline: string,
  waitMs: number,
  lastEpoch: string | undefined,
): Promise<Owned> {
  const name = quoteLiteral(pipeline)
  // Epochs start at the time, so that a dropped pipeline of the same name never gets one that an old owner still has.
  await connection.query(
    `INSERT INTO ${STATE_TABLE} (pipeline, epoch) VALUES (${name}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
     ON CONFLICT (pipeline) DO NOTHING`,
  )
  try {
    return await raiseEpoch(connection, name, waitMs, lastEpoch)
  } catch (error) {
    if (sqlState(error) !== LOCK_NOT_AVAILABLE) throw error
  }
  await terminateOwner(connection, name, pipeline)
  try {
    return await raiseEpoch(connection, name, TERMINATED_WAIT_MS, lastEpoch)
  } catch (error) {
    if (sqlState(error) !== LOCK_NOT_AVAILABLE) throw error
    throw await blocked(connection, pipeline, 'it is still there after the last owner was terminated', error)
  }
}

async function raiseEpoch(
  connection: PgConnection,
  name: string,
  waitMs: number,
  lastEpoch: string | undefined,
): Promise<Owned> {
  try {
    const [row] = await connection.query(
      `BEGIN; SET LOCAL lock_timeout = ${waitMs};
       UPDATE ${STATE_TABLE} SET epoch = epoch + 1, owner_pid = pg_backend_pid(), updated_at = now(),
         owner_started = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
       WHERE pipeline = ${name} ${lastEpoch === undefined ? '' : `AND epoch = ${lastEpoch}`} RETURNING epoch, checkpoint, targets`,
    )
    await connection.query('COMMIT')
    if (row) return { epoch: row[0]!, checkpoint: row[1]!, targets: row[2]! }
  } catch (error) {
    await connection.query('ROLLBACK').catch(() => {})
    throw error
  }
  if (lastEpoch !== undefined) throw fenced(name)
  throw new TidemarkError('sink.fenced', {
    message: `the checkpoint row of pipeline ${name} was removed while this process started`,
    retriable: true,
  })
}

export function fenced(pipeline: string): TidemarkError {
  return new TidemarkError('sink.fenced', {
    message: `another process has taken over pipeline ${pipeline}, or it was dropped`,
    fix: 'Stop one of the processes, or give one of them another pipeline.name.',
  })
}

/** Pid and start time must both match: pids are used again. */
async function terminateOwner(connection: PgConnection, name: string, pipeline: string): Promise<void> {
  const owner = `FROM ${STATE_TABLE} s JOIN pg_stat_activity a ON a.pid = s.owner_pid AND a.backend_start = s.owner_started
    WHERE s.pipeline = ${name} AND a.pid <> pg_backend_pid()`
  try {
    const ended = await connection.query(`SELECT pg_terminate_backend(a.pid) ${owner}`)
    if (ended.length > 0) return
  } catch (error) {
    throw await blocked(connection, pipeline, 'this user may not terminate it', error)
  }
  throw await blocked(connection, pipeline, 'it is not the last owner of the pipeline, so it was left alone')
}

async function blocked(connection: PgConnection, pipeline: string, why: string, cause?: unknown): Promise<Error> {
  const holders = await connection.query(
    `SELECT DISTINCT l.pid FROM pg_locks l WHERE l.relation = '${STATE_TABLE}'::regclass AND l.granted
     AND l.mode IN ('RowShareLock', 'RowExclusiveLock') AND l.pid IS NOT NULL AND l.pid <> pg_backend_pid() ORDER BY 1`,
  )
  const pids = holders.map(([pid]) => pid)
  const who = pids.length === 0 ? 'a prepared transaction' : `the session with pid ${pids.join(' or ')}`
  return new TidemarkError('sink.fence_blocked', {
    message: `pipeline ${pipeline} cannot be taken over: ${who} holds its row in ${STATE_TABLE}, and ${why}`,
    fix:
      pids.length === 0
        ? 'Run: SELECT gid FROM pg_prepared_xacts;  and commit or roll back what is left over.'
        : `Run as a superuser or the session's own user: SELECT pg_terminate_backend(${pids[0]});`,
    cause,
  })
}

// ---- the owner's side. Text of statements, so that they share a round trip with their neighbours.

/** Opens a transaction as the owner; no row comes back when somebody else is. */
export function beginOwned(pipeline: string, epoch: string): string {
  return `BEGIN; SELECT 1 FROM ${STATE_TABLE} WHERE pipeline = ${quoteLiteral(pipeline)} AND epoch = ${epoch} FOR UPDATE`
}

/** `targets`: null where it stays as it is. */
export function saveCheckpoint(pipeline: string, epoch: string, checkpoint: string, targets: string | null): string {
  return save(pipeline, epoch, [`checkpoint = ${quoteLiteral(checkpoint)}`, ...saved(targets)])
}

export function saveTargets(pipeline: string, epoch: string, targets: string): string {
  return save(pipeline, epoch, saved(targets))
}

function saved(targets: string | null): string[] {
  return targets === null ? [] : [`targets = ${quoteLiteral(targets)}`]
}

function save(pipeline: string, epoch: string, changes: readonly string[]): string {
  return `UPDATE ${STATE_TABLE} SET ${changes.join(', ')}, updated_at = now()
    WHERE pipeline = ${quoteLiteral(pipeline)} AND epoch = ${epoch}`
}

/** Read without fencing anybody. A table of an earlier version lacks `targets`. */
export async function readState(connection: PgConnection, pipeline: string): Promise<State> {
  if (!(await stateExists(connection))) return { checkpoint: null, targets: null }
  const [row] = await connection.query(
    `SELECT s.checkpoint, to_jsonb(s)->'targets' FROM ${STATE_TABLE} s WHERE s.pipeline = $1`,
    [pipeline],
  )
  return { checkpoint: row?.[0] ?? null, targets: row?.[1] ?? null }
}

/** True when there was a row. */
export async function dropState(connection: PgConnection, pipeline: string): Promise<boolean> {
  if (!(await stateExists(connection))) return false
  const { count } = await connection.run(`DELETE FROM ${STATE_TABLE} WHERE pipeline = $1`, [pipeline])
  return count > 0
}
