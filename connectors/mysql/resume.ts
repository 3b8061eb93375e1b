/** Whether the log still holds everything behind a checkpoint, and is the one it was made with (rule a). */
import { TidemarkError } from '../../core/errors.js'
import type { MysqlConnection, MysqlOptions } from '../../drivers/mysql.js'
import { BinlogStream } from '../../drivers/mysql-replication.js'
import { checksumsOf, crc, EVENT, readHeader } from './binlog-events.js'
import type { MysqlPosition } from './position.js'
import { fileNumber, logEndOf, type ServerFacts } from './server.js'

const START_ANEW = 'Run `tidemark drop FILE`, empty the targets and start anew.'
/** How long the last event may take to come again. */
const REREAD_MS_MAX = 30_000

export interface ResumeOptions {
  readonly where: MysqlOptions
  readonly reader: { readonly serverId: number; readonly uuid: string }
  readonly signal: AbortSignal
}

export async function requireLog(
  connection: MysqlConnection,
  server: ServerFacts,
  position: MysqlPosition,
  options: ResumeOptions,
): Promise<void> {
  if (position.gtids !== null && !server.gtids) {
    throw lost('the checkpoint has GTIDs and the server has none now', `Set gtid_mode = ON again. Else: ${START_ANEW}`)
  }
  if (position.gtids !== null && !server.mariadb) await requireGtids(connection, position.gtids)
  const sameServer = position.server === server.identity
  if (position.gtids === null || server.mariadb || sameServer)
    await requireFile(connection, server, position, sameServer)
  if (sameServer && position.last !== null) await requireLast(connection, position.last, options)
}

async function requireGtids(connection: MysqlConnection, gtids: string): Promise<void> {
  const [[purged, beyond]] = (await connection.query(
    `SELECT GTID_SUBTRACT(@@GLOBAL.gtid_purged, '${gtids}'), GTID_SUBTRACT('${gtids}', @@GLOBAL.gtid_executed)`,
  )) as [[string, string]]
  if (purged !== '') {
    throw lost(`the server has purged transactions that were not delivered yet: ${purged}`, retention())
  }
  if (beyond !== '') {
    throw lost(
      `the server does not have transactions that were delivered: ${beyond}. It lost the end of its log in a crash, was reset, or was restored`,
      START_ANEW,
    )
  }
}

async function requireFile(
  connection: MysqlConnection,
  server: ServerFacts,
  { file, at }: MysqlPosition,
  sameServer: boolean,
): Promise<void> {
  if (!sameServer) return
  const logs = await connection.query('SHOW BINARY LOGS')
  const names = logs.map(([name]) => name!)
  const end = await logEndOf(connection, server)
  const behind = fileNumber(file) > fileNumber(end.file) || (file === end.file && at > end.at)
  if (behind) {
    throw lost(
      `the checkpoint lies at ${file}:${at}, but the log ends at ${end.file}:${end.at}. The server lost the end of its log, or the log was reset`,
      START_ANEW,
    )
  }
  if (names.includes(file)) return
  throw lost(`${file} is needed and was purged; the oldest is ${names[0] ?? 'none'}`, retention())
}

/** The last delivered transaction's first event is read again and must be the same: after a crash another may have its place and GTID. */
async function requireLast(
  connection: MysqlConnection,
  last: string,
  { where, reader, signal }: ResumeOptions,
): Promise<void> {
  const [file, at, digest] = last.split('/') as [string, string, string]
  const logs = await connection.query('SHOW BINARY LOGS')
  // Purged since: what lies behind it was checked.
  if (!logs.some(([name]) => name === file)) return
  const end = new AbortController()
  const over = AbortSignal.any([signal, end.signal, AbortSignal.timeout(REREAD_MS_MAX)])
  let checksums = false
  let found: (crc: number | null) => void = () => {}
  const first = new Promise<number | null>((resolve) => {
    found = resolve
  })
  const event = (b: Buffer, start: number, stop: number) => {
    const { type } = readHeader(b, start)
    if (type === EVENT.formatDescription) checksums = checksumsOf(b, start, stop)
    else if (type === EVENT.heartbeat) found(null)
    else if (type !== EVENT.rotate) found(crc(b, start, checksums ? stop - 4 : stop))
  }
  const stream = await BinlogStream.start(
    where,
    connection.tls,
    { start: { kind: 'file', file, position: Number(at) }, ...reader },
    { event, drained() {} },
    over,
  )
  try {
    const now = await Promise.race([first, stream.failed.catch(() => null), aborted(over)])
    if (now !== null && String(now) === digest) return
    signal.throwIfAborted()
    throw lost(
      `the event at ${file}:${at} is not the one that was delivered last: the server lost the end of its log and wrote another`,
      START_ANEW,
    )
  } finally {
    end.abort()
    await stream.stop()
  }
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(null), { once: true }))
}

function retention(): string {
  return `Keep binary logs longer: SET GLOBAL binlog_expire_logs_seconds = 604800; (RDS: CALL mysql.rds_set_configuration('binlog retention hours', 168);). ${START_ANEW}`
}

function lost(message: string, fix: string): TidemarkError {
  return new TidemarkError('mysql.position_lost', { message, fix })
}
