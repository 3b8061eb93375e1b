/** The one importer of `pg-copy-streams`: COPY in both directions over a PgConnection. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { classifyPgError, type PgConnection } from './postgres.js'

/** Bytes that the stream reads ahead of its consumer. */
const COPY_BUFFER_BYTES = 256 * 1024

/** The output of `COPY ... TO STDOUT` as it comes. Pausing it pauses the socket. */
export function copyOut(connection: PgConnection, sql: string): Readable {
  return connection.client.query(copyTo(sql, { highWaterMark: COPY_BUFFER_BYTES }))
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
