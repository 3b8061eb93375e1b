/** Events of the binlog by their bytes: the header, and the kinds that say where the reader is. Row events: table-map.ts. */
import zlib from 'node:zlib'
import { TidemarkError } from '../../core/errors.js'

export const EVENT = {
  query: 2,
  stop: 3,
  rotate: 4,
  intvar: 5,
  rand: 13,
  userVar: 14,
  formatDescription: 15,
  xid: 16,
  tableMap: 19,
  writeRowsV1: 23,
  updateRowsV1: 24,
  deleteRowsV1: 25,
  incident: 26,
  heartbeat: 27,
  ignorable: 28,
  rowsQuery: 29,
  writeRows: 30,
  updateRows: 31,
  deleteRows: 32,
  gtid: 33,
  anonymousGtid: 34,
  previousGtids: 35,
  transactionContext: 36,
  viewChange: 37,
  xaPrepare: 38,
  partialUpdateRows: 39,
  transactionPayload: 40,
  heartbeatV2: 41,
  gtidTagged: 42,
  mariadbAnnotateRows: 160,
  mariadbCheckpoint: 161,
  mariadbGtid: 162,
  mariadbGtidList: 163,
  mariadbStartEncryption: 164,
  mariadbQueryCompressed: 165,
  mariadbWriteRowsCompressedV1: 166,
  mariadbUpdateRowsCompressedV1: 167,
  mariadbDeleteRowsCompressedV1: 168,
  mariadbWriteRowsCompressed: 169,
  mariadbUpdateRowsCompressed: 170,
  mariadbDeleteRowsCompressed: 171,
} as const

export const HEADER_BYTES = 19
const CHECKSUM_BYTES = 4
const FLAG_ARTIFICIAL = 0x20
const FLAG_IGNORABLE = 0x80

export interface EventHeader {
  readonly timestamp: number
  readonly type: number
  readonly serverId: number
  readonly length: number
  /** Low 32 bits of where the next event begins; 0: not said. */
  readonly next: number
  /** The server made it for this reader; it is in no file. */
  readonly artificial: boolean
  /** A reader that does not know the kind may leave it out. */
  readonly ignorable: boolean
}

export function readHeader(b: Buffer, at: number): EventHeader {
  const flags = b.readUInt16LE(at + 17)
  return {
    timestamp: b.readUInt32LE(at),
    type: b[at + 4]!,
    serverId: b.readUInt32LE(at + 5),
    length: b.readUInt32LE(at + 9),
    next: b.readUInt32LE(at + 13),
    artificial: (flags & FLAG_ARTIFICIAL) !== 0,
    ignorable: (flags & FLAG_IGNORABLE) !== 0,
  }
}

/** Whether the events of a file end in a checksum: the byte before the format description's own checksum says so. */
export function checksumsOf(b: Buffer, start: number, end: number): boolean {
  const version = b.toString('latin1', start + HEADER_BYTES + 2, start + HEADER_BYTES + 52).replace(/\0.*$/s, '')
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  const known = major > 5 || (major === 5 && (minor > 6 || (minor === 6 && patch >= 1) || /mariadb/i.test(version)))
  return known && b[end - CHECKSUM_BYTES - 1] === 1
}

/** Verifies the checksum and returns where the event ends before it. */
export function checkedEnd(b: Buffer, start: number, end: number, where: () => string): number {
  const body = end - CHECKSUM_BYTES
  if (crc(b, start, body) !== b.readUInt32LE(body)) {
    throw new TidemarkError('mysql.binlog_event', {
      message: `the event at ${where()} does not have the checksum that it was written with`,
      fix: 'The binlog file or the connection is damaged. Check the disk of the server; a retry reads the event again.',
      retriable: true,
    })
  }
  return body
}

const TABLE = Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c >>> 0
})

/** Node has had it built in since 20.15 and 22.2. */
const { crc32 } = zlib as unknown as { crc32?: (data: Buffer) => number }

export const crc =
  crc32 !== undefined
    ? (b: Buffer, start: number, end: number) => crc32(b.subarray(start, end))
    : (b: Buffer, start: number, end: number) => {
        let c = 0xffffffff
        for (let i = start; i < end; i++) c = TABLE[(c ^ b[i]!) & 0xff]! ^ (c >>> 8)
        return (c ^ 0xffffffff) >>> 0
      }

export interface RotateEvent {
  readonly file: string
  readonly position: number
}

export function readRotate(b: Buffer, start: number, end: number): RotateEvent {
  const at = start + HEADER_BYTES
  return { position: Number(b.readBigUInt64LE(at)), file: b.toString('utf8', at + 8, end) }
}

export interface QueryEvent {
  /** The default database. */
  readonly database: string
  readonly sql: string
  /** Of the session. */
  readonly thread: number
}

export function readQuery(b: Buffer, start: number, end: number): QueryEvent {
  const at = start + HEADER_BYTES
  const databaseLength = b[at + 8]!
  const variables = b.readUInt16LE(at + 11)
  const database = at + 13 + variables
  return {
    thread: b.readUInt32LE(at),
    database: b.toString('utf8', database, database + databaseLength),
    sql: b.toString('utf8', database + databaseLength + 1, end),
  }
}

/** Where the statement of a compressed query event begins. */
export function queryTextStart(b: Buffer, start: number): number {
  const at = start + HEADER_BYTES
  return at + 13 + b.readUInt16LE(at + 11) + b[at + 8]! + 1
}

export interface GtidEvent {
  /** `uuid` or `uuid:tag`; MariaDB: the domain. '' for an anonymous transaction. */
  readonly source: string
  readonly number: bigint
  /** MariaDB: the server that wrote it. */
  readonly serverId: number
  /** Commit time where the event has it, in microseconds. */
  readonly tsUs: bigint | null
  /** MariaDB: DDL and other groups of one event, without a commit. */
  readonly standalone: boolean
  readonly xa: 'prepare' | 'complete' | null
}

export function readGtid(b: Buffer, start: number, end: number): GtidEvent {
  const at = start + HEADER_BYTES
  const anonymous = b[start + 4] === EVENT.anonymousGtid
  const committed = at + 1 + 16 + 8 + 1 + 8 + 8
  let tsUs: bigint | null = null
  if (committed + 7 <= end && b[at + 25] === 2)
    tsUs = BigInt(b.readUIntLE(committed, 6)) + (BigInt(b[committed + 6]! & 0x7f) << 48n)
  return {
    source: anonymous ? '' : uuidAt(b, at + 1),
    number: anonymous ? 0n : b.readBigUInt64LE(at + 17),
    serverId: 0,
    tsUs,
    standalone: false,
    xa: null,
  }
}

/** A message of numbered fields; only flags, source, number and tag are read. */
export function readTaggedGtid(b: Buffer, start: number): GtidEvent {
  let at = start + HEADER_BYTES
  const next = () => {
    const { value, size } = variableInteger(b, at)
    at += size
    return value
  }
  next()
  next()
  next()
  let uuid = ''
  let number = 0n
  let tag = ''
  for (let field = next(); field <= 3n; field = next()) {
    if (field === 0n) next()
    else if (field === 1n) {
      const bytes = Buffer.alloc(16)
      for (let i = 0; i < 16; i++) bytes[i] = Number(next())
      uuid = uuidAt(bytes, 0)
    } else if (field === 2n) {
      const zigzag = next()
      number = zigzag >> 1n
    } else {
      const length = Number(next())
      tag = b.toString('latin1', at, at + length)
      break
    }
  }
  return { source: tag === '' ? uuid : `${uuid}:${tag}`, number, serverId: 0, tsUs: null, standalone: false, xa: null }
}

/** The ones at the end of the first byte count the bytes that follow. */
function variableInteger(b: Buffer, at: number): { readonly value: bigint; readonly size: number } {
  const first = b[at]!
  let extra = 0
  while (extra < 8 && (first >> extra) & 1) extra++
  if (extra === 8) return { value: b.readBigUInt64LE(at + 1), size: 9 }
  let value = 0n
  for (let i = extra; i >= 0; i--) value = (value << 8n) | BigInt(b[at + i]!)
  return { value: value >> BigInt(extra + 1), size: extra + 1 }
}

const MARIADB_STANDALONE = 1
const MARIADB_XA_PREPARED = 64
const MARIADB_XA_COMPLETED = 128

export function readMariadbGtid(b: Buffer, start: number): GtidEvent {
  const at = start + HEADER_BYTES
  const flags = b[at + 12]!
  return {
    source: String(b.readUInt32LE(at + 8)),
    number: b.readBigUInt64LE(at),
    serverId: b.readUInt32LE(start + 5),
    tsUs: null,
    standalone: (flags & MARIADB_STANDALONE) !== 0,
    xa: flags & MARIADB_XA_PREPARED ? 'prepare' : flags & MARIADB_XA_COMPLETED ? 'complete' : null,
  }
}

export function uuidAt(b: Buffer, at: number): string {
  const hex = b.toString('hex', at, at + 16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The id of an XA transaction as XA PREPARE's own event has it, in the form that XA COMMIT's statement has. */
export function readXaPrepare(b: Buffer, start: number): { readonly xid: string; readonly onePhase: boolean } {
  const at = start + HEADER_BYTES
  const format = b.readInt32LE(at + 1)
  const global = b.readInt32LE(at + 5)
  const branch = b.readInt32LE(at + 9)
  const hex = (from: number, length: number) => b.toString('hex', from, from + length)
  return { xid: `${hex(at + 13, global)},${hex(at + 13 + global, branch)},${format}`, onePhase: b[at] === 1 }
}

/** The same of `XA COMMIT X'7831',X'',1`; null: the statement is none. */
export function xaStatement(sql: string): { readonly verb: string; readonly xid: string } | null {
  const match = /^\s*XA\s+(START|BEGIN|END|COMMIT|ROLLBACK|PREPARE)\s+X'([0-9a-f]*)',X'([0-9a-f]*)',(-?\d+)/i.exec(sql)
  if (match === null) return null
  const [, verb, global, branch, format] = match
  return { verb: verb!.toUpperCase(), xid: `${global!.toLowerCase()},${branch!.toLowerCase()},${format}` }
}

/** Length-encoded integers of table maps and row events. */
export function packedInteger(b: Buffer, at: number): { readonly value: number; readonly next: number } {
  const first = b[at]!
  if (first < 0xfb) return { value: first, next: at + 1 }
  if (first === 0xfc) return { value: b.readUInt16LE(at + 1), next: at + 3 }
  if (first === 0xfd) return { value: b.readUIntLE(at + 1, 3), next: at + 4 }
  return { value: Number(b.readBigUInt64LE(at + 1)), next: at + 9 }
}
