/** The options of the kafka source, under the names of Flink's Kafka connector and of our kafka sink where those have them. */
import { z } from 'zod'
import { duration, tablePatterns } from '../../core/options.js'
import { connectionOptions } from '../../drivers/kafka-options.js'

const DISCOVERY_MS_DEFAULT = 10_000
const DISCOVERY_MS_MIN = 100
const DISCOVERY_MS_MAX = 86_400_000
export const MESSAGE_FORMATS = ['debezium-json', 'canal-json', 'maxwell-json'] as const

const names = (value: string) =>
  value
    .split(/[,;]/)
    .map((name) => name.trim())
    .filter((name) => name !== '')

const list = () =>
  z.union([z.string().min(1).transform(names), z.array(z.string().min(1))]).refine((found) => found.length > 0, {
    message: 'it names nothing',
  })

/** `partition:0,offset:42;partition:1,offset:300`, in front of it `topic:NAME,` where there are several topics. */
const specificOffsets = z.string().transform((value, context) => {
  const found: SpecificOffset[] = []
  for (const part of value.split(';')) {
    if (part.trim() === '') continue
    const match = /^\s*(?:topic:([^,]+),\s*)?partition:(\d+),\s*offset:(\d+)\s*$/.exec(part)
    if (match === null) {
      const message = `"${part.trim()}" is not understood; write partition:0,offset:42;... or topic:NAME,partition:0,offset:42;...`
      context.addIssue({ code: 'custom', message })
    } else found.push({ topic: match[1]?.trim() ?? null, partition: Number(match[2]), offset: BigInt(match[3]!) })
  }
  return found as readonly SpecificOffset[]
})

export interface SpecificOffset {
  /** Null: the only topic. */
  readonly topic: string | null
  readonly partition: number
  readonly offset: bigint
}

const { 'properties.acks': _, ...connection } = connectionOptions

export const kafkaSourceOptions = z
  .strictObject({
    ...connection,
    topics: list()
      .optional()
      .describe('Topics to read: names, * and ? match any part of one; commas, semicolons or a list for several.'),
    topic: list().optional().describe("Flink's name for `topics`."),
    'topic-pattern': z
      .string()
      .min(1)
      .transform((value, context) => {
        try {
          return new RegExp(`^(?:${value})$`)
        } catch (error) {
          context.addIssue({ code: 'custom', message: `is no regular expression: ${(error as Error).message}` })
          return z.NEVER
        }
      })
      .optional()
      .describe('A regular expression that whole names of topics match, instead of `topics`.'),
    'value.format': z
      .enum(MESSAGE_FORMATS)
      .default('debezium-json')
      .describe(
        'What messages are. debezium-json: envelopes with or without embedded schemas, and those of Flink. canal-json: also that of TiCDC.',
      ),
    'scan.startup.mode': z
      .enum(['earliest-offset', 'latest-offset', 'timestamp', 'specific-offsets'])
      .default('earliest-offset')
      .describe(
        'Where a first start begins; later ones go on where the sink is. Topics and partitions that come up later are read from their beginning.',
      ),
    'scan.startup.timestamp-millis': z
      .number()
      .int()
      .min(0)
      .optional()
      .describe('For `scan.startup.mode: timestamp`: milliseconds since 1970; the first record of that time or later.'),
    'scan.startup.specific-offsets': specificOffsets
      .optional()
      .describe(
        'For `scan.startup.mode: specific-offsets`: `partition:0,offset:42;partition:1,offset:300`, with `topic:NAME,` in front where there are several.',
      ),
    'scan.topic-partition-discovery.interval': duration(DISCOVERY_MS_MIN, DISCOVERY_MS_MAX)
      .default(DISCOVERY_MS_DEFAULT)
      .describe('How often new partitions and new topics are looked for.'),
    tables: z
      .union([tablePatterns(), z.array(tablePatterns()).min(1)])
      .optional()
      .describe('Only these tables of the messages: schema.table, * and ? match any name (default: all).'),
    'tables.exclude': z
      .union([tablePatterns(), z.array(tablePatterns())])
      .optional()
      .describe('Tables to leave out, in the same syntax.'),
    'table.name.from': z
      .enum(['message', 'topic'])
      .default('message')
      .describe(
        "Whose name a table has: the message's, or that of the topic, whose last two parts are schema and table (public where it has one).",
      ),
    'key.columns': z
      .record(z.string().min(1), z.union([z.string().min(1).transform(names), z.array(z.string().min(1)).min(1)]))
      .optional()
      .describe('Key columns by table, where messages do not name them: `public.orders: id`.'),
    'on.truncate': z
      .enum(['stop', 'apply', 'skip'])
      .default('stop')
      .describe(
        'What to do with a truncate in a topic of several partitions, whose changes have no order among them: stop; apply it when it is read; or pass over it. With one partition it is always applied.',
      ),
    'on.bad.message': z
      .enum(['stop', 'skip'])
      .default('stop')
      .describe('What to do with a message that cannot be read: stop and name it, or pass over it and count it.'),
  })
  .superRefine((options, context) => {
    const issue = (message: string, name?: string) =>
      context.addIssue({ code: 'custom', message, ...(name === undefined ? {} : { path: [name] }) })
    const given = (['topics', 'topic', 'topic-pattern'] as const).filter((name) => options[name] !== undefined)
    if (given.length === 0) issue('give `topics`, or `topic-pattern`')
    for (const name of given.slice(1)) issue(`give either \`${given[0]}\` or \`${name}\``, name)
    const mode = options['scan.startup.mode']
    for (const [name, wanted] of [
      ['scan.startup.timestamp-millis', 'timestamp'],
      ['scan.startup.specific-offsets', 'specific-offsets'],
    ] as const) {
      if (mode === wanted && options[name] === undefined) issue(`${wanted} needs \`${name}\``, 'scan.startup.mode')
      if (mode !== wanted && options[name] !== undefined) issue(`give \`scan.startup.mode: ${wanted}\` as well`, name)
    }
  })

export type KafkaSourceOptions = z.output<typeof kafkaSourceOptions>
