/** What a message format can be asked for. sinks/message-format.ts makes it from a sink's options. */
import type { TableSchema } from '../../core/model.js'
import { DEFAULT_MODES, type DebeziumModes } from './debezium-modes.js'
import type { MaxwellSnapshotType } from './maxwell-json.js'
import type { HeaderOptions } from './message-headers.js'
import type { SubjectOptions } from './registered-schemas.js'
import type { TransactionIdMode } from './transactions.js'

export const MESSAGE_FORMAT_NAMES = [
  'debezium-json',
  'row-json',
  'canal-json',
  'maxwell-json',
  'cloudevents',
  'avro',
  'json-schema',
] as const
export type MessageFormatName = (typeof MESSAGE_FORMAT_NAMES)[number]

export interface MessageFormatOptions extends Omit<HeaderOptions, 'runId'> {
  readonly name: MessageFormatName
  /** The topic prefix; Debezium's `source.name`. */
  readonly logicalName: string
  /** Debezium's `source.connector`; by default what the schema's dialect suggests. */
  readonly connector?: string
  /** Milliseconds since 1970, for the time of processing. Read once a batch. */
  readonly clock?: () => number
  readonly runId?: string
  /** The format as its inventor writes it, or as Flink CDC does: debezium-json, canal-json. */
  readonly flavor: 'original' | 'flink'
  /** csv: Flink's flavours alone. */
  readonly keyFormat: 'json' | 'csv'
  /** avro and json-schema: where schemas are registered. */
  readonly subjects?: SubjectOptions
  readonly cloudEventsMode: 'structured' | 'binary'
  /** maxwell-json: what a row of a snapshot is called. */
  readonly snapshotType: MaxwellSnapshotType
  /** A delete is followed by a message without a value. */
  readonly tombstones: boolean
  /** Events carry their place in their transaction, and its BEGIN and END are messages of their own; null: neither. */
  readonly transactionIds: TransactionIdMode | null
  readonly modes: DebeziumModes
  /** Keys and values bring their Connect schemas. */
  readonly includeSchema: boolean
  /** Positions of other key columns than the table's own; null: its own. */
  readonly keyColumns?: (schema: TableSchema) => readonly number[] | null
}

/** What Debezium does unless told otherwise. */
export function defaultMessageOptions(name: MessageFormatName, logicalName: string): MessageFormatOptions {
  return {
    name,
    logicalName,
    flavor: 'original',
    keyFormat: 'json',
    cloudEventsMode: 'structured',
    snapshotType: 'bootstrap-insert',
    tombstones: isUnwrapped(name) || isDebezium(name),
    transactionIds: null,
    modes: DEFAULT_MODES,
    includeSchema: false,
    contextHeaders: isDebezium(name),
    tableIdHeaders: false,
    tableIdDatabase: false,
    fixedHeaders: [],
  }
}

/** Formats that consumers of Debezium know: its headers, its tombstones. */
export function isDebezium(name: MessageFormatName): boolean {
  return name === 'debezium-json' || name === 'cloudevents' || isRegistered(name)
}

/** Events say which rows of a snapshot are the first and the last. */
export function saysSnapshot({ name, flavor }: MessageFormatOptions): boolean {
  return isDebezium(name) && flavor === 'original'
}

/** Formats whose messages name a schema in a registry. */
export function isRegistered(name: MessageFormatName): boolean {
  return name === 'avro' || name === 'json-schema'
}

function isUnwrapped(name: MessageFormatName): boolean {
  return name === 'row-json'
}
