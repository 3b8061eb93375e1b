/**
 * Where a reader resumes: what is complete (a GTID set, MariaDB's place in each domain, a place in a file) and how many row events
 * of the transaction behind it were delivered. Ordinals are places in the log of one server: file number and offset, both
 * of the transaction's first event, above a base that a failover raises, so that they grow for ever (rule k).
 */
import { TidemarkError } from '../../core/errors.js'
import type { Position } from '../../core/model.js'
import { fileNumber, type LogPlace } from './server.js'

export interface Inside {
  /** `source:number` of the transaction, or its ordinal where there are no GTIDs. */
  readonly id: string
  readonly events: number
}

export interface MysqlPosition extends LogPlace {
  /** ServerFacts.identity of the server whose file it is. */
  readonly server: string
  /** Added to every ordinal of that server. */
  readonly base: bigint
  /** What is complete, in the server's own text; null: the server has none, so the file place says it. */
  readonly gtids: string | null
  readonly inside: Inside | null
  /** Rule a: the last delivered transaction's first event: offset, length and checksum, `file/at/crc`; null: none yet. */
  readonly last: string | null
}

const FILE_BITS = 40n

export function ordinalOf(base: bigint, { file, at }: LogPlace): bigint {
  return base + (BigInt(fileNumber(file)) << FILE_BITS) + BigInt(at)
}

/** Rule k: the ordinals of another server's log go on above those of the last one's. */
export function baseOn(server: string, from: MysqlPosition): bigint {
  return from.server === server ? from.base : ordinalOf(from.base, from) + 1n
}

export function formatMysqlPosition(p: MysqlPosition): Position {
  const { server, file, at, base, gtids, inside, last } = p
  return JSON.stringify({
    server,
    file,
    at,
    ...(gtids === null ? {} : { gtids }),
    ...(inside === null ? {} : { inside: [inside.id, inside.events] }),
    ...(last === null ? {} : { last }),
    ...(base === 0n ? {} : { base: String(base) }),
  }) as Position
}

interface Saved {
  readonly server: string
  readonly file: string
  readonly at: number
  readonly gtids?: string
  readonly inside?: readonly [string, number]
  readonly last?: string
  readonly base?: string
}

export function parseMysqlPosition(text: Position): MysqlPosition {
  let saved: Saved
  try {
    saved = JSON.parse(text) as Saved
  } catch (cause) {
    throw new TidemarkError('core.checkpoint_unreadable', { message: `"${text}" is no position of a binlog`, cause })
  }
  return {
    server: saved.server,
    file: saved.file,
    at: saved.at,
    base: BigInt(saved.base ?? 0),
    gtids: saved.gtids ?? null,
    inside: saved.inside === undefined ? null : { id: saved.inside[0], events: saved.inside[1] },
    last: saved.last ?? null,
  }
}
