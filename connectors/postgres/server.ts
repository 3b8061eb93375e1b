/**
 * The server that one attempt works with. Always true: every connection of the attempt leads to the same run of the same
 * server, so that no snapshot, no mark and no log of another one are taken together (1.10 e) - behind one address a proxy
 * may send new connections to a server that was just promoted.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Abortable, SavedPlace } from '../../core/source.js'
import { connectPg, formatLsn, type PgConnection, type PgOptions, quoteIdent } from '../../drivers/postgres.js'
import { type ServerRun, serverRun, type TimelineSwitch, timelineHistory } from '../../drivers/postgres-timeline.js'
import type { ServerFacts } from './catalog.js'
import { parsePosition } from './position.js'
import { standby } from './readiness.js'

/** Slots survive a failover from this version on. */
const FAILOVER_SLOTS_VERSION_MIN = 170_000

export class SourceServer {
  readonly control: PgConnection
  readonly run: ServerRun
  readonly timeline: string
  readonly #options: PgOptions

  private constructor(options: PgOptions, control: PgConnection, run: ServerRun, timeline: string) {
    this.#options = options
    this.control = control
    this.run = run
    this.timeline = timeline
  }

  static async connect(options: PgOptions, { signal }: Abortable): Promise<SourceServer> {
    const control = await connectPg(options, { signal })
    const run = await serverRun(control)
    if (run.timeline !== null) return new SourceServer(options, control, run, run.timeline)
    await control.close()
    const { message, fix } = standby
    // It may be about to be promoted: a pipeline that ran before tries again.
    throw new TidemarkError('postgres.not_ready', { message, fix, retriable: true })
  }

  /** One more connection to it. */
  async connect({ signal }: Abortable): Promise<PgConnection> {
    const connection = await connectPg(this.#options, { signal })
    try {
      this.verify(await serverRun(connection))
      return connection
    } catch (error) {
      await connection.close()
      throw error
    }
  }

  verify(run: ServerRun): void {
    const { host, port } = this.#options
    const was = this.run
    if (
      run.systemIdentifier === was.systemIdentifier &&
      run.timeline === was.timeline &&
      run.startedAt === was.startedAt
    )
      return
    throw new TidemarkError('postgres.connection', {
      message: `${host}:${port} led to another server, or the server was restarted: first started at ${was.startedAt} on timeline ${was.timeline}, then ${run.startedAt} on ${run.timeline ?? 'none'}`,
      retriable: true,
    })
  }

  /** 1.10 k: names of identity values whose change is fine. Throws when the checkpoint's timeline was left too early. */
  async judge(saved: SavedPlace | null, slot: string, server: ServerFacts, options: Abortable): Promise<string[]> {
    const was = saved?.identity.timeline
    const sameServer = saved?.identity.systemIdentifier === this.run.systemIdentifier
    if (saved === null || !sameServer || was === undefined || was === this.timeline) return []
    if (saved.position === null) return ['timeline']
    const history = await timelineHistory(this.#options, this.timeline, options)
    const [row] = await this.control.query(
      `select (to_jsonb(s)->>'failover' = 'true' and to_jsonb(s)->>'synced' = 'true')::text from pg_replication_slots s where slot_name = $1`,
      [slot],
    )
    const reason = refusal({
      was,
      now: this.timeline,
      saved,
      slot,
      history,
      slots: server.version >= FAILOVER_SLOTS_VERSION_MIN,
      synced: row === undefined ? null : row[0] === 'true',
    })
    if (reason !== null) throw new TidemarkError('postgres.timeline', { ...reason, at: 'source' })
    return ['timeline']
  }
}

export interface NewTimeline {
  readonly was: string
  readonly now: string
  readonly saved: SavedPlace
  readonly slot: string
  /** null: the server does not have it. */
  readonly history: readonly TimelineSwitch[] | null
  /** The server version has failover slots. */
  readonly slots: boolean
  /** The slot came here from the primary; null: there is none. */
  readonly synced: boolean | null
}

const ANEW = 'start anew: run `tidemark drop FILE`, empty the targets, run `tidemark sync FILE`.'

/** Why a pipeline cannot go on on another timeline, null when it can. */
export function refusal(change: NewTimeline): { readonly message: string; readonly fix: string } | null {
  const { was, now, saved, slot, history, slots, synced } = change
  const went = `the checkpoint was made on timeline ${was} of the server, which is on timeline ${now} now (a failover, or a restore)`
  const left = history?.find(({ timeline }) => timeline === was)
  if (history === null || left === undefined) {
    const why = history === null ? 'its history file is missing' : `that does not come from timeline ${was}`
    return { message: `${went}: ${why}`, fix: `Connect to a server that goes on from timeline ${was}, or ${ANEW}` }
  }
  // Rows of a chunk may show commits that the log had yet to deliver: those must be here too.
  const needed = needs(saved)
  if (left.at < needed) {
    return {
      message: `${went}: it left timeline ${was} at ${formatLsn(left.at)}, but the targets hold changes up to ${formatLsn(needed)}; what committed in between is lost on this server`,
      fix: `Connect to a server that has timeline ${was} up to ${formatLsn(needed)}, or ${ANEW} Before the next failover, name the standbys' slots in synchronized_standby_slots on the primary: then no change is delivered before they have it.`,
    }
  }
  if (!slots) {
    const why = `slots do not survive that before PostgreSQL 17, so changes after ${saved.position} may be gone`
    return { message: `${went}: ${why}`, fix: `Connect to a server on timeline ${was}, or ${ANEW}` }
  }
  if (synced === true) return null
  const state = synced === null ? 'does not exist here' : 'was not synchronized from the old primary'
  return {
    message: `${went}: replication slot ${slot} ${state}, so changes after ${saved.position} may be gone`,
    fix: `Set sync_replication_slots = on at the standbys before the next failover; the slot itself must be a failover slot (as replication user: ALTER_REPLICATION_SLOT ${quoteIdent(slot)} (FAILOVER true)). Now ${ANEW}`,
  }
}

/** What the switch must not lie before. */
function needs({ position, shown }: SavedPlace): bigint {
  const { completed, inside } = parsePosition(position!)
  // The commit record begins at finalLsn, so the switch lies behind that.
  const ends = [shown, inside === null ? 0n : inside.finalLsn + 1n]
  let highest = completed
  for (const end of ends) if (end > highest) highest = end
  return highest
}
