/** Timelines of a server: which one it writes, and where it left those before. Asked with what the replication role may ask. */
import { connectPg, type PgConnection, type PgOptions, sqlState } from './postgres.js'
import { parseLsn } from './postgres-lsn.js'

/** The first timeline of a cluster has no history. */
const FIRST_TIMELINE = '1'
const FILE_MISSING = '58P01'

/** What tells one run of one server from every other. */
export interface ServerRun {
  readonly systemIdentifier: string
  /** null: the server is a standby and writes none. */
  readonly timeline: string | null
  readonly startedAt: string
}

/**
 * The timeline is that of the WAL being written: the control file still names the one before for a while after a promotion.
 * Also runs on replication connections.
 */
export const SERVER_RUN_SQL = `select (select system_identifier::text from pg_control_system()),
  case when not pg_is_in_recovery() then ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint::text end,
  pg_postmaster_start_time()::text`

export function serverRunOf(row: readonly (string | null)[] | undefined): ServerRun {
  const [system, timeline, startedAt] = row ?? []
  return { systemIdentifier: system ?? '', timeline: timeline ?? null, startedAt: startedAt ?? '' }
}

export async function serverRun(connection: PgConnection): Promise<ServerRun> {
  return serverRunOf((await connection.query(SERVER_RUN_SQL))[0])
}

/** Where a timeline ended and the next one of the history began. */
export interface TimelineSwitch {
  readonly timeline: string
  readonly at: bigint
}

/** The timelines before this one, oldest first; null when the server does not have its history. */
export async function timelineHistory(
  options: PgOptions,
  timeline: string,
  { signal }: { readonly signal: AbortSignal },
): Promise<TimelineSwitch[] | null> {
  if (timeline === FIRST_TIMELINE) return []
  const connection = await connectPg(options, { signal, replication: true })
  try {
    const [row] = await connection.query(`TIMELINE_HISTORY ${timeline}`)
    return parseHistory(row?.[1] ?? '')
  } catch (error) {
    if (sqlState(error) === FILE_MISSING) return null
    throw error
  } finally {
    await connection.close()
  }
}

/** Lines of `timeline, switch point, reason`; comments begin with #. */
export function parseHistory(text: string): TimelineSwitch[] {
  return text.split('\n').flatMap((line) => {
    const [timeline, at] = line.trim().split(/\s+/)
    if (!timeline || timeline.startsWith('#') || at === undefined) return []
    return [{ timeline: `${Number(timeline)}`, at: parseLsn(at) }]
  })
}
