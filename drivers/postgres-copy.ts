/**
 * COPY in both directions over a PgConnection. Into the server through `pg-copy-streams`, whose one importer this is.
 * Out of the server by taking the socket's data while the COPY runs: the library passes each row through several
 * buffers, which costs more than decoding it.
 */
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { from as copyFrom } from 'pg-copy-streams'
import { classifyPgError, type PgConnection } from './postgres.js'

/** Bytes that the stream reads ahead of its consumer. */
const COPY_BUFFER_BYTES = 256 * 1024
const COPY_DATA = 0x64
const COPY_OUT_RESPONSE = 0x48
const HEADER_BYTES = 5

/** The part of pg's connection object that a query submitted to it may use. */
interface RawConnection {
  readonly stream: Socket
  query(text: string): void
}

/** A running `COPY ... TO STDOUT`. */
export class CopyOut {
  /** Resolves when the server is ready for the next statement; rejects with the server's error, unclassified. */
  readonly over: Promise<void>
  readonly #text: string
  readonly #data: (piece: Buffer, lines: number) => void
  #resolve: () => void = () => {}
  #reject: (error: Error) => void = () => {}
  #stream: Socket | null = null
  #parser: ((chunk: Buffer) => void) | null = null
  /** A message that has not wholly arrived, in pieces: joined once, however large it is. */
  #rest: Buffer[] = []
  #restBytes = 0
  #restWanted = 0
  #paused = false

  /** `data` gets whole lines of COPY text, several at a time, and how many they are. The piece may be kept. */
  constructor(connection: PgConnection, sql: string, data: (piece: Buffer, lines: number) => void) {
    this.#text = sql
    this.#data = data
    this.over = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    void connection.ended.then((error) => this.#reject(error ?? new Error('the connection was closed')))
    connection.client.query(this as never)
  }

  pause(): void {
    this.#paused = true
    this.#stream?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#stream?.resume()
  }

  // ---- what pg calls on a submitted query

  submit(connection: RawConnection): void {
    const stream = connection.stream
    const parsers = stream.listeners('data') as ((chunk: Buffer) => void)[]
    if (parsers.length !== 1) throw new Error('the connection is used by something else')
    this.#stream = stream
    this.#parser = parsers[0]!
    stream.removeListener('data', this.#parser)
    stream.on('data', this.#take)
    if (this.#paused) stream.pause()
    connection.query(this.#text)
  }

  /** pg forgets a query that failed, so handleReadyForQuery() does not follow; the next statement waits for it all the same. */
  handleError(error: Error): void {
    this.#giveBack()
    this.#reject(error)
  }

  handleReadyForQuery(): void {
    this.#resolve()
  }

  handleCommandComplete(): void {}
  handleCopyData(): void {}
  handleRowDescription(): void {}

  /** Strips the frames of CopyData in place; the first other message ends the copy and goes to pg's own parser. */
  readonly #take = (chunk: Buffer): void => {
    const b = this.#joined(chunk)
    if (b === null) return
    let read = 0
    let write = 0
    // The protocol sends one message for each row.
    let lines = 0
    while (b.length - read >= HEADER_BYTES) {
      const kind = b[read]!
      const size = b.readUInt32BE(read + 1) + 1
      if (kind !== COPY_DATA && kind !== COPY_OUT_RESPONSE) {
        if (lines > 0) this.#data(b.subarray(0, write), lines)
        this.#giveBack(b.subarray(read))
        return
      }
      if (b.length - read < size) break
      if (kind === COPY_DATA) {
        b.copyWithin(write, read + HEADER_BYTES, read + size)
        write += size - HEADER_BYTES
        lines++
      }
      read += size
    }
    if (read < b.length) this.#keep(Buffer.from(b.subarray(read)))
    if (lines > 0) this.#data(b.subarray(0, write), lines)
  }

  /** Null while the message that the rest began with is still incomplete. */
  #joined(chunk: Buffer): Buffer | null {
    if (this.#rest.length === 0) return chunk
    this.#rest.push(chunk)
    this.#restBytes += chunk.length
    if (this.#restBytes < this.#restWanted) return null
    const whole = Buffer.concat(this.#rest)
    this.#rest = []
    return whole
  }

  #keep(rest: Buffer): void {
    this.#rest = [rest]
    this.#restBytes = rest.length
    this.#restWanted = rest.length < HEADER_BYTES ? HEADER_BYTES : rest.readUInt32BE(1) + 1
  }

  #giveBack(unread?: Buffer): void {
    const stream = this.#stream
    if (stream === null) return
    this.#stream = null
    stream.removeListener('data', this.#take)
    stream.on('data', this.#parser!)
    if (stream.isPaused()) stream.resume()
    if (unread !== undefined) this.#parser!(unread)
  }
}

/** Feeds `COPY ... FROM STDIN` and resolves with the number of rows. */
export async function copyIn(
  connection: PgConnection,
  sql: string,
  chunks: Iterable<Buffer | string> | AsyncIterable<Buffer | string>,
): Promise<number> {
  const stream = connection.client.query(copyFrom(sql, { highWaterMark: COPY_BUFFER_BYTES }))
  try {
    await pipeline(Readable.from(chunks, { objectMode: true }), stream)
    return stream.rowCount
  } catch (error) {
    throw classifyPgError(error, connection.options)
  }
}
