/** Compacted topics take no message without a key, so what has none must not be sent there: brokers refuse it for ever. */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import type { RecordsRefused } from '../../drivers/kafka.js'

export function isCompacted(cleanupPolicy: string | undefined): boolean {
  return cleanupPolicy?.split(',').some((policy) => policy.trim() === 'compact') ?? false
}

/** A table whose messages have no key. */
export function keylessTable(table: TableId, topic: string): TidemarkError {
  return new TidemarkError('kafka.record_refused', {
    message: `table ${table} goes to topic ${topic}, which is compacted (cleanup.policy) and takes no messages without a key, and the table has none`,
    fix: `sink.message.key.columns: ${table}:COLUMN gives its messages a key; or send the table to a topic with cleanup.policy=delete`,
    at: 'sink.message.key.columns',
  })
}

export function truncateNote(topic: string): string {
  return `topic ${topic} is compacted and takes no messages without a key: a TRUNCATE stops the pipeline there, unless truncate.partitions: none leaves truncates out`
}

/** What the broker said, with what it was about. */
export function refusedWith(tables: readonly TableId[], refused: RecordsRefused): TidemarkError {
  const { topic, keyless } = refused
  const fix = keyless
    ? `A truncate, and a table without a key, give messages without one, and ${topic} is compacted. sink.truncate.partitions: none leaves truncates out; sink.message.key.columns gives a table a key; or: kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic ${topic} --add-config cleanup.policy=delete`
    : `Change the settings of topic ${topic}, or send the table elsewhere: sink.tableId-to-topic.mapping.`
  return new TidemarkError('kafka.record_refused', {
    message: `${tables.length > 0 ? `table ${tables.join(', ')}: ` : ''}${refused.message}`,
    fix,
    at: keyless ? 'sink.truncate.partitions' : 'sink.tableId-to-topic.mapping',
    cause: refused,
  })
}
