/** What `tidemark check` says of a Kafka cluster. Makes and changes nothing. */
import type { Finding } from '../../core/define.js'
import type { TableId, TableSchema } from '../../core/model.js'
import { KafkaCluster } from '../../drivers/kafka.js'
import { kafkaOptions } from '../../drivers/kafka-options.js'
import { createMessageFormat } from '../formats/messages.js'
import { messageFormatFrom } from '../message-format.js'
import { type Access, checkTopicAccess, checkTransactionalId, type NeededTopic } from './check-access.js'
import { checkDeadLetters } from './check-dead-letters.js'
import { checkRegistry } from './check-registry.js'
import { checkCheckpointTopic, checkKnownTopics } from './check-saved.js'
import { CHECKPOINT_TOPIC_CONFIG, NO_STATE, type SavedState } from './checkpoint-topic.js'
import { isCompacted, keylessTable, truncateNote } from './compacted.js'
import { readableConfig } from './readable-config.js'
import { type KafkaSettings, newTopic } from './settings.js'
import { topicsOf } from './topics.js'

interface CheckContext {
  readonly signal: AbortSignal
  readonly tables?: readonly TableSchema[]
}

export async function checkKafkaSink(
  settings: KafkaSettings,
  { signal, tables }: CheckContext,
): Promise<readonly Finding[]> {
  const options = kafkaOptions(settings.options, settings.pipeline, 'sink')
  const user = options.sasl !== undefined && 'username' in options.sasl ? options.sasl.username : null
  const cluster = await KafkaCluster.connect(options, { signal })
  try {
    const servers = settings.options['properties.bootstrap.servers']
    const access = await checkTopicAccess(cluster, neededTopics(settings, tables ?? []), { user, signal })
    const hidden = access.hidden.has(settings.checkpointTopic)
    const { findings, saved } = hidden
      ? { findings: [], saved: NO_STATE }
      : await checkCheckpointTopic(cluster, settings, { signal })
    return [
      { level: 'ok', subject: servers, message: 'reached' },
      ...(await checkTransactions(cluster, settings, { user, signal })),
      ...(await checkRegistry(settings.options, signal)),
      ...access.findings,
      ...findings,
      ...(tables === undefined ? [] : await checkTopics(cluster, settings, { tables, access, saved, signal })),
    ]
  } finally {
    await cluster.close()
  }
}

/** Every topic that the pipeline touches, with what docs/kafka.md says is needed of it. */
function neededTopics(settings: KafkaSettings, tables: readonly TableSchema[]): NeededTopic[] {
  const made = newTopic(settings)
  const checkpoint: NeededTopic = {
    name: settings.checkpointTopic,
    role: 'the checkpoint topic',
    operations: ['Read', 'Write', 'Describe'],
    made: { ...made, partitions: 1, config: CHECKPOINT_TOPIC_CONFIG },
  }
  const written = new Map([...topicsOf(tables, settings.topics).values()].map((name) => [name, 'topic']))
  const deadLetters = settings.options['dead.letter.topic']
  if (deadLetters !== undefined) written.set(deadLetters, 'the dead letter topic')
  if (settings.transactionTopic !== undefined) written.set(settings.transactionTopic, 'the transaction topic')
  if (settings.schemaTopic !== undefined) written.set(settings.schemaTopic, 'the topic of schema changes')
  const enabled = settings.options['topic.creation.enable']
  return [
    checkpoint,
    ...[...written].map(
      ([name, role]): NeededTopic => ({ name, role, operations: ['Write', 'Describe'], made: enabled ? made : null }),
    ),
  ]
}

async function checkTransactions(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  { user, signal }: { readonly user: string | null; readonly signal: AbortSignal },
): Promise<Finding[]> {
  if (!settings.exactlyOnce) return []
  const subject = 'transactions'
  if (!(await cluster.transactional({ signal }))) {
    return [
      {
        level: 'problem',
        subject,
        message: 'the cluster has none, so exactly-once is not possible',
        fix: 'sink.delivery: at-least-once',
      },
    ]
  }
  const lacking = await checkTransactionalId(cluster, settings.transactionalId, { user, signal })
  if (lacking.length > 0) return lacking
  const { 'transaction.max.timeout.ms': max } = await cluster.brokerConfig(['transaction.max.timeout.ms'], { signal })
  if (max && settings.transactionTimeoutMs > Number(max)) {
    return [
      {
        level: 'problem',
        subject,
        message: `properties.transaction.timeout.ms is ${settings.transactionTimeoutMs}, the brokers allow ${max}`,
        fix: `sink.properties.transaction.timeout.ms: ${max}`,
      },
    ]
  }
  return [{ level: 'ok', subject, message: `transactional id ${settings.transactionalId}` }]
}

interface TopicChecks {
  readonly tables: readonly TableSchema[]
  readonly access: Access
  readonly saved: SavedState
  readonly signal: AbortSignal
}

async function checkTopics(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  { tables, access, saved, signal }: TopicChecks,
): Promise<Finding[]> {
  const names = topicsOf(tables, settings.topics)
  const others = [settings.options['dead.letter.topic'], settings.transactionTopic, settings.schemaTopic]
  const all = new Set([...names.values(), ...others.filter((name) => name !== undefined)])
  const visible = [...all].filter((name) => !access.hidden.has(name))
  const found = await cluster.topics(visible, { signal })
  const findings: Finding[] = []
  const keyless = keylessOf(settings, tables)
  for (const [id, name] of names) {
    if (access.hidden.has(name)) continue
    const info = found.get(name)
    if (info) {
      findings.push({ level: 'ok', subject: id, message: `goes to topic ${name}, ${info.partitions} partitions` })
      findings.push(...(await checkReplicas(cluster, name, signal)))
      const { 'cleanup.policy': policy } = await readableConfig(cluster, name, ['cleanup.policy'], { signal })
      if (isCompacted(policy)) findings.push(...compacted(settings, id, name, keyless))
    } else if (settings.options['topic.creation.enable']) {
      findings.push({ level: 'ok', subject: id, message: `goes to topic ${name}, which will be made` })
      if (isCompacted(newTopic(settings).config['cleanup.policy']))
        findings.push(...compacted(settings, id, name, keyless))
    } else {
      findings.push({
        level: 'problem',
        subject: id,
        message: `topic ${name} does not exist`,
        fix: `kafka-topics.sh --bootstrap-server HOST:PORT --create --topic ${name} --partitions 1`,
      })
    }
  }
  const shown = new Map([...names].filter(([, name]) => !access.hidden.has(name)))
  return [
    ...findings,
    ...(await checkKnownTopics(cluster, settings, { saved, found, tables: shown }, { signal })),
    ...(await checkDeadLetters(cluster, settings, visible, { signal })),
  ]
}

function keylessOf(settings: KafkaSettings, tables: readonly TableSchema[]): ReadonlySet<TableId> {
  const given = messageFormatFrom(settings.options, { logicalName: settings.topics.prefix })
  const format = createMessageFormat(given)
  return new Set(tables.filter((schema) => format.keyless(schema)).map(({ id }) => id))
}

function compacted({ options }: KafkaSettings, id: TableId, name: string, keyless: ReadonlySet<TableId>): Finding[] {
  if (keyless.has(id)) {
    const { message, fix } = keylessTable(id, name)
    return [{ level: 'problem', subject: id, message, ...(fix === null ? {} : { fix }) }]
  }
  if (options['truncate.partitions'] === 'none') return []
  return [{ level: 'warning', subject: id, message: truncateNote(name) }]
}

/** The source forgets what was acknowledged, so one replica that has it is thin ice. */
async function checkReplicas(cluster: KafkaCluster, name: string, signal: AbortSignal): Promise<Finding[]> {
  const config = await readableConfig(cluster, name, ['min.insync.replicas'], { signal })
  if (config['min.insync.replicas'] !== '1') return []
  const message = 'min.insync.replicas is 1: what one broker acknowledged alone is lost with it'
  return [{ level: 'info', subject: name, message }]
}
