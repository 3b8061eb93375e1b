/** Which topic a table's messages go to. */
import { TidemarkError } from '../../core/errors.js'
import type { TableId, TableSchema } from '../../core/model.js'

const TOPIC_CHARS_MAX = 249
const ILLEGAL = /[^a-zA-Z0-9._-]/
const EVERY_ILLEGAL = new RegExp(ILLEGAL, 'g')

export interface TopicOptions {
  /** One topic for every table. */
  readonly topic?: string | undefined
  /** `{prefix}`, `{database}`, `{schema}` and `{table}` are filled in. */
  readonly template: string
  readonly prefix: string
  readonly regex?: RegExp | undefined
  /** For what `regex` matched, with $1, $2... */
  readonly replacement?: string | undefined
  /** By full table name, parts without quotes and joined by dots. */
  readonly mapping: ReadonlyMap<string, string>
}

/** The topic's name, legal for Kafka. */
export function topicOf(schema: TableSchema, options: TopicOptions): string {
  const { topic, template, prefix, regex, replacement } = options
  const mapped = mappedTopic(schema, options)
  if (mapped !== undefined) return legal(mapped)
  if (topic !== undefined) return legal(topic)
  const values: Readonly<Record<string, string>> = {
    prefix,
    database: schema.database,
    schema: schema.namespace,
    table: schema.name,
  }
  const made = template.replace(/\$?\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole)
  return legal(regex === undefined ? made : made.replace(regex, replacement ?? ''))
}

/** The topic that `mapping` gives to the table. */
export function mappedTopic({ database, namespace, name }: TableSchema, { mapping }: TopicOptions): string | undefined {
  const full = mapping.get(`${database}.${namespace}.${name}`)
  return full ?? mapping.get(`${namespace}.${name}`) ?? mapping.get(name)
}

/** As Debezium does it: what Kafka does not allow becomes an underscore. */
export function legal(name: string): string {
  const clean = name.replace(EVERY_ILLEGAL, '_').slice(0, TOPIC_CHARS_MAX)
  return clean === '.' || clean === '..' || clean === '' ? `_${clean.slice(1)}` : clean
}

/** Tables to topics. Two tables that meet only because of characters that Kafka does not allow are an error. */
export function topicsOf(tables: readonly TableSchema[], options: TopicOptions): ReadonlyMap<TableId, string> {
  const found = new Map<TableId, string>()
  const wanted = new Map<string, { readonly raw: string; readonly id: TableId }>()
  const shared = options.topic !== undefined || options.regex !== undefined
  for (const schema of tables) {
    const name = topicOf(schema, options)
    const raw = `${schema.database}.${schema.namespace}.${schema.name}`
    const other = wanted.get(name)
    if (other !== undefined && !shared && !options.mapping.has(raw) && ILLEGAL.test(raw + other.raw)) {
      throw new TidemarkError('kafka.topic_collision', {
        message: `tables ${other.id} and ${schema.id} would both go to topic ${name}, because a topic's name has only letters, digits, ".", "_" and "-"`,
        fix: 'Give one of them a topic of its own: sink.tableId-to-topic.mapping, or a route.',
        at: 'sink.topic.template',
      })
    }
    wanted.set(name, { raw, id: schema.id })
    found.set(schema.id, name)
  }
  return found
}
