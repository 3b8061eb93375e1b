/** What `tidemark check` says of topics as a source. Reads a few messages, without a group, and changes nothing. */
import type { ConnectorContext, Finding } from '../../core/define.js'
import { TidemarkError } from '../../core/errors.js'
import type { Abortable } from '../../core/source.js'
import { KafkaCluster, topicAccess } from '../../drivers/kafka.js'
import { kafkaOptions } from '../../drivers/kafka-options.js'
import { RecordDecoding } from './decoding.js'
import { type KafkaSourceOptions, MESSAGE_FORMATS } from './options.js'
import { type Sampled, sampleOf } from './sample.js'
import { type FoundTopic, requireChosen } from './topics.js'

/** Topics that are looked into; more are the same. */
const TOPICS_SAMPLED_MAX = 20
/** Messages of one partition that are tried. */
const SAMPLE_MAX = 20n
const HOUR_MS = 3_600_000
/** Records kept for less than this are easily gone before a pipeline comes back. */
const RETENTION_HOURS_MIN = 48
const SETTINGS = ['cleanup.policy', 'retention.ms', 'retention.bytes']

type Context = ConnectorContext & Abortable

export async function checkKafkaSource(options: KafkaSourceOptions, { pipeline, signal }: Context): Promise<Finding[]> {
  const connection = kafkaOptions(options, pipeline, 'source')
  const user = connection.sasl !== undefined && 'username' in connection.sasl ? connection.sasl.username : null
  const cluster = await KafkaCluster.connect(connection, { signal })
  try {
    const topics = await requireChosen(cluster, options, { signal })
    const findings: Finding[] = [
      { level: 'ok', subject: options['properties.bootstrap.servers'], message: `reached, ${topics.length} topics` },
      ...(await access(cluster, topics, user, signal)),
    ]
    if (findings.some(({ level }) => level === 'problem')) return findings
    for (const topic of topics) findings.push(...(await retention(cluster, topic, signal)))
    for (const topic of topics.slice(0, TOPICS_SAMPLED_MAX)) {
      findings.push(await sample(cluster, options, topic, signal))
    }
    return findings
  } finally {
    await cluster.close()
  }
}

async function access(
  cluster: KafkaCluster,
  topics: readonly FoundTopic[],
  user: string | null,
  signal: AbortSignal,
): Promise<Finding[]> {
  const names = topics.map(({ name }) => name)
  const found = await topicAccess(cluster, names, { signal })
  const who = user === null ? 'this user' : `user ${user}`
  return names.flatMap((name): Finding[] => {
    const may = found.get(name)?.may
    if (may == null) return []
    const lacking = (['Read', 'Describe'] as const).filter((operation) => !may.has(operation))
    if (lacking.length === 0) return []
    const each = lacking.map((operation) => `--operation ${operation}`).join(' ')
    return [
      {
        level: 'problem',
        subject: name,
        message: `${who} lacks ${lacking.join(' and ')} on topic ${name}`,
        fix: `kafka-acls.sh --bootstrap-server HOST:PORT --add --allow-principal 'User:${user ?? 'NAME'}' ${each} --topic '${name}'`,
      },
    ]
  })
}

/** What a reader that comes late will not find. */
async function retention(cluster: KafkaCluster, { name }: FoundTopic, signal: AbortSignal): Promise<Finding[]> {
  let config: Readonly<Record<string, string>>
  try {
    config = await cluster.topicConfig(name, SETTINGS, { signal })
  } catch (error) {
    if (!(error instanceof TidemarkError && error.code === 'kafka.permission')) throw error
    const message = 'its settings may not be read (DescribeConfigs), so nothing is known of its retention'
    return [{ level: 'info', subject: name, message }]
  }
  const findings: Finding[] = []
  const warn = (message: string, fix?: string) =>
    findings.push({ level: 'warning', subject: name, message, ...(fix === undefined ? {} : { fix }) })
  const policy = config['cleanup.policy'] ?? 'delete'
  if (policy.includes('compact')) {
    warn(
      'cleanup.policy has compact: of each key only the newest message stays. A first start sees rows as they are now, but no history, and a reader that is behind misses changes in between and deletes older than delete.retention.ms',
    )
  }
  if (!policy.includes('delete')) return findings
  const hours = Number(config['retention.ms'] ?? -1) / HOUR_MS
  const alter = (setting: string) =>
    `kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic ${name} --add-config ${setting}`
  if (hours >= 0 && hours < RETENTION_HOURS_MIN) {
    const message = `messages are kept for ${hours.toFixed(1)} hours: a pipeline that is stopped for longer must start anew`
    warn(message, alter('retention.ms=604800000'))
  }
  if (Number(config['retention.bytes'] ?? -1) >= 0) {
    warn(
      `a partition keeps at most ${config['retention.bytes']} bytes: a reader that falls further behind must start anew`,
    )
  }
  if (hours >= 0) {
    const message = `a first start sees what the last ${Math.round(hours)} hours wrote, not rows that are older`
    findings.push({ level: 'info', subject: name, message })
  }
  return findings
}

async function sample(
  cluster: KafkaCluster,
  options: KafkaSourceOptions,
  topic: FoundTopic,
  signal: AbortSignal,
): Promise<Finding> {
  const { name } = topic
  const records = await newest(cluster, topic, signal)
  const format = options['value.format']
  if (records.length === 0) return { level: 'info', subject: name, message: 'has no messages yet, so none was tried' }
  const tried = tryFormat(options, format, records)
  if (!(tried instanceof TidemarkError)) {
    const tables = tried.length === 0 ? 'no changes of rows among them' : tried.join('; ')
    return { level: 'ok', subject: name, message: `${records.length} messages read as ${format}: ${tables}` }
  }
  for (const other of MESSAGE_FORMATS) {
    if (other === format || tryFormat(options, other, records) instanceof TidemarkError) continue
    const message = `its messages are ${other}, not ${format} (${tried.message})`
    return { level: 'problem', subject: name, message, fix: `source.value.format: ${other}` }
  }
  return { level: 'problem', subject: name, message: tried.message, fix: tried.fix ?? 'Take it out of `topics`.' }
}

async function newest(
  cluster: KafkaCluster,
  { name: topic, partitions }: FoundTopic,
  signal: AbortSignal,
): Promise<Sampled[]> {
  const found: Sampled[] = []
  for (let partition = 0; partition < partitions && found.length < SAMPLE_MAX; partition++) {
    found.push(...(await sampleOf(cluster, { topic, partition, from: null }, SAMPLE_MAX, { signal })))
  }
  return found
}

/** The tables that they speak of, or why they cannot be read. */
function tryFormat(
  options: KafkaSourceOptions,
  format: KafkaSourceOptions['value.format'],
  records: readonly Sampled[],
): string[] | TidemarkError {
  const decoding = new RecordDecoding({ ...options, 'value.format': format, 'on.bad.message': 'stop' }, () => {})
  try {
    const places = records.map((sampled, i) => ({ ...sampled, partitions: 1, ordinal: BigInt(i) }))
    const schemas = decoding.items(places).flatMap((item) => (item.kind === 'rows' ? [item.schema] : item.schemas))
    return [...new Map(schemas.map((schema) => [schema.id, schema])).values()].map(({ id, key, columns }) => {
      const names = key.map((i) => columns[i]!.name)
      return `table ${id}, ${names.length === 0 ? 'no key' : `key ${names.join(', ')}`}, ${columns.length} columns`
    })
  } catch (error) {
    if (error instanceof TidemarkError) return error
    throw error
  }
}

/** There is no group, slot or feed: nothing is held, and nothing to remove. */
export async function statusKafkaSource(): Promise<Finding[]> {
  return []
}

export async function dropKafkaSource(): Promise<string[]> {
  return []
}
