/** Settings of a topic as far as this user may see them. */
import { TidemarkError } from '../../core/errors.js'
import type { KafkaCluster } from '../../drivers/kafka.js'

/** Without the DescribeConfigs operation there is nothing to see, and that stops nobody: callers assume defaults. */
export async function readableConfig(
  cluster: KafkaCluster,
  topic: string,
  keys: readonly string[],
  options: { readonly signal: AbortSignal },
): Promise<Readonly<Record<string, string>>> {
  try {
    return await cluster.topicConfig(topic, keys, options)
  } catch (error) {
    if (error instanceof TidemarkError && error.code === 'kafka.permission') return {}
    throw error
  }
}
