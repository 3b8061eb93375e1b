/** Which topics are read, where a first start begins in them, and what must still be as it was on a resume. */
import { nearest, suggest } from '../../core/did-you-mean.js'
import { TidemarkError } from '../../core/errors.js'
import type { Abortable } from '../../core/source.js'
import { type KafkaCluster, topicGone, topicRecreated } from '../../drivers/kafka.js'
import type { KafkaSourceOptions } from './options.js'
import type { KafkaPosition, TopicPlace } from './position.js'

/** Topics that an error lists. */
const NAMES_SHOWN_MAX = 10

export interface FoundTopic {
  readonly name: string
  readonly id: string | null
  readonly partitions: number
}

export function chosenNames(options: KafkaSourceOptions): readonly string[] {
  return options.topics ?? options.topic ?? []
}

/** True where `topics` or `topic-pattern` means the topic. */
export function topicMatcher(options: KafkaSourceOptions): (name: string) => boolean {
  const pattern = options['topic-pattern']
  if (pattern !== undefined) return (name) => pattern.test(name)
  const wanted = chosenNames(options).map(globOf)
  return (name) => wanted.some((glob) => glob.test(name))
}

function globOf(glob: string): RegExp {
  const source = glob.replace(/[.*+?^${}()|[\]\\]/g, (char) => (char === '*' ? '.*' : char === '?' ? '.' : `\\${char}`))
  return new RegExp(`^${source}$`)
}

const isGlob = (name: string) => /[*?]/.test(name)

/** All that exist. Throws `kafka.no_topics` where a name of `topics` has none, or nothing matches. */
export async function requireChosen(
  cluster: KafkaCluster,
  options: KafkaSourceOptions,
  { signal }: Abortable,
): Promise<FoundTopic[]> {
  const topics = await findTopics(cluster, options, { signal })
  const missing = chosenNames(options).filter((name) => !isGlob(name) && !topics.some((topic) => topic.name === name))
  if (topics.length > 0 && missing.length === 0) return topics
  throw await noTopics(cluster, options, missing, signal)
}

/** Those that exist at the moment. */
export async function findTopics(
  cluster: KafkaCluster,
  options: KafkaSourceOptions,
  { signal }: Abortable,
): Promise<FoundTopic[]> {
  const names = chosenNames(options)
  const exact = options['topic-pattern'] === undefined && !names.some(isGlob)
  const all = exact ? names : await cluster.topicNames({ signal })
  const matches = topicMatcher(options)
  const wanted = exact ? [...new Set(names)] : all.filter(matches)
  const found = await cluster.topics(wanted, { signal })
  const topics = [...found].flatMap(([name, shape]) =>
    shape === null ? [] : [{ name, id: shape.id, partitions: shape.partitions }],
  )
  return topics.sort((a, b) => (a.name < b.name ? -1 : 1))
}

async function noTopics(
  cluster: KafkaCluster,
  options: KafkaSourceOptions,
  missing: readonly string[],
  signal: AbortSignal,
): Promise<TidemarkError> {
  const all = await cluster.topicNames({ signal })
  const pattern = options['topic-pattern']
  const meant = missing.flatMap((name) => nearest(name, all) ?? [])[0] ?? null
  const more = all.length > NAMES_SHOWN_MAX ? ', ...' : ''
  const what =
    missing.length > 0
      ? `there is no topic ${missing.join(', ')}`
      : pattern === undefined
        ? `no topic matches ${chosenNames(options).join(', ')}`
        : `no topic matches ${pattern.source}`
  return new TidemarkError('kafka.no_topics', {
    message: `${what} that this user may see`,
    fix: `${suggest(meant)} The topics there are: ${all.slice(0, NAMES_SHOWN_MAX).join(', ') || 'none'}${more}.`.trim(),
    at: pattern === undefined ? 'source.topics' : 'source.topic-pattern',
  })
}

/** Where a first start begins. */
export async function firstPosition(
  cluster: KafkaCluster,
  options: KafkaSourceOptions,
  topics: readonly FoundTopic[],
  context: Abortable,
): Promise<KafkaPosition> {
  requireKnown(options, topics)
  const places = new Map<string, TopicPlace>()
  for (const { name, id, partitions } of topics) {
    const all = Array.from({ length: partitions }, (_, partition) => partition)
    const next = await Promise.all(all.map((partition) => beginOf(cluster, options, { name, partition }, context)))
    places.set(name, { id, next })
  }
  return { ordinal: 0n, topics: places }
}

interface Place {
  readonly name: string
  readonly partition: number
}

async function beginOf(
  cluster: KafkaCluster,
  options: KafkaSourceOptions,
  { name, partition }: Place,
  context: Abortable,
): Promise<bigint> {
  switch (options['scan.startup.mode']) {
    case 'earliest-offset':
      return cluster.startOffset(name, partition, context)
    case 'latest-offset':
      return cluster.endOffset(name, partition, 'committed', context)
    case 'timestamp': {
      const at = await cluster.offsetAt(name, partition, options['scan.startup.timestamp-millis']!, context)
      return at ?? cluster.endOffset(name, partition, 'committed', context)
    }
    case 'specific-offsets': {
      const given = options['scan.startup.specific-offsets']!.find(
        (each) => each.partition === partition && (each.topic ?? name) === name,
      )
      if (given === undefined) return cluster.startOffset(name, partition, context)
      await requireInside(cluster, { name, partition }, given.offset, context)
      return given.offset
    }
  }
}

function requireKnown(options: KafkaSourceOptions, topics: readonly FoundTopic[]): void {
  for (const { topic, partition } of options['scan.startup.specific-offsets'] ?? []) {
    const several = topic === null && topics.length > 1
    const known = topics.some(({ name, partitions }) => (topic ?? name) === name && partition < partitions)
    if (known && !several) continue
    throw new TidemarkError('config.invalid', {
      message: several
        ? `partition:${partition} does not say of which of the ${topics.length} topics`
        : `there is no partition ${partition} of ${topic ?? topics.map(({ name }) => name).join(', ')}`,
      fix: 'Write topic:NAME,partition:N,offset:N;... for partitions that exist.',
      at: 'source.scan.startup.specific-offsets',
    })
  }
}

/** On a resume every partition of the checkpoint must be there, and its log hold what comes next. */
export async function requireTopics(
  cluster: KafkaCluster,
  { topics }: KafkaPosition,
  { signal }: Abortable,
): Promise<void> {
  const found = await cluster.topics([...topics.keys()], { signal })
  for (const [name, { id, next }] of topics) {
    const shape = found.get(name)
    if (!shape) throw topicGone(name)
    if (id !== null && shape.id !== null && id !== shape.id) throw topicRecreated(name)
    // Kafka never takes a partition away.
    if (shape.partitions < next.length) throw topicRecreated(name)
    await Promise.all(next.map((offset, partition) => requireInside(cluster, { name, partition }, offset, { signal })))
  }
}

async function requireInside(
  cluster: KafkaCluster,
  { name, partition }: Place,
  offset: bigint,
  { signal }: Abortable,
): Promise<void> {
  const [start, end] = await Promise.all([
    cluster.startOffset(name, partition, { signal }),
    cluster.endOffset(name, partition, 'uncommitted', { signal }),
  ])
  if (offset >= start && offset <= end) return
  const lost = offset < start ? `retention removed offsets ${offset} to ${start - 1n}` : 'records at its end were lost'
  throw new TidemarkError('kafka.offset_out_of_range', {
    message: `${name}-${partition}: offset ${offset} comes next, and the log now goes from ${start} to ${end}: ${lost}`,
    fix: `Nothing was skipped. Raise retention.ms and retention.bytes of ${name}, then run \`tidemark drop FILE\`, empty the targets and start anew from a source that has all rows.`,
  })
}
