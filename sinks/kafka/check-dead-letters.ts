/** Whether the dead letter topic takes what the others do not. */
import type { Finding } from '../../core/define.js'
import type { KafkaCluster } from '../../drivers/kafka.js'
import { readableConfig } from './readable-config.js'
import type { KafkaSettings } from './settings.js'

type Asked = { readonly signal: AbortSignal }
const LIMIT = 'max.message.bytes'

/** `topics`: where rows go. A topic that is yet to be made gets `topic.creation.config`, the dead letter topic too. */
export async function checkDeadLetters(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  topics: readonly string[],
  { signal }: Asked,
): Promise<Finding[]> {
  const { options } = settings
  const dead = options['dead.letter.topic']
  if (dead === undefined || options['message.too.large'] !== 'dead-letter') return []
  const found = await cluster.topics([...new Set([...topics, dead])], { signal })
  const made = await limitOfNewTopics(cluster, settings, { signal })
  const limitOf = async (name: string): Promise<number> => {
    if (!found.get(name)) return made
    const config = await readableConfig(cluster, name, [LIMIT], { signal })
    return Number(config[LIMIT] ?? settings.maxMessageBytesDefault)
  }
  const limits = await Promise.all(topics.map(limitOf))
  const most = Math.max(0, ...limits)
  const own = await limitOf(dead)
  if (own > most) return [{ level: 'ok', subject: dead, message: `takes dead letters of up to ${own} bytes` }]
  const name = topics[limits.indexOf(most)]!
  const exists = Boolean(found.get(dead))
  const message = `the dead letter topic ${exists ? 'has' : 'would be made with'} ${LIMIT}=${own}, topic ${name} ${most}: it would not take what is too large there`
  const more = `${LIMIT}=${2 * most}`
  const fix = exists
    ? `kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic ${dead} --add-config ${more}`
    : `kafka-topics.sh --bootstrap-server HOST:PORT --create --topic ${dead} --partitions 1 --config ${more}`
  return [{ level: 'problem', subject: dead, message, fix }]
}

async function limitOfNewTopics(cluster: KafkaCluster, settings: KafkaSettings, { signal }: Asked): Promise<number> {
  const given = settings.options['topic.creation.config']?.[LIMIT]
  if (given !== undefined) return Number(given)
  const { 'message.max.bytes': brokers } = await cluster.brokerConfig(['message.max.bytes'], { signal })
  return Number(brokers ?? settings.maxMessageBytesDefault)
}
