/**
 * COPY in both directions over a PgConnection. Into the server through `pg-copy-streams`, whose one importer this is.
 * Out of the server by taking the socket's data while the COPY runs: the library passes each row through several
 * buffers, which costs more than decoding it.
 */
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { onDemand } from './on-demand.js'
import { classifyPgError, type PgConnection } from './postgres.js'

const copyStreams = onDemand<typeof import('pg-copy-streams')>('pg-copy-streams')

/** Bytes that the stream reads ahead of its consumer. */
const COPY_BUFFER_BYTES = 256 * 1024
/** What arrives is copied into blocks of this size, one behind the other: the socket's own buffers die young. */
const BLOCK_BYTES = 256 * 1024
/** Free behind the bytes of a piece, in the same memory: whoever reads it may read words that reach over its end. */
export const COPY_SLACK_BYTES = 4
const COPY_DATA = 0x64
const COPY_OUT_RESPONSE = 0x48
/** What a server may say at any time, also between two rows: a notice, a changed setting, a notification. */
const ASIDES: readonly number[] = [0x4e, 0x53, 0x41]
/** In front of each message: its kind, and the size of the rest with the size itself. */
export const FRAME_BYTES = 5

/** The part of pg's connection object that a query submitted to it may use. */
interface RawConnection {
  readonly stream: Socket
  query(text: string): void
}

export type CopyPieces = (piece: Buffer, messages: number, last: number) => void

const EMPTY = Buffer.alloc(COPY_SLACK_BYTES)

/** A running `COPY ... TO STDOUT`. */
export class CopyOut {
  /** Resolves when the server is ready for the next statement; rejects with the server's error, unclassified. */
  readonly over: Promise<void>
  readonly #text: string
  readonly #data: CopyPieces
  #resolve: () => void = () => {}
  #reject: (error: Error) => void = () => {}
  #stream: Socket | null = null
  #parser: ((chunk: Buffer) => void) | null = null
  #copied = 0
  #block = EMPTY
  /** What was read of the block, and what was written to it. */
  #read = 0
  #written = 0
  #paused = false

  /**
   * `data` gets whole messages of CopyData as they came, several at a time, how many they are, and where the last one
   * begins: the protocol sends one for each row. The piece may be kept.
   */
  constructor(connection: PgConnection, sql: string, data: CopyPieces) {
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

  /** The server says how many rows it sent: none may have gone anywhere else. */
  handleCommandComplete({ text }: { readonly text: string }): void {
    if (text !== `COPY ${this.#copied}`) this.#reject(new Error(`${this.#copied} rows of "${text}" arrived`))
  }

  handleCopyData(): void {}
  handleRowDescription(): void {}

  /** The first message that is neither CopyData nor the copy's beginning ends it and goes to pg's own parser. */
  readonly #take = (chunk: Buffer): void => {
    for (let from = 0; from < chunk.length; ) {
      this.#makeRoom()
      const taken = chunk.copy(this.#block, this.#written, from, from + this.#free())
      this.#written += taken
      from += taken
      if (this.#messages()) continue
      const unread = this.#block.subarray(this.#read, this.#written)
      this.#block = EMPTY
      this.#giveBack(Buffer.concat([unread, chunk.subarray(from)]))
      return
    }
  }

  /** Passes on what is whole. False: the copy is over, and what is unread belongs to somebody else. */
  #messages(): boolean {
    const b = this.#block
    let begin = this.#read
    let read = begin
    let last = begin
    let count = 0
    const passOn = () => {
      this.#read = read
      if (count === 0) return
      this.#copied += count
      const piece = b.subarray(begin, read)
      const lines = count
      count = 0
      this.#data(piece, lines, last - begin)
    }
    while (this.#written - read >= FRAME_BYTES) {
      const kind = b[read]!
      const end = read + b.readUInt32BE(read + 1) + 1
      if (kind === COPY_DATA) {
        if (end > this.#written) break
        last = read
        count++
        read = end
        continue
      }
      const aside = ASIDES.includes(kind)
      if (!aside && kind !== COPY_OUT_RESPONSE) {
        passOn()
        return false
      }
      if (end > this.#written) break
      passOn()
      if (aside) this.#parser!(Buffer.from(b.subarray(read, end)))
      read = begin = end
    }
    passOn()
    return true
  }

  #free(): number {
    return this.#block.length - COPY_SLACK_BYTES - this.#written
  }

  /** A full block is left to its pieces; what is not whole yet moves to the next, which holds all of it. */
  #makeRoom(): void {
    if (this.#free() > 0) return
    const rest = this.#block.subarray(this.#read, this.#written)
    const wanted = rest.length < FRAME_BYTES ? FRAME_BYTES : rest.readUInt32BE(1) + 1
    this.#block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, wanted + COPY_SLACK_BYTES))
    rest.copy(this.#block)
    this.#read = 0
    this.#written = rest.length
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
  const stream = connection.client.query(copyStreams().from(sql, { highWaterMark: COPY_BUFFER_BYTES }))
  try {
    await pipeline(Readable.from(chunks, { objectMode: true }), stream)
    return stream.rowCount
  } catch (error) {
    throw classifyPgError(error, connection.options)
  }
}
