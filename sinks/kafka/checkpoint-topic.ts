/**
 * The pipeline's own topic: one partition, compacted, newest record of each key counts. `claim` says who owns the
 * pipeline, `checkpoint` holds the state or says in which records its parts are. Nothing here is ever a tombstone:
 * an absent key must mean that it was never written.
 */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import { type KafkaCluster, type Pack, PackWriter } from '../../drivers/kafka.js'
import type { Announced } from './definitions.js'
import { NO_TOPICS, type SavedTopics, type Written } from './known-topics.js'
import type { OpenTransaction } from './open-transaction.js'
import { readableConfig } from './readable-config.js'

const VERSION = 1
const CLAIM = 'claim'
const CHECKPOINT = 'checkpoint'
const DEFINITION = 'definition/'
/** A longer checkpoint is cut into records of this many bytes. */
const PART_BYTES_MAX = 400_000
/** Room in a batch for everything beside the part. */
const OVERHEAD_BYTES = 2_048
/** Small segments are compacted soon, so that a start has little to read. */
export const CHECKPOINT_TOPIC_CONFIG = {
  'cleanup.policy': 'compact',
  'segment.bytes': String(16 * 1024 * 1024),
  'segment.ms': String(3_600_000),
  'min.cleanable.dirty.ratio': '0.05',
  'delete.retention.ms': '60000',
}

export interface SavedState {
  readonly transaction: OpenTransaction | null
  readonly claim: string | null
  /** The transactional id of the claim; null: it has none (at-least-once), or there is no claim, or an older version wrote it. */
  readonly owner: string | null
  readonly checkpoint: string | null
  /** Of every topic that was written. */
  readonly topics: SavedTopics
  /** By table, for include.schema.changes. */
  readonly definitions: ReadonlyMap<TableId, Announced>
  /** Which of two sets of part records the next long checkpoint may write over. */
  readonly spare: 'a' | 'b'
}

export const NO_STATE: SavedState = {
  transaction: null,
  claim: null,
  owner: null,
  checkpoint: null,
  topics: NO_TOPICS,
  definitions: new Map(),
  spare: 'a',
}

interface Claim {
  readonly claim: string
  readonly transactionalId?: string | null
}

interface Head {
  readonly version: number
  readonly pipeline: string
  readonly partitions: Readonly<Record<string, number>>
  readonly ids?: Readonly<Record<string, string>>
  readonly written?: Written | null
  readonly transaction?: OpenTransaction
  /** null: the pipeline was dropped. */
  readonly checkpoint?: string | null
  readonly parts?: { readonly set: 'a' | 'b'; readonly count: number; readonly sha256: string }
}

interface Newest {
  readonly key: string
  readonly value: Buffer
  readonly offset: bigint
}

type Options = { readonly signal: AbortSignal }

export class CheckpointTopic {
  readonly name: string
  readonly #cluster: KafkaCluster
  readonly #pipeline: string
  #partBytes = PART_BYTES_MAX
  /** Newest record of each key below `#readTo`. */
  readonly #newest = new Map<string, Newest>()
  #readTo: bigint | null = null
  /** Transactional ids of every claim that was read. */
  readonly owners = new Set<string>()

  constructor(cluster: KafkaCluster, name: string, pipeline: string) {
    this.#cluster = cluster
    this.name = name
    this.#pipeline = pipeline
  }

  /** Largest record batch that the topic takes. */
  maxMessageBytes = 0

  /** Makes the topic if it does not exist; refuses one in which a checkpoint would not be safe. */
  async ensure(replication: number, options: Options): Promise<void> {
    const found = await this.#find(options)
    if (found === null) {
      await this.#cluster.createTopic(
        this.name,
        { partitions: 1, replication, config: CHECKPOINT_TOPIC_CONFIG },
        options,
      )
      await this.#find(options)
    }
    const problem = await this.problem(options)
    if (problem !== null) throw new TidemarkError('kafka.checkpoint_topic', problem)
  }

  /** Why the topic cannot hold checkpoints; null: it can, or does not exist. */
  async problem(options: Options): Promise<{ readonly message: string; readonly fix: string } | null> {
    const found = await this.#find(options)
    if (found === null) return null
    if (found.partitions !== 1) {
      return {
        message: `checkpoint topic ${this.name} has ${found.partitions} partitions, it must have one`,
        fix: 'Give checkpoint.topic another name; it is made when absent.',
      }
    }
    const config = await readableConfig(this.#cluster, this.name, ['cleanup.policy', 'max.message.bytes'], options)
    this.maxMessageBytes = Number(config['max.message.bytes'] ?? 0)
    if (this.maxMessageBytes > 0) this.#partBytes = Math.min(PART_BYTES_MAX, this.maxMessageBytes - OVERHEAD_BYTES)
    const policy = config['cleanup.policy']
    if (policy === undefined || policy === 'compact') return null
    return {
      message: `checkpoint topic ${this.name} has cleanup.policy=${policy}, under which the checkpoint would be deleted`,
      fix: `kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic ${this.name} --add-config cleanup.policy=compact`,
    }
  }

  async exists(options: Options): Promise<boolean> {
    return (await this.#find(options)) !== null
  }

  /** `transactionalId` null: nothing can fence this owner. */
  claim(claim: string, transactionalId: string | null): Pack[] {
    const record = { version: VERSION, pipeline: this.#pipeline, claim, transactionalId }
    return [this.#pack(CLAIM, JSON.stringify(record))]
  }

  /**
   * The records of a checkpoint, null for a dropped pipeline. The last pack makes the others count; where nothing binds them together
   * (at-least-once) they must be acknowledged before it is sent.
   */
  checkpoint(text: string | null, state: Omit<SavedState, 'claim' | 'owner' | 'checkpoint' | 'definitions'>): Pack[] {
    const { topics, transaction } = state
    const open = transaction === null ? {} : { transaction }
    const head: Head = { version: VERSION, pipeline: this.#pipeline, ...topics, ...open }
    const bytes = Buffer.from(text ?? '')
    if (bytes.length <= this.#partBytes / 2)
      return [this.#pack(CHECKPOINT, JSON.stringify({ ...head, checkpoint: text }))]
    const packs: Pack[] = []
    for (let from = 0; from < bytes.length; from += this.#partBytes) {
      packs.push(this.#pack(`part/${state.spare}/${packs.length}`, bytes.subarray(from, from + this.#partBytes)))
    }
    const parts = { set: state.spare, count: packs.length, sha256: sha256(bytes) }
    return [...packs, this.#pack(CHECKPOINT, JSON.stringify({ ...head, parts }))]
  }

  /** A record of each table, so that a checkpoint does not grow with them. */
  definition(table: TableId, announced: Announced): Pack {
    const { last, log } = announced
    return this.#pack(
      `${DEFINITION}${table}`,
      JSON.stringify({ version: VERSION, pipeline: this.#pipeline, last, log }),
    )
  }

  /** Reads what is committed below `until`, from where the last read ended. */
  async read(until: bigint, options: Options & { readonly timeoutMs: number }): Promise<SavedState> {
    const newest = this.#newest
    const from = this.#readTo ?? (await this.#cluster.startOffset(this.name, 0, options))
    this.#readTo = until
    for await (const records of this.#cluster.readCommitted(this.name, 0, from, until, options)) {
      for (const { key, value, offset } of records) {
        if (key === null || value === null) continue
        const record = { key: key.toString(), value, offset }
        newest.set(record.key, record)
        if (record.key !== CLAIM) continue
        const { transactionalId } = this.#json<Claim>(record)!
        if (transactionalId) this.owners.add(transactionalId)
      }
    }
    const claim = this.#json<Claim>(newest.get(CLAIM))
    const head = this.#json<Head>(newest.get(CHECKPOINT))
    return {
      claim: claim?.claim ?? null,
      owner: claim?.transactionalId ?? null,
      checkpoint: head === null ? null : (head.checkpoint ?? this.#joined(head, newest)),
      topics: { partitions: head?.partitions ?? {}, ids: head?.ids ?? {}, written: head?.written ?? null },
      transaction: head?.transaction ?? null,
      definitions: this.#definitions(head, newest),
      spare: head?.parts?.set === 'a' ? 'b' : 'a',
    }
  }

  /** Those of a pipeline that was dropped count no more. */
  #definitions(head: Head | null, newest: ReadonlyMap<string, Newest>): Map<TableId, Announced> {
    const found = new Map<TableId, Announced>()
    if (head === null || head.checkpoint === null) return found
    for (const [key, record] of newest) {
      if (!key.startsWith(DEFINITION)) continue
      const { last, log } = this.#json<Announced>(record)!
      found.set(key.slice(DEFINITION.length) as TableId, { last, log })
    }
    return found
  }

  #joined({ parts }: Head, newest: ReadonlyMap<string, Newest>): string | null {
    if (parts === undefined) return null
    const found = Array.from({ length: parts.count }, (_, i) => newest.get(`part/${parts.set}/${i}`)?.value)
    const bytes = Buffer.concat(found.filter((part) => part !== undefined))
    if (sha256(bytes) !== parts.sha256) throw this.#damaged('the parts of the checkpoint do not fit together')
    return bytes.toString('utf8')
  }

  #json<T extends object>(record: Newest | undefined): T | null {
    if (record === undefined) return null
    const { offset, key } = record
    const where = `the record of key ${key} at offset ${offset} of partition 0`
    let value: (T & { version?: unknown; pipeline?: unknown }) | null = null
    try {
      value = JSON.parse(record.value.toString('utf8'))
    } catch {
      throw this.#damaged(`${where} is not JSON`)
    }
    if (typeof value?.version !== 'number') throw this.#damaged(`${where} has no version`)
    if (value.version > VERSION)
      throw this.#damaged(`${where} has version ${value.version}; this program reads ${VERSION}`)
    if (value.pipeline === this.#pipeline) return value
    throw new TidemarkError('kafka.checkpoint_topic', {
      message: `checkpoint topic ${this.name} belongs to pipeline ${value.pipeline}`,
      fix: 'Give this pipeline a topic of its own: sink.checkpoint.topic.',
      at: 'sink.checkpoint.topic',
    })
  }

  /** Under a process that has claimed it. */
  madeAnew(): TidemarkError {
    return new TidemarkError('kafka.checkpoint_topic', {
      message: `checkpoint topic ${this.name} is gone or empty, and this process has written to it: it was deleted, or made anew`,
      fix: `Nobody knows any more how far the pipeline was. Run \`tidemark drop FILE\`, which frees what the source holds, and start anew: a new snapshot goes behind what the topics have.`,
    })
  }

  #damaged(why: string): TidemarkError {
    return new TidemarkError('kafka.checkpoint_topic', {
      message: `checkpoint topic ${this.name} cannot be understood: ${why}`,
      fix: 'Give checkpoint.topic a topic that nobody else writes to, or run the version that wrote it.',
    })
  }

  async #find(options: Options): Promise<{ readonly partitions: number } | null> {
    return (await this.#cluster.topics([this.name], options)).get(this.name) ?? null
  }

  #pack(key: string, value: string | Buffer): Pack {
    const keys = Buffer.from(key)
    const values = Buffer.from(value)
    const writer = new PackWriter(this.name, 0, keys.length + values.length + OVERHEAD_BYTES)
    writer.append(Date.now(), keys, 0, keys.length, values, 0, values.length)
    return writer.take()
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
