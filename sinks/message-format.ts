/** The options that choose how messages are written, for every sink that carries messages. Names are Debezium's and Flink CDC's. */
import { z } from 'zod'
import { TidemarkError } from '../core/errors.js'
import {
  BINARY_MODES,
  DECIMAL_MODES,
  DEFAULT_MODES,
  HSTORE_MODES,
  INTERVAL_MODES,
  TIME_MODES,
} from './formats/debezium-modes.js'
import { MAXWELL_SNAPSHOT_TYPES } from './formats/maxwell-json.js'
import type { Headers } from './formats/message-buffers.js'
import { parseKeyColumns } from './formats/message-key-columns.js'
import {
  defaultMessageOptions,
  isDebezium,
  isRegistered,
  MESSAGE_FORMAT_NAMES,
  type MessageFormatOptions,
} from './formats/message-options.js'

import { SUBJECT_STRATEGIES, type SubjectOptions, type SubjectStrategy } from './formats/registered-schemas.js'
import { TRANSACTION_ID_MODES } from './formats/transactions.js'

const MONEY_DIGITS_MAX = 10

const CONFLUENT = 'io.confluent.kafka.serializers.subject.'
const subjectStrategy = z
  .enum([
    ...SUBJECT_STRATEGIES,
    ...SUBJECT_STRATEGIES.map((name): `${typeof CONFLUENT}${typeof name}` => `${CONFLUENT}${name}`),
  ])
  .default('TopicNameStrategy')

/** Spread into a sink's options. */
export const messageFormatOptions = {
  'value.format': z
    .enum(MESSAGE_FORMAT_NAMES)
    .default('debezium-json')
    .describe(
      'debezium-json: Debezium envelopes. row-json: plain rows with __op and __table. canal-json, maxwell-json: as Canal and Maxwell write them. cloudevents: CloudEvents 1.0. avro, json-schema: Debezium envelopes whose schemas are in a registry.',
    ),
  'key.format': z
    .enum(['json', 'csv'])
    .default('json')
    .describe(
      "csv: keys as Flink CDC's Kafka sink writes them; with flavor flink only. Avro and JSON Schema have keys of their own.",
    ),
  'debezium-json.flavor': z
    .enum(['debezium', 'flink'])
    .default('debezium')
    .describe("flink: debezium-json as Flink CDC's Kafka sink writes it."),
  'debezium-json.include-schema.enabled': z
    .boolean()
    .default(false)
    .describe("Keys and values bring their Kafka Connect schemas, as with JsonConverter's schemas.enable."),
  'canal-json.flavor': z
    .enum(['canal', 'flink'])
    .default('canal')
    .describe("flink: canal-json as Flink CDC's Kafka sink writes it."),
  'maxwell-json.snapshot.type': z
    .enum(MAXWELL_SNAPSHOT_TYPES)
    .default('bootstrap-insert')
    .describe(
      'The type of the rows of a snapshot. bootstrap-insert: as Maxwell. insert: for Flink, which knows no other.',
    ),
  'cloudevents.mode': z
    .enum(['structured', 'binary'])
    .default('structured')
    .describe('structured: one JSON object. binary: the attributes are headers, ce_id and so on.'),
  'tombstones.on.delete': z
    .boolean()
    .optional()
    .describe(
      'A delete is followed by a message with its key and no value. Default: true for debezium-json, cloudevents and row-json, false for the others and for flavor flink.',
    ),
  'decimal.handling.mode': z.enum(DECIMAL_MODES).default(DEFAULT_MODES.decimal).describe('How decimals are written.'),
  'time.precision.mode': z.enum(TIME_MODES).default(DEFAULT_MODES.time).describe('How dates and times are written.'),
  'binary.handling.mode': z.enum(BINARY_MODES).default(DEFAULT_MODES.binary).describe('How bytes are written.'),
  'interval.handling.mode': z
    .enum(INTERVAL_MODES)
    .default(DEFAULT_MODES.interval)
    .describe('numeric: microseconds, a month counting 30.4375 days. string: ISO 8601.'),
  'hstore.handling.mode': z
    .enum(HSTORE_MODES)
    .default(DEFAULT_MODES.hstore)
    .describe('json: an hstore is the text of a JSON object. map: an object.'),
  'money.fraction.digits': z
    .int()
    .min(0)
    .max(MONEY_DIGITS_MAX)
    .default(DEFAULT_MODES.moneyDigits)
    .describe('Digits after the point of money.'),
  'include.unknown.datatypes': z
    .boolean()
    .default(DEFAULT_MODES.unknown)
    .describe("Columns of types that Debezium does not know are written as their text's bytes instead of left out."),
  'message.key.columns': z
    .string()
    .optional()
    .describe(
      'Other key columns than the table has: schema.table:column,column;... with a regular expression for the table.',
    ),
  'extended.headers.enabled': z
    .boolean()
    .optional()
    .describe("Debezium's __debezium.context headers. Default: true for debezium-json and cloudevents."),
  'provide.transaction.metadata': z
    .boolean()
    .default(false)
    .describe('Envelopes carry their place in their transaction, and a topic its BEGIN and END.'),
  'transaction.id.mode': z
    .enum(TRANSACTION_ID_MODES)
    .default('transaction')
    .describe(
      "transaction: one id for all events of a transaction. event: Debezium's for PostgreSQL, different for each event.",
    ),
  'schema.registry.url': z
    .string()
    .optional()
    .describe('Addresses of the schema registry, separated by commas. Needed by avro and json-schema.'),
  'schema.registry.basic.auth.user.info': z.string().optional().describe('user:password for the schema registry.'),
  'schema.registry.bearer.auth.token': z.string().optional().describe('A bearer token for the schema registry.'),
  'auto.register.schemas': z
    .boolean()
    .default(true)
    .describe('Schemas are registered where the registry does not have them; otherwise that is an error.'),
  'key.subject.name.strategy': subjectStrategy.describe("How the subject of a key's schema is called."),
  'value.subject.name.strategy': subjectStrategy.describe("How the subject of a value's schema is called."),
  'sink.add-tableId-to-header-enabled': z
    .boolean()
    .default(false)
    .describe('Headers namespace, schemaName and tableName on every message.'),
  'sink.custom-header': z.string().optional().describe('Headers that every message gets: name:value,name:value.'),
  'table-id.include-database': z
    .boolean()
    .default(false)
    .describe("The database belongs to Flink's table ids: header namespace, TableId in keys of flavor flink."),
}

const shape = z.object(messageFormatOptions)
export type MessageFormatGiven = z.infer<typeof shape>

export interface MessageFormatContext {
  /** The topic prefix, Debezium's logical name. */
  readonly logicalName: string
  readonly connector?: string
  /** Told why a format waits for its schema registry. */
  readonly onWait?: (line: string) => void
}

/** What createMessageFormat() takes, from a sink's options. Throws `config.invalid`. */
export function messageFormatFrom(given: MessageFormatGiven, context: MessageFormatContext): MessageFormatOptions {
  const name = given['value.format']
  const flavor =
    (name === 'debezium-json' && given['debezium-json.flavor'] === 'flink') ||
    (name === 'canal-json' && given['canal-json.flavor'] === 'flink')
      ? 'flink'
      : 'original'
  const defaults = defaultMessageOptions(name, context.logicalName)
  const original = flavor === 'original'
  const keyColumns = given['message.key.columns']
  if (given['key.format'] === 'csv' && original) {
    throw new TidemarkError('config.invalid', {
      message: `key.format: csv goes with flavor flink; value.format: ${name} has no such keys.`,
      fix: 'Leave key.format out, or set debezium-json.flavor or canal-json.flavor: flink.',
      at: 'sink.key.format',
    })
  }
  return {
    ...defaults,
    ...(context.connector === undefined ? {} : { connector: context.connector }),
    flavor,
    keyFormat: given['key.format'],
    cloudEventsMode: given['cloudevents.mode'],
    snapshotType: given['maxwell-json.snapshot.type'],
    tombstones: given['tombstones.on.delete'] ?? (defaults.tombstones && original),
    transactionIds: given['provide.transaction.metadata'] ? given['transaction.id.mode'] : null,
    includeSchema: given['debezium-json.include-schema.enabled'],
    modes: {
      ...DEFAULT_MODES,
      decimal: given['decimal.handling.mode'],
      time: given['time.precision.mode'],
      binary: given['binary.handling.mode'],
      interval: given['interval.handling.mode'],
      hstore: given['hstore.handling.mode'],
      moneyDigits: given['money.fraction.digits'],
      unknown: given['include.unknown.datatypes'],
    },
    contextHeaders: given['extended.headers.enabled'] ?? (isDebezium(name) && original),
    tableIdHeaders: given['sink.add-tableId-to-header-enabled'],
    tableIdDatabase: given['table-id.include-database'],
    fixedHeaders: customHeaders(given['sink.custom-header'] ?? ''),
    ...(keyColumns === undefined ? {} : { keyColumns: parseKeyColumns(keyColumns) }),
    ...(isRegistered(name) ? { subjects: subjectsOf(given, context.onWait) } : {}),
  }
}

function subjectsOf(given: MessageFormatGiven, onWait?: (line: string) => void): SubjectOptions {
  const urls = (given['schema.registry.url'] ?? '').split(',').map((url) => url.trim())
  if (!urls.every((url) => URL.canParse(url))) {
    throw new TidemarkError('config.invalid', {
      message: `value.format: ${given['value.format']} needs schema.registry.url, and it is not a list of addresses.`,
      fix: 'Set schema.registry.url, for example http://localhost:8081.',
      at: 'sink.schema.registry.url',
    })
  }
  if (urls.some((url) => new URL(url).username !== '' || new URL(url).password !== '')) {
    throw new TidemarkError('config.invalid', {
      message: 'schema.registry.url has a login in it, which is not used.',
      fix: 'Give schema.registry.basic.auth.user.info: user:password.',
      at: 'sink.schema.registry.url',
    })
  }
  const basicAuth = given['schema.registry.basic.auth.user.info']
  const bearerToken = given['schema.registry.bearer.auth.token']
  const strategy = (name: string) => name.replace(CONFLUENT, '') as SubjectStrategy
  return {
    registry: {
      urls,
      autoRegister: given['auto.register.schemas'],
      ...(basicAuth === undefined ? {} : { basicAuth }),
      ...(bearerToken === undefined ? {} : { bearerToken }),
      ...(onWait === undefined ? {} : { onWait }),
    },
    keySubject: strategy(given['key.subject.name.strategy']),
    valueSubject: strategy(given['value.subject.name.strategy']),
  }
}

function customHeaders(text: string): Headers {
  if (text.trim() === '') return []
  return text.split(',').map((pair) => {
    const [name, value, ...rest] = pair.split(':').map((part) => part.trim())
    if (name && value !== undefined && rest.length === 0) return [name, value] as const
    throw new TidemarkError('config.invalid', {
      message: `sink.custom-header: "${pair.trim()}" is not name:value.`,
      fix: 'Write name:value pairs and separate them with commas.',
      at: 'sink.sink.custom-header',
    })
  })
}
