/**
 * Who owns a pipeline (I6). A transactional id fences only owners of the same id, so a claim names the id of its owner, and
 * whoever starts under another one, or under none, fences every id that it finds: before it reads back, and again when somebody
 * claimed meanwhile. A process that goes on fences nobody: a claim under another id is its successor's.
 */
import { TidemarkError } from '../../core/errors.js'
import type { Abortable } from '../../core/source.js'
import { type KafkaCluster, KafkaProducer } from '../../drivers/kafka.js'
import type { CheckpointTopic, SavedState } from './checkpoint-topic.js'
import type { KafkaSettings } from './settings.js'

/** What a claim adds for the next session of the same process. */
const OPEN = 'open'

export class Ownership {
  readonly #cluster: KafkaCluster
  readonly #topic: CheckpointTopic
  readonly #settings: KafkaSettings
  /** null: nothing can fence this process. */
  readonly #id: string | null
  #resumes = false

  constructor(cluster: KafkaCluster, topic: CheckpointTopic, settings: KafkaSettings) {
    this.#cluster = cluster
    this.#topic = topic
    this.#settings = settings
    this.#id = settings.exactlyOnce ? settings.transactionalId : null
  }

  /**
   * Fences the owners before. `lastClaim` is that of this process's last session: it throws `sink.fenced` when somebody else
   * has claimed the pipeline since; null: there is no topic that says who they were. `limits`: the largest batch of each topic.
   */
  async take(
    lastClaim: string | undefined | null,
    limits: ReadonlyMap<string, number>,
    { signal }: Abortable,
  ): Promise<KafkaProducer> {
    if (lastClaim === null) return await this.#producer(this.#id, { signal }, limits, {})
    // Whose the topic is must be known before anything is written into it.
    const state = await this.#read(await this.#cluster.endOffset(this.#topic.name, 0, 'committed', { signal }), signal)
    const [producerId, epoch, open] = (lastClaim ?? '').split('/')
    this.#resumes = this.#id !== null && !!producerId && !!epoch
    if (lastClaim !== undefined && state.claim === null) throw this.#topic.madeAnew()
    if (this.#resumes && state.owner !== this.#id) throw this.#fenced(state, lastClaim!)
    if (this.#resumes) this.#topic.owners.clear()
    else await this.#fenceOthers(signal)
    return await this.#producer(this.#id, { signal }, limits, {
      // A process that slept must not take the pipeline back from its successor.
      ...(this.#resumes
        ? { resume: { producerId: BigInt(producerId!), epoch: Number(epoch), open: open === OPEN } }
        : {}),
    })
  }

  /**
   * I6: the claim's own commit waits for what the coordinator still had to finish, and everything below the end that is
   * read after it is decided once the reader's position has reached that end.
   */
  async claim(producer: KafkaProducer, { signal }: Abortable): Promise<SavedState> {
    const claim = claimOf(producer)
    await producer.send(this.#topic.claim(claim, this.#id), { signal })
    if (this.#id !== null) await producer.commit({ signal })
    for (;;) {
      const until = await this.#cluster.endOffset(this.#topic.name, 0, 'uncommitted', { signal })
      const state = await this.#read(until, signal)
      if (this.#id !== null && state.claim !== claim) throw this.#fenced(state, claim)
      // Two that start at once under different ids do not see each other's claim before they wrote their own.
      if (!(await this.#fenceOthers(signal))) return state
    }
  }

  #read(until: bigint, signal: AbortSignal): Promise<SavedState> {
    return this.#topic.read(until, { signal, timeoutMs: this.#settings.options['checkpoint.read.timeout'] })
  }

  /** Every other id whose claim was read since the last call. False: there was none. */
  async #fenceOthers(signal: AbortSignal): Promise<boolean> {
    const others = [...this.#topic.owners].filter((id) => id !== this.#id)
    this.#topic.owners.clear()
    for (const id of others) await fence(this.#cluster, this.#settings, id, { signal })
    return others.length > 0
  }

  #producer(
    transactionalId: string | null,
    { signal }: Abortable,
    limits: ReadonlyMap<string, number>,
    more: { readonly resume?: { readonly producerId: bigint; readonly epoch: number; readonly open: boolean } },
  ): Promise<KafkaProducer> {
    const { options, transactionTimeoutMs, maxMessageBytesDefault } = this.#settings
    const given = {
      transactionalId,
      transactionTimeoutMs,
      compression: options['properties.compression.type'],
      maxMessageBytes: (topic: string) => limits.get(topic) || maxMessageBytesDefault,
      ...more,
    }
    return KafkaProducer.open(this.#cluster, given, { signal })
  }

  #fenced({ claim, owner }: SavedState, own: string): TidemarkError {
    const whose =
      owner === this.#id ? '' : owner === null ? ' without a transactional id' : ` (transactional id ${owner})`
    return new TidemarkError('sink.fenced', {
      message: `another process has taken over pipeline ${this.#settings.pipeline}: it owns ${claim}${whose}, this process ${own}`,
      fix: 'Stop one of the processes, or give one of them another pipeline.name.',
    })
  }
}

/** Ends what the owner of a transactional id has open, and all that it may do. */
export async function fence(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  transactionalId: string,
  { signal }: Abortable,
): Promise<void> {
  const { transactionTimeoutMs, maxMessageBytesDefault: limit } = settings
  const given = { transactionalId, transactionTimeoutMs, compression: 'none', maxMessageBytes: () => limit } as const
  try {
    await (await KafkaProducer.open(cluster, given, { signal })).close()
  } catch (error) {
    if (!(error instanceof TidemarkError) || error.code !== 'kafka.permission') throw error
    throw new TidemarkError('kafka.permission', {
      message: `the last owner of pipeline ${settings.pipeline} had transactional id ${transactionalId}, and it must be fenced: ${error.message}`,
      fix: `Give the user Write and Describe on transactional id ${transactionalId} as well, until the first start under the new one is over.`,
      cause: error,
    })
  }
}

function claimOf(producer: KafkaProducer): string {
  return `${producer.producerId}/${producer.epoch}`
}

/** What the next session of this process must prove. */
export function claimForNext(producer: KafkaProducer): string {
  return producer.open ? `${claimOf(producer)}/${OPEN}` : claimOf(producer)
}
