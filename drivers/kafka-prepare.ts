/** Packs made ready for sending: compressed, within the topic's limit, cut where they are not. */
import { TidemarkError } from '../core/errors.js'
import { CODECS, type Compression, compress } from './kafka-compression.js'
import { BATCH_HEADER_BYTES, type Pack, splitPack } from './kafka-pack.js'

export interface Limits {
  readonly compression: Compression
  readonly compressionLevel?: number | undefined
  /** The topic's max.message.bytes: what a batch with its header may have, after compression. */
  readonly maxMessageBytes: (topic: string) => number
}

export interface ReadyBatch {
  readonly pack: Pack
  /** The records as they are sent. */
  readonly body: Buffer
  readonly codec: number
}

/** In order. Throws `kafka.record_too_large` for a record that fits by no means. */
export async function prepare(packs: readonly Pack[], limits: Limits): Promise<ReadyBatch[]> {
  const ready = await Promise.all(packs.filter((pack) => pack.count > 0).map((pack) => fit(pack, limits)))
  return ready.flat()
}

/** False: the pack holds a record that its topic does not take by any means. */
export async function fits(pack: Pack, limits: Limits): Promise<boolean> {
  try {
    await prepare([pack], limits)
    return true
  } catch (error) {
    if (error instanceof RecordTooLarge) return false
    throw error
  }
}

async function fit(pack: Pack, limits: Limits): Promise<ReadyBatch[]> {
  const { compression, compressionLevel, maxMessageBytes } = limits
  const body = await compress(compression, pack.records, compressionLevel)
  const bytes = BATCH_HEADER_BYTES + body.length
  const limit = maxMessageBytes(pack.topic)
  if (bytes <= limit) return [{ pack, body, codec: CODECS.indexOf(compression) }]
  if (pack.count === 1) throw new RecordTooLarge(pack.topic, pack.partition, bytes, limit)
  const [first, second] = splitPack(pack)
  return [...(await fit(first, limits)), ...(await fit(second, limits))]
}

/** Nothing of the call that met it was sent, so that whoever called can leave the record out or send it elsewhere. */
export class RecordTooLarge extends TidemarkError {
  constructor(
    readonly topic: string,
    readonly partition: number,
    /** Of the batch with this one record, compressed. */
    readonly bytes: number,
    readonly limit: number,
  ) {
    super('kafka.record_too_large', {
      message: `a record for ${topic}-${partition} takes ${bytes} bytes, and max.message.bytes of the topic is ${limit}`,
      fix: `Raise it: kafka-configs.sh --alter --entity-type topics --entity-name ${topic} --add-config max.message.bytes=${bytes}`,
    })
  }
}
