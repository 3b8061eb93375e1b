/** One topic has one role: what two options would write into the same topic is a mistake, as are rules for no table. */
import { nearest, suggest } from '../../core/did-you-mean.js'
import { TidemarkError } from '../../core/errors.js'
import type { TableSchema } from '../../core/model.js'
import type { KafkaSettings } from './settings.js'
import { mappedTopic, topicOf } from './topics.js'

interface Role {
  readonly topic: string
  /** e.g. "checkpoints". */
  readonly holds: string
  /** The option that names the topic, also where its default does. */
  readonly option: string
}

export interface Clash {
  readonly option: string
  readonly message: string
}

const MAPPING = 'sink.tableId-to-topic.mapping'

/** Topics that are known without tables, those that rows go to aside. */
function ownTopics({ options, checkpointTopic, transactionTopic, schemaTopic }: KafkaSettings): Role[] {
  const found: Role[] = [{ topic: checkpointTopic, holds: 'checkpoints', option: 'checkpoint.topic' }]
  const dead = options['dead.letter.topic']
  if (dead !== undefined) found.push({ topic: dead, holds: 'dead letters', option: 'dead.letter.topic' })
  if (transactionTopic !== undefined) {
    found.push({ topic: transactionTopic, holds: 'transactions', option: 'provide.transaction.metadata' })
  }
  if (schemaTopic !== undefined) {
    const option = options['schema.changes.topic'] === undefined ? 'include.schema.changes' : 'schema.changes.topic'
    found.push({ topic: schemaTopic, holds: 'schema changes', option })
  }
  return found
}

function rowTopics({ topics }: KafkaSettings): Role[] {
  const mapped = [...topics.mapping].map(([table, topic]) => ({ topic, holds: `rows of ${table}`, option: MAPPING }))
  return topics.topic === undefined ? mapped : [...mapped, { topic: topics.topic, holds: 'rows', option: 'topic' }]
}

/** Clashes that need no table to show. */
export function topicClashes(settings: KafkaSettings): Clash[] {
  const found: Clash[] = []
  const taken: Role[] = []
  for (const role of ownTopics(settings)) {
    found.push(...clash(role, taken))
    taken.push(role)
  }
  return [...found, ...rowTopics(settings).flatMap((role) => clash(role, taken))]
}

function clash({ topic, holds, option }: Role, taken: readonly Role[]): Clash[] {
  const other = taken.find((role) => role.topic === topic)
  if (other === undefined) return []
  return [{ option, message: `${holds} would go to topic ${topic}, which holds ${other.holds} (${other.option})` }]
}

/** What of the options does not fit the tables. `complete`: there are no others. */
export function topicMistakes(
  settings: KafkaSettings,
  tables: readonly TableSchema[],
  complete: boolean,
): TidemarkError[] {
  const taken = ownTopics(settings)
  const clashes = tables.flatMap((schema) => {
    const option =
      mappedTopic(schema, settings.topics) !== undefined ? MAPPING : settings.topics.topic ? 'topic' : 'topic.template'
    return clash({ topic: topicOf(schema, settings.topics), holds: `rows of table ${schema.id}`, option }, taken)
  })
  return [
    ...clashes.map(
      ({ option, message }) =>
        new TidemarkError('kafka.topic_collision', {
          message,
          fix: 'Give each of them a topic of its own.',
          at: `sink.${option}`,
        }),
    ),
    ...(complete ? idleMappings(settings, tables) : []),
  ]
}

/** A misspelt table would go to a topic that nobody meant for it. */
function idleMappings({ topics }: KafkaSettings, tables: readonly TableSchema[]): TidemarkError[] {
  const used = new Set(
    tables.flatMap(({ database, namespace, name }) => [
      `${database}.${namespace}.${name}`,
      `${namespace}.${name}`,
      name,
    ]),
  )
  const names = tables.map(({ namespace, name }) => `${namespace}.${name}`)
  return [...topics.mapping.keys()]
    .filter((table) => !used.has(table))
    .map(
      (table) =>
        new TidemarkError('config.invalid', {
          message: `${MAPPING}: no captured table is called ${table}`,
          fix: `Correct the name or remove it.${suggest(nearest(table, names))}`,
          at: `sink.${MAPPING}`,
        }),
    )
}
