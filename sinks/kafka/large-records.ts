/**
 * A record that its topic does not take even alone in a batch: stop, a topic for such records, or a file with a
 * reference in its place.
 */
import { createHash } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { TidemarkError } from '../../core/errors.js'
import type { ChangeBatch } from '../../core/model.js'
import { fits, PackWriter, packHeaders } from '../../drivers/kafka.js'
import type { Messages } from '../formats/messages.js'
import { murmur2 } from './partition.js'
import type { KafkaSettings } from './settings.js'
import type { Topic, TopicTargets } from './targets.js'

type Headers = Messages['headers'][number]

export interface LargeRecord {
  readonly keys: Buffer
  /** -1: no key. */
  readonly keyAt: number
  readonly keyTo: number
  readonly values: Buffer
  readonly valueAt: number
  readonly valueTo: number
  readonly headers: Headers
}

interface Place {
  readonly topic: Topic
  readonly pack: PackWriter
  readonly batch: ChangeBatch
  readonly now: number
}

const NAME_CHARS = 16

export class LargeRecords {
  readonly #targets: TopicTargets
  readonly #settings: KafkaSettings
  /** Folders of files that were written since the last commit. */
  readonly #folders = new Set<string>()

  constructor(targets: TopicTargets, settings: KafkaSettings) {
    this.#targets = targets
    this.#settings = settings
  }

  /** Returns the batch that it went into. */
  async put(record: LargeRecord, place: Place): Promise<{ readonly pack: PackWriter; readonly bytes: number }> {
    const { options } = this.#settings
    if (await this.#fitsCompressed(record, place)) return this.#alone(record, place)
    switch (options['message.too.large']) {
      case 'stop':
        throw tooLarge(record, place.topic, place.pack, place.batch)
      case 'dead-letter':
        return this.#deadLetter(record, place, options['dead.letter.topic']!)
      case 'claim-check':
        return await this.#claimCheck(record, place, options['claim.check.path']!)
    }
  }

  /** Folders must be on disk before the reference is committed. */
  async settle(): Promise<void> {
    for (const path of this.#folders) {
      const folder = await open(path, 'r')
      try {
        await folder.sync()
      } finally {
        await folder.close()
      }
    }
    this.#folders.clear()
  }

  /** The limit counts after compression, and this is seldom: it is compressed once more to know. */
  async #fitsCompressed(record: LargeRecord, { topic, pack, now }: Place): Promise<boolean> {
    const compression = this.#settings.options['properties.compression.type']
    if (compression === 'none') return false
    const { keys, keyAt, keyTo, values, valueAt, valueTo } = record
    const trial = new PackWriter(pack.topic, pack.partition, keyTo - keyAt + valueTo - valueAt)
    trial.append(now, keys, keyAt, keyTo, values, valueAt, valueTo, packHeaders(record.headers))
    return fits(trial.take(), { compression, maxMessageBytes: () => topic.maxMessageBytes })
  }

  #alone(record: LargeRecord, { pack, now }: Place): { pack: PackWriter; bytes: number } {
    const { keys, keyAt, keyTo, values, valueAt, valueTo } = record
    pack.append(now, keys, keyAt, keyTo, values, valueAt, valueTo, packHeaders(record.headers))
    return { pack, bytes: pack.bytes }
  }

  #deadLetter(record: LargeRecord, place: Place, name: string): { pack: PackWriter; bytes: number } {
    const { keys, keyAt, keyTo, values, valueAt, valueTo } = record
    const topic = this.#targets.topic(name)!
    const hash = keyAt < 0 ? 0 : murmur2(keys, keyAt, keyTo) & 0x7fffffff
    const pack = topic.packs[hash % topic.packs.length]!
    const bytes = keyTo + valueTo - Math.max(0, keyAt) - Math.max(0, valueAt)
    if (bytes > topic.recordBytesMax) throw tooLarge(record, topic, pack, place.batch)
    const headers = packHeaders([...record.headers, ...this.#errorHeaders(record, place)])
    pack.append(place.now, keys, keyAt, keyTo, values, valueAt, valueTo, headers)
    return { pack, bytes: pack.bytes }
  }

  /** The headers that Kafka Connect gives to what it could not deliver. */
  #errorHeaders(record: LargeRecord, { topic, pack, batch }: Place): Headers {
    const error = tooLarge(record, topic, pack, batch)
    return [
      ['__connect.errors.topic', topic.name],
      ['__connect.errors.partition', String(pack.partition)],
      ['__connect.errors.offset', '-1'],
      ['__connect.errors.connector.name', this.#settings.pipeline],
      ['__connect.errors.task.id', '0'],
      ['__connect.errors.stage', 'TASK_PUT'],
      ['__connect.errors.class.name', 'tidemark'],
      ['__connect.errors.exception.class.name', 'org.apache.kafka.common.errors.RecordTooLargeException'],
      ['__connect.errors.exception.message', error.message],
      ['__connect.errors.exception.stacktrace', ''],
    ]
  }

  /** The name follows from the place in the source and the bytes, so that a replay writes the same file again. */
  async #claimCheck(record: LargeRecord, place: Place, path: string): Promise<{ pack: PackWriter; bytes: number }> {
    const { keys, keyAt, keyTo, values, valueAt, valueTo } = record
    const { topic, pack, batch, now } = place
    const value = values.subarray(valueAt, valueTo)
    const sha256 = createHash('sha256').update(value).digest('hex')
    const { origin } = batch
    const at = origin.kind === 'log' ? `log-${origin.txn.ordinal}` : `snapshot-${origin.at}`
    const folder = join(path, topic.name)
    const file = join(folder, `${at}-${sha256.slice(0, NAME_CHARS)}`)
    await mkdir(folder, { recursive: true })
    await write(file, value)
    this.#folders.add(folder)
    const reference = Buffer.from(JSON.stringify({ claimCheck: { file, bytes: value.length, sha256 } }))
    const headers = packHeaders([...record.headers, ['tidemark.claim-check', file]])
    pack.append(now, keys, keyAt, keyTo, reference, 0, reference.length, headers)
    return { pack, bytes: pack.bytes }
  }
}

async function write(file: string, value: Buffer): Promise<void> {
  try {
    const handle = await open(file, 'w')
    try {
      await handle.writeFile(value)
      await handle.datasync()
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw new TidemarkError('kafka.claim_check', {
      message: `the value of a large record could not be written to ${file}: ${(cause as Error).message}`,
      fix: 'Free space or mend the folder of claim.check.path; the next start goes on from the last checkpoint.',
      cause,
    })
  }
}

function tooLarge(record: LargeRecord, topic: Topic, pack: PackWriter, batch: ChangeBatch): TidemarkError {
  const { keys, keyAt, keyTo, valueAt, valueTo } = record
  const key = keyAt < 0 ? 'without a key' : `with key ${keys.toString('utf8', keyAt, Math.min(keyTo, keyAt + 200))}`
  return new TidemarkError('kafka.record_too_large', {
    message: `a record of table ${batch.schema.id} ${key} has ${valueTo - valueAt} bytes, and topic ${topic.name} (partition ${pack.partition}) takes ${topic.recordBytesMax}`,
    fix: `Raise the limit: kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic ${topic.name} --add-config max.message.bytes=${2 * (valueTo - valueAt)}, or see sink.message.too.large.`,
  })
}
