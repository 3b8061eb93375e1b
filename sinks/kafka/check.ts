/** What `tidemark check` says of a Kafka cluster. Makes and changes nothing. */
import type { Finding } from '../../core/define.js'
import type { TableSchema } from '../../core/model.js'
import { KafkaCluster } from '../../drivers/kafka.js'
import { CheckpointTopic } from './checkpoint-topic.js'
import { kafkaOptions } from './connection.js'
import { readableConfig } from './readable-config.js'
import type { KafkaSettings } from './settings.js'
import { topicsOf } from './topics.js'

interface CheckContext {
  readonly signal: AbortSignal
  readonly tables?: readonly TableSchema[]
}

export async function checkKafkaSink(
  settings: KafkaSettings,
  { signal, tables }: CheckContext,
): Promise<readonly Finding[]> {
  const cluster = await KafkaCluster.connect(kafkaOptions(settings.options, settings.pipeline), { signal })
  try {
    const servers = settings.options['properties.bootstrap.servers']
    return [
      { level: 'ok', subject: servers, message: 'reached' },
      ...(await checkTransactions(cluster, settings, signal)),
      ...(await checkCheckpointTopic(cluster, settings, signal)),
      ...(tables === undefined ? [] : await checkTopics(cluster, settings, tables, signal)),
    ]
  } finally {
    await cluster.close()
  }
}

async function checkTransactions(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  signal: AbortSignal,
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

async function checkCheckpointTopic(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  signal: AbortSignal,
): Promise<Finding[]> {
  const topic = new CheckpointTopic(cluster, settings.checkpointTopic, settings.pipeline)
  const subject = topic.name
  if (!(await topic.exists({ signal }))) {
    return [{ level: 'ok', subject, message: 'the checkpoint topic will be made at the first start' }]
  }
  const problem = await topic.problem({ signal })
  if (problem !== null) return [{ level: 'problem', subject, ...problem }]
  return [{ level: 'ok', subject, message: 'holds the checkpoint: one partition, compacted' }]
}

async function checkTopics(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  tables: readonly TableSchema[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const names = topicsOf(tables, settings.topics)
  const found = await cluster.topics([...new Set(names.values())], { signal })
  const findings: Finding[] = []
  for (const [id, name] of names) {
    const info = found.get(name)
    if (info) {
      findings.push({ level: 'ok', subject: id, message: `goes to topic ${name}, ${info.partitions} partitions` })
      findings.push(...(await checkReplicas(cluster, name, signal)))
    } else if (settings.options['topic.creation.enable']) {
      findings.push({ level: 'ok', subject: id, message: `goes to topic ${name}, which will be made` })
    } else {
      findings.push({
        level: 'problem',
        subject: id,
        message: `topic ${name} does not exist`,
        fix: `kafka-topics.sh --bootstrap-server HOST:PORT --create --topic ${name} --partitions 1`,
      })
    }
  }
  return findings
}

/** The source forgets what was acknowledged, so one replica that has it is thin ice. */
async function checkReplicas(cluster: KafkaCluster, name: string, signal: AbortSignal): Promise<Finding[]> {
  const config = await readableConfig(cluster, name, ['min.insync.replicas'], { signal })
  if (config['min.insync.replicas'] !== '1') return []
  const message = 'min.insync.replicas is 1: what one broker acknowledged alone is lost with it'
  return [{ level: 'info', subject: name, message }]
}
