/** What the options of the kafka sink say together: topics with two roles, options without effect, rules for no table. */
import type { Inspected, OptionNote, TableMistakes } from '../../core/define.js'
import { connectionWithoutEffect } from '../../drivers/kafka-options.js'
import { keyColumnMistakes } from '../formats/message-key-columns.js'
import { messageWithoutEffect } from '../message-effect.js'
import type { KafkaSinkOptions } from './options.js'
import { kafkaSettings } from './settings.js'
import { topicClashes, topicMistakes } from './topic-roles.js'

export function inspectKafkaSink(options: KafkaSinkOptions, { pipeline, given }: Inspected): OptionNote[] {
  const settings = kafkaSettings(options, pipeline)
  const idle = [
    ...Object.keys(given).flatMap((option): [string, string][] => {
      const why = withoutEffect(option, options, settings.exactlyOnce)
      return why === null ? [] : [[option, why]]
    }),
    ...connectionWithoutEffect(options, given),
    ...messageWithoutEffect(options, given),
  ]
  return [
    ...topicClashes(settings).map((clash): OptionNote => ({ ...clash, level: 'mistake' })),
    ...idle.map(([option, why]): OptionNote => ({ option, message: `has no effect: ${why}`, level: 'warning' })),
  ]
}

function withoutEffect(option: string, options: KafkaSinkOptions, exactlyOnce: boolean): string | null {
  const given = (name: keyof KafkaSinkOptions) => options[name] !== undefined
  switch (option) {
    case 'dead.letter.topic':
      return options['message.too.large'] === 'dead-letter'
        ? null
        : `message.too.large is ${options['message.too.large']}`
    case 'claim.check.path':
      return options['message.too.large'] === 'claim-check'
        ? null
        : `message.too.large is ${options['message.too.large']}`
    case 'delivery':
      return given('sink.delivery-guarantee') ? 'sink.delivery-guarantee comes first' : null
    case 'sink.transactional.id.prefix':
      if (given('transactional.id')) return 'transactional.id comes first'
      return exactlyOnce ? null : WITHOUT_TRANSACTIONS
    case 'transactional.id':
    case 'properties.transaction.timeout.ms':
      return exactlyOnce ? null : WITHOUT_TRANSACTIONS
    case 'topic.template':
    case 'topic.regex':
    case 'topic.replacement':
      return given('topic') ? '`topic` says where all tables go' : null
    case 'topic.creation.default.partitions':
    case 'topic.creation.config':
      return options['topic.creation.enable'] ? null : 'topic.creation.enable is off'
    case 'schema.changes.topic':
      return options['include.schema.changes'] ? null : 'include.schema.changes is off'
    default:
      return null
  }
}

const WITHOUT_TRANSACTIONS = 'delivery is at-least-once: there are no transactions'

/** Options that say more of tables than that they have a topic each. */
const OF_TABLES = [
  'message.key.columns',
  'sink.tableId-to-topic.mapping',
  'topic.regex',
  'checkpoint.topic',
  'dead.letter.topic',
  'schema.changes.topic',
] as const
const TEMPLATE_DEFAULT = '{prefix}.{schema}.{table}'

export function kafkaTableMistakes(options: KafkaSinkOptions, pipeline: string): TableMistakes | null {
  const speaks = OF_TABLES.some((name) => options[name] !== undefined)
  if (!speaks && options['topic.template'] === TEMPLATE_DEFAULT) return null
  const settings = kafkaSettings(options, pipeline)
  const keys = options['message.key.columns']
  return (tables, complete) => [
    ...topicMistakes(settings, tables, complete),
    ...(keys === undefined ? [] : keyColumnMistakes(keys, tables, complete)),
  ]
}
