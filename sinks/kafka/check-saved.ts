/** What `tidemark check` says of the checkpoint: whether it can be read, and whether the topics are those that it knows. */
import type { Finding } from '../../core/define.js'
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import type { KafkaCluster, TopicShape } from '../../drivers/kafka.js'
import { CheckpointTopic, NO_STATE, type SavedState } from './checkpoint-topic.js'
import { KnownTopics } from './known-topics.js'
import type { KafkaSettings } from './settings.js'
import { holdsMessages } from './targets.js'

type Options = { readonly signal: AbortSignal }

export interface CheckedCheckpoint {
  readonly findings: readonly Finding[]
  readonly saved: SavedState
}

export async function checkCheckpointTopic(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  { signal }: Options,
): Promise<CheckedCheckpoint> {
  const topic = new CheckpointTopic(cluster, settings.checkpointTopic, settings.pipeline)
  const subject = topic.name
  const one = (finding: Omit<Finding, 'subject'>, saved = NO_STATE) => ({ findings: [{ ...finding, subject }], saved })
  if (!(await topic.exists({ signal }))) {
    return one({ level: 'ok', message: 'the checkpoint topic will be made at the first start' })
  }
  const problem = await topic.problem({ signal })
  if (problem !== null) return one({ level: 'problem', ...problem })
  try {
    const until = await cluster.endOffset(topic.name, 0, 'committed', { signal })
    const saved = await topic.read(until, { signal, timeoutMs: settings.options['checkpoint.read.timeout'] })
    const holds = saved.checkpoint === null ? 'holds no checkpoint yet' : 'holds the checkpoint'
    return one({ level: 'ok', message: `${holds}: one partition, compacted` }, saved)
  } catch (error) {
    if (!(error instanceof TidemarkError) || error.code !== 'kafka.checkpoint_topic') throw error
    const fix = error.fix === null ? {} : { fix: error.fix }
    return one({ level: 'problem', message: error.message, ...fix })
  }
}

interface FoundTopics {
  readonly saved: SavedState
  readonly found: ReadonlyMap<string, TopicShape | null>
  /** Topics of tables. */
  readonly tables: ReadonlyMap<TableId, string>
}

/** Problems of topics that were written before, and what consumers of new ones will meet. */
export async function checkKnownTopics(
  cluster: KafkaCluster,
  settings: KafkaSettings,
  { saved, found, tables }: FoundTopics,
  { signal }: Options,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const accepted = (message: string) => void findings.push({ level: 'warning', subject: 'topic.change', message })
  const known = new KnownTopics(settings, saved.topics, accepted)
  const add = (subject: string, error: TidemarkError | null, level: Finding['level']) => {
    if (error === null) return
    findings.push({ level, subject, message: error.message, ...(error.fix === null ? {} : { fix: error.fix }) })
  }
  if (saved.checkpoint !== null) add(settings.checkpointTopic, known.otherwise(), 'problem')
  for (const [name, shape] of found) add(name, known.problem(name, shape), 'problem')
  // A table that is new since may go to a topic that is new.
  for (const [id, name] of tables) add(name, known.elsewhere(id, name), 'warning')
  for (const name of new Set(tables.values())) {
    const shape = found.get(name)
    if (known.has(name) || !shape || !(await holdsMessages(cluster, name, shape.partitions, { signal }))) continue
    const message = 'holds messages already: the snapshot goes behind them, and consumers see its rows again'
    findings.push({ level: 'warning', subject: name, message })
  }
  return findings
}
