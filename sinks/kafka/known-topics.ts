/**
 * What the checkpoint knows of the topics that were written: their ids, their partitions, and how keys were spread. Consumers
 * build on the messages before, so a topic that does not hold them any more, or never did, stops the pipeline, and so does what
 * would move keys to other partitions.
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import type { TopicShape } from '../../drivers/kafka.js'
import type { KafkaSettings } from './settings.js'

/** Stored with every checkpoint. */
export interface SavedTopics {
  /** Over how many partitions keys are spread, by topic. */
  readonly partitions: Readonly<Record<string, number>>
  /** By topic; absent where the brokers have none (before Kafka 2.8), or an older version made the checkpoint. */
  readonly ids: Readonly<Record<string, string>>
  /** null: an older version made the checkpoint. */
  readonly written: Written | null
}

export interface Written {
  readonly format: string
  readonly strategy: string
}

export const NO_TOPICS: SavedTopics = { partitions: {}, ids: {}, written: null }

export class KnownTopics {
  readonly #settings: KafkaSettings
  readonly #note: (line: string) => void
  #saved: SavedTopics

  /** `note`: what was accepted is said there. */
  constructor(settings: KafkaSettings, saved: SavedTopics, note: (line: string) => void) {
    this.#settings = settings
    this.#saved = saved
    this.#note = note
  }

  get saved(): SavedTopics {
    const { options } = this.#settings
    return { ...this.#saved, written: { format: options['value.format'], strategy: options['partition.strategy'] } }
  }

  has(topic: string): boolean {
    return this.#saved.partitions[topic] !== undefined
  }

  /** Why the pipeline cannot go on with this topic; null: it can, as far as anything is known of it. */
  problem(topic: string, found: TopicShape | null): TidemarkError | null {
    if (!this.has(topic)) return null
    const replaced = this.#replaced(topic, found)
    if (replaced !== null) return this.#settings.options['topic.change'] === 'accept' ? null : replaced
    return this.#moved(topic, found!.partitions)
  }

  /** Takes the topic as it is; returns over how many partitions its keys are spread. */
  adopt(topic: string, found: TopicShape): number {
    const replaced = this.has(topic) ? this.#replaced(topic, found) : null
    if (replaced !== null) this.#note(`${replaced.message}; it is written from here on (topic.change: accept)`)
    const before = replaced === null ? this.#saved.partitions[topic] : undefined
    const keeps = this.#settings.options['partition.count.change'] === 'keep'
    const count = keeps ? (before ?? found.partitions) : found.partitions
    const { partitions, ids } = this.#saved
    this.#saved = {
      ...this.#saved,
      partitions: { ...partitions, [topic]: count },
      ids: found.id === null ? ids : { ...ids, [topic]: found.id },
    }
    return count
  }

  /** The topic holds nothing that matters any more. */
  forget(topic: string): void {
    const { [topic]: _, ...partitions } = this.#saved.partitions
    const { [topic]: __, ...ids } = this.#saved.ids
    this.#saved = { ...this.#saved, partitions, ids }
  }

  /** As problem(), while the topic is being written: what was accepted takes a new session, which takes the topic as it is. */
  liveProblem(topic: string, found: TopicShape | null): TidemarkError | null {
    const problem = this.problem(topic, found)
    if (problem !== null || !this.has(topic)) return problem
    const { 'partition.count.change': change } = this.#settings.options
    const replaced = this.#replaced(topic, found)
    const grown = found !== null && change === 'accept' && found.partitions !== this.#saved.partitions[topic]
    if (replaced === null && !grown) return null
    return new TidemarkError('kafka.topic_changed', {
      message: replaced?.message ?? `topic ${topic} has ${found!.partitions} partitions now`,
      retriable: true,
    })
  }

  /** The messages before are in another topic. */
  elsewhere(table: TableId, topic: string): TidemarkError | null {
    if (this.has(topic) || Object.keys(this.#saved.partitions).length === 0) return null
    const message = `table ${table} goes to topic ${topic}, which this pipeline has never written: its messages so far are in another topic`
    return this.#changed(
      message,
      'Name topics as before, or give the pipeline another pipeline.name for a new snapshot',
      {
        at: 'sink.topic.change',
      },
    )
  }

  /** Messages of another form, or keys in other partitions, than those before. */
  otherwise(): TidemarkError | null {
    const { written } = this.#saved
    if (written === null) return null
    const { options } = this.#settings
    const [format, strategy] = [options['value.format'], options['partition.strategy']]
    if (strategy !== written.strategy && options['partition.count.change'] !== 'accept') {
      return new TidemarkError('kafka.partitions_changed', {
        message: `partition.strategy is ${strategy} and was ${written.strategy}: the same key would go to another partition, and its changes could be read out of order`,
        fix: `sink.partition.strategy: ${written.strategy}, or sink.partition.count.change: accept`,
        at: 'sink.partition.strategy',
      })
    }
    if (format === written.format) return null
    return this.#changed(
      `value.format is ${format}, and the messages so far are ${written.format}: consumers would meet both in one topic`,
      `sink.value.format: ${written.format}, or another pipeline.name for a new snapshot`,
      { at: 'sink.value.format' },
    )
  }

  /** null where it is accepted, which is said. */
  #changed(message: string, fix: string, { at }: { readonly at: string }): TidemarkError | null {
    if (this.#settings.options['topic.change'] === 'accept') {
      this.#note(`${message} (topic.change: accept)`)
      return null
    }
    return new TidemarkError('kafka.topic_changed', { message, fix: `${fix}; or sink.topic.change: accept`, at })
  }

  #replaced(topic: string, found: TopicShape | null): TidemarkError | null {
    const before = this.#saved.ids[topic]
    const at = 'sink.topic.change'
    const fix =
      'Run `tidemark drop FILE` and start anew: a new snapshot fills it. sink.topic.change: accept goes on with the changes from here on, without what is lost.'
    if (found === null) {
      const message = `topic ${topic}, which this pipeline has written, does not exist any more: its messages are lost`
      return new TidemarkError('kafka.topic_missing', { message, fix, at })
    }
    if (before === undefined || found.id === null || found.id === before) return null
    const count = this.#saved.partitions[topic]!
    const counts = count === found.partitions ? '' : `, with ${found.partitions} partitions instead of ${count}`
    const message = `topic ${topic} is another one than this pipeline has written: it was deleted and made again${counts}, and its messages before are lost`
    return new TidemarkError('kafka.topic_recreated', { message, fix, at })
  }

  #moved(topic: string, count: number): TidemarkError | null {
    const before = this.#saved.partitions[topic]!
    const change = this.#settings.options['partition.count.change']
    const at = 'sink.partition.count.change'
    if (before !== count && change === 'stop') {
      return new TidemarkError('kafka.partitions_changed', {
        message: `topic ${topic} has ${count} partitions and had ${before}: the same key would go to another partition, and its changes could be read out of order`,
        fix: 'sink.partition.count.change: keep goes on hashing over the old count, accept takes the new one.',
        at,
      })
    }
    if (before > count && change === 'keep') {
      return new TidemarkError('kafka.partitions_changed', {
        message: `topic ${topic} has ${count} partitions and had ${before}; it was made anew with fewer`,
        fix: 'sink.partition.count.change: accept takes the new count.',
        at,
      })
    }
    return null
  }
}
