/** Compressed pieces of the log: MySQL's whole transactions (zstd), MariaDB's single events (zlib). */
import zlib from 'node:zlib'
import { Decompress } from 'fzstd'
import { TidemarkError } from '../../core/errors.js'
import { type EventHeader, HEADER_BYTES, packedInteger, readHeader } from './binlog-events.js'
import type { RowKind } from './row-events.js'

/** How much of a payload is decompressed before what came of it is decoded. */
const SLICE_BYTES = 64 * 1024

const FIELD = { end: 0, size: 1, method: 2, unpacked: 3 } as const
const ZSTD = 0
const NONE = 255

export interface PayloadEvent {
  readonly header: EventHeader
  readonly bytes: Buffer
  readonly from: number
  readonly to: number
}

/** The events inside the body of a TRANSACTION_PAYLOAD event, a few at a time. They have no checksums of their own. */
export async function* payloadEvents(body: Buffer): AsyncGenerator<PayloadEvent[]> {
  const { method, data } = readPayload(body)
  let rest: Buffer = Buffer.alloc(0)
  const framed = (chunk: Buffer): PayloadEvent[] => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const events: PayloadEvent[] = []
    let at = 0
    while (at + HEADER_BYTES <= bytes.length) {
      const header = readHeader(bytes, at)
      if (at + header.length > bytes.length) break
      events.push({ header, bytes, from: at, to: at + header.length })
      at += header.length
    }
    rest = bytes.subarray(at)
    return events
  }
  if (method === NONE) yield framed(data)
  else {
    const chunks: Buffer[] = []
    const stream = new Decompress((chunk) => chunks.push(Buffer.from(chunk)))
    for (let at = 0; at < data.length; at += SLICE_BYTES) {
      stream.push(data.subarray(at, at + SLICE_BYTES), at + SLICE_BYTES >= data.length)
      for (const chunk of chunks.splice(0)) yield framed(chunk)
    }
  }
  if (rest.length > 0) throw damaged('a compressed transaction ends inside an event')
}

function readPayload(body: Buffer): { readonly method: number; readonly data: Buffer } {
  let method = NONE
  for (let at = 0; ; ) {
    const type = packedInteger(body, at)
    if (type.value === FIELD.end) return checked(method, body.subarray(type.next))
    const length = packedInteger(body, type.next)
    if (type.value === FIELD.method) method = packedInteger(body, length.next).value
    at = length.next + length.value
    if (at > body.length) throw damaged('the header of a compressed transaction is damaged')
  }
}

function checked(method: number, data: Buffer): { readonly method: number; readonly data: Buffer } {
  if (method !== ZSTD && method !== NONE) throw damaged(`a transaction is compressed by the unknown method ${method}`)
  return { method, data }
}

/** The rows of a MariaDB event: in front of them, uncompressed, the column count and the images' columns. */
export function inflatedRows(
  b: Buffer,
  from: number,
  end: number,
  kind: RowKind,
): { readonly bytes: Buffer; readonly from: number; readonly end: number } {
  const { value: count, next } = packedInteger(b, from)
  const head = next + ((count + 7) >> 3) * (kind === 'update' ? 2 : 1)
  const bytes = Buffer.concat([b.subarray(from, head), inflated(b, head, end)])
  return { bytes, from: 0, end: bytes.length }
}

/** MariaDB's compressed block: a byte with the size of the length, the length, zlib. */
export function inflated(b: Buffer, at: number, end: number): Buffer {
  const lengthBytes = b[at]! & 0x07
  if ((b[at]! & 0xf0) !== 0x80) throw damaged('an event is compressed by an unknown method')
  return zlib.inflateSync(b.subarray(at + 1 + lengthBytes, end))
}

function damaged(message: string): TidemarkError {
  return new TidemarkError('mysql.binlog_event', { message, fix: 'Please report this with the version of the server.' })
}
