/**
 * Decodes pgoutput messages (protocol version 1). Values stay text as the server sent them; a tuple becomes an array in
 * column order, null for NULL and undefined for an unchanged TOAST value. OIDs and xids are unsigned.
 */
import { isAscii } from 'node:buffer'
import { TidemarkError } from '../../core/errors.js'
import type { Row, Value } from '../../core/model.js'

export interface RelationMessage {
  readonly oid: number
  readonly namespace: string
  readonly name: string
  /** d default, n nothing, f full, i index. */
  readonly replicaIdentity: string
  readonly columns: readonly {
    readonly name: string
    readonly typeOid: number
    readonly typmod: number
    readonly isKey: boolean
  }[]
}

export const MESSAGE = {
  begin: 0x42,
  commit: 0x43,
  relation: 0x52,
  type: 0x59,
  origin: 0x4f,
  insert: 0x49,
  update: 0x55,
  delete: 0x44,
  truncate: 0x54,
  logical: 0x4d,
} as const

/** Microseconds between 1970 and 2000. */
const EPOCH_2000_US = 946_684_800_000_000n

export function decodeBegin(b: Buffer, o: number): { finalLsn: bigint; tsUs: bigint; xid: number } {
  return {
    finalLsn: b.readBigUInt64BE(o + 1),
    tsUs: b.readBigInt64BE(o + 9) + EPOCH_2000_US,
    xid: b.readUInt32BE(o + 17),
  }
}

export function decodeCommit(b: Buffer, o: number): { commitLsn: bigint; endLsn: bigint } {
  return { commitLsn: b.readBigUInt64BE(o + 2), endLsn: b.readBigUInt64BE(o + 10) }
}

export function decodeRelation(b: Buffer, start: number): RelationMessage {
  let o = start + 5
  const text = () => {
    const end = b.indexOf(0, o)
    const value = b.toString('utf8', o, end)
    o = end + 1
    return value
  }
  const oid = b.readUInt32BE(start + 1)
  const namespace = text() || 'pg_catalog'
  const name = text()
  const replicaIdentity = String.fromCharCode(b[o++]!)
  const count = b.readUInt16BE(o)
  o += 2
  const columns = Array.from({ length: count }, () => {
    const isKey = (b[o++]! & 1) === 1
    const column = text()
    const typeOid = b.readUInt32BE(o)
    const typmod = b.readInt32BE(o + 4)
    o += 8
    return { name: column, typeOid, typmod, isKey }
  })
  return { oid, namespace, name, replicaIdentity, columns }
}

export function decodeTruncate(b: Buffer, o: number): number[] {
  const count = b.readUInt32BE(o + 1)
  return Array.from({ length: count }, (_, i) => b.readUInt32BE(o + 6 + 4 * i))
}

/** Reads tuples; `offset` is behind the last one afterwards. One instance per connection, so that nothing is allocated per row. */
export class TupleReader {
  offset = 0

  /** The tuple at `offset` of a message that ends at `end`. */
  read(b: Buffer, end: number): Row {
    const count = b.readUInt16BE(this.offset)
    this.offset += 2
    return count > 0 && isAscii(b.subarray(this.offset, end)) ? this.#ascii(b, end, count) : this.#any(b, count)
  }

  /** Lengths below 128 and plain text: one slice for all, values are substrings of it. */
  #ascii(b: Buffer, end: number, count: number): Row {
    const base = this.offset
    const text = b.toString('latin1', base, end)
    const row: Value[] = new Array(count)
    let o = 0
    for (let i = 0; i < count; i++) {
      const kind = text.charCodeAt(o)
      if (kind === 0x74) {
        const length = b.readUInt32BE(base + o + 1)
        row[i] = text.substring(o + 5, o + 5 + length)
        o += 5 + length
      } else {
        row[i] = absent(kind)
        o++
      }
    }
    this.offset = base + o
    return row
  }

  #any(b: Buffer, count: number): Row {
    const row: Value[] = new Array(count)
    let o = this.offset
    for (let i = 0; i < count; i++) {
      const kind = b[o]!
      if (kind === 0x74) {
        const length = b.readUInt32BE(o + 1)
        row[i] = b.toString('utf8', o + 5, o + 5 + length)
        o += 5 + length
      } else {
        row[i] = absent(kind)
        o++
      }
    }
    this.offset = o
    return row
  }
}

function absent(kind: number): null | undefined {
  if (kind === 0x6e) return null
  if (kind === 0x75) return undefined
  throw new TidemarkError('core.bug', { message: `a tuple column has the unknown kind ${kind}` })
}
