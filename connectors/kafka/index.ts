/** The kafka source as a connector. */
import { defineSource } from '../../core/define.js'
import { connectionWithoutEffect } from '../../drivers/kafka-options.js'
import { checkKafkaSource, dropKafkaSource, statusKafkaSource } from './check.js'
import { type KafkaSourceOptions, kafkaSourceOptions } from './options.js'
import { KafkaSource } from './source.js'

export const kafkaSource = defineSource<KafkaSourceOptions>({
  connector: 'kafka',
  summary:
    'Topics of change messages (debezium-json, canal-json, maxwell-json) read as a log, without a consumer group: behind a Debezium, TiCDC or Maxwell that is there already.',
  options: kafkaSourceOptions as never,
  inspect: (options, { given }) =>
    connectionWithoutEffect(options, given).map(([option, why]) => ({
      option,
      message: `has no effect: ${why}`,
      level: 'warning',
    })),
  create: (options, { pipeline }) => new KafkaSource(options, pipeline),
  check: checkKafkaSource,
  status: statusKafkaSource,
  drop: dropKafkaSource,
})
