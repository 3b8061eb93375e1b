/** Records to log items: what is decoded, what is passed over, and what stops the pipeline with a place and a reason. */

import { TidemarkError } from '../../core/errors.js'
import { type TxnRef, tableId } from '../../core/model.js'
import type { LogItem } from '../../core/source.js'
import { parseTablePatterns, type TablePattern } from '../../core/table-pattern.js'
import type { KafkaRecord } from '../../drivers/kafka.js'
import { CanalDecoder } from './canal-message.js'
import { FieldError } from './connect-types.js'
import { DebeziumDecoder } from './debezium-message.js'
import { JsonError } from './json.js'
import { MaxwellDecoder } from './maxwell-message.js'
import { BadMessage, type Message, type MessageDecoder, type MessageTable, type Passed } from './message.js'
import type { KafkaSourceOptions } from './options.js'
import { type Entry, MessageTables } from './tables.js'

/** Passed-over messages that are noted one by one; then only every so many. */
const NOTED_MAX = 10
const NOTED_EVERY = 10_000
/** What an object of ours takes beside its bytes. */
const RECORD_BYTES = 200
const TOPIC_SCHEMA_DEFAULT = 'public'
const DECODERS = { 'debezium-json': DebeziumDecoder, 'canal-json': CanalDecoder, 'maxwell-json': MaxwellDecoder }

export interface RecordPlace {
  readonly topic: string
  readonly partition: number
  /** How many the topic has. */
  readonly partitions: number
  readonly record: KafkaRecord
  /** Of the log entry, see KafkaPosition. */
  readonly ordinal: bigint
}

interface Decoded extends RecordPlace {
  readonly messages: readonly Message[]
}

/** `a.b.schema.table`: the last two parts. */
export function tableOfTopic(topic: string): MessageTable {
  const parts = topic.split('.').filter((part) => part !== '')
  const name = parts.at(-1) ?? topic
  const namespace = parts.at(-2) ?? TOPIC_SCHEMA_DEFAULT
  return { database: parts.at(-3) ?? namespace, namespace, name }
}

export function bytesOf({ key, value }: KafkaRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0) + RECORD_BYTES
}

export class RecordDecoding {
  readonly tables: MessageTables
  readonly #options: KafkaSourceOptions
  readonly #note: (line: string) => void
  readonly #decoders = new Map<string, MessageDecoder>()
  readonly #wanted: readonly TablePattern[] | null
  readonly #unwanted: readonly TablePattern[]
  readonly #chosen = new Map<string, boolean>()
  readonly passed = new Map<Passed['passed'] | 'bad message', number>()

  constructor(options: KafkaSourceOptions, note: (line: string) => void) {
    this.#options = options
    this.#note = note
    this.tables = new MessageTables(new Map(Object.entries(options['key.columns'] ?? {})))
    this.#wanted = options.tables === undefined ? null : parseTablePatterns(options.tables)
    this.#unwanted = parseTablePatterns(options['tables.exclude'] ?? [])
  }

  /** Looks at what types values have; what cannot be read is met again in its place. */
  learn(places: readonly Pick<RecordPlace, 'topic' | 'record'>[]): void {
    for (const place of places) {
      try {
        this.#decode(place)
      } catch (error) {
        if (!isBad(error)) throw error
      }
    }
    this.passed.clear()
  }

  /** In the order of the records. Throws `kafka.bad_message` unless they are to be skipped. */
  items(places: readonly RecordPlace[]): LogItem[] {
    const decoded: Decoded[] = []
    for (const place of places) {
      const messages = this.#guard(place, () => this.#decode(place))
      if (messages !== null && messages.length > 0) decoded.push({ ...place, messages })
    }
    const items = new ItemList()
    for (const place of decoded) {
      for (const message of place.messages) {
        const entry = this.#guard(place, () => this.tables.entry(message, atOf(place)))
        if (entry !== null && this.#mayTruncate(entry, place)) items.add(entry, message, place)
      }
    }
    return items.items
  }

  #decode({ topic, record }: Pick<RecordPlace, 'topic' | 'record'>): readonly Message[] {
    const found = this.#decoder(topic).decode(record)
    if ('passed' in found) {
      this.passed.set(found.passed, (this.passed.get(found.passed) ?? 0) + 1)
      return []
    }
    const fromTopic = this.#options['table.name.from'] === 'topic'
    const messages = (fromTopic ? found.map((m) => ({ ...m, table: tableOfTopic(topic) })) : found).filter(
      ({ table }) => this.#isChosen(table),
    )
    for (const message of messages) this.tables.learn(message)
    return messages
  }

  #decoder(topic: string): MessageDecoder {
    const known = this.#decoders.get(topic)
    if (known !== undefined) return known
    const made = new DECODERS[this.#options['value.format']](tableOfTopic(topic))
    this.#decoders.set(topic, made)
    return made
  }

  #isChosen(table: MessageTable): boolean {
    const id = `${table.database}\0${tableId(table.namespace, table.name)}`
    const known = this.#chosen.get(id)
    if (known !== undefined) return known
    const chosen =
      (this.#wanted === null || this.#wanted.some((pattern) => pattern.matches(table))) &&
      !this.#unwanted.some((pattern) => pattern.matches(table))
    this.#chosen.set(id, chosen)
    return chosen
  }

  /** What other partitions hold of the table may have happened before or after: no offset says so. */
  #mayTruncate(entry: Entry, { topic, partition, partitions, record }: RecordPlace): boolean {
    const policy = this.#options['on.truncate']
    if (entry.kind !== 'truncate' || partitions === 1 || policy === 'apply') return true
    if (policy === 'skip') {
      this.#note(`a truncate of ${entry.schema.id} was passed over (${topic}-${partition}, offset ${record.offset})`)
      return false
    }
    throw new TidemarkError('kafka.truncate', {
      message: `${topic}-${partition}, offset ${record.offset}: ${entry.schema.id} was truncated, and its topic has ${partitions} partitions: which changes of the others came before is not in Kafka`,
      fix: 'Empty the target yourself where that is right and set on.truncate: skip; or on.truncate: apply, which empties it when the message is read. Topics with one partition have no such question.',
      at: 'source.on.truncate',
    })
  }

  #guard<T>({ topic, partition, record }: RecordPlace, work: () => T): T | null {
    try {
      return work()
    } catch (error) {
      if (!isBad(error)) throw error
      const bad = badMessage(`${topic}-${partition}`, record.offset, this.#options['value.format'], error)
      if (this.#options['on.bad.message'] === 'stop') throw bad
      const count = (this.passed.get('bad message') ?? 0) + 1
      this.passed.set('bad message', count)
      if (count <= NOTED_MAX || count % NOTED_EVERY === 0) this.#note(`passed over (${count} so far): ${bad.message}`)
      return null
    }
  }
}

function isBad(error: unknown): error is BadMessage | JsonError | FieldError {
  return error instanceof BadMessage || error instanceof JsonError || error instanceof FieldError
}

export function badMessage(where: string, offset: bigint, format: string, error: Error): TidemarkError {
  const hint = error instanceof BadMessage ? error.fix : undefined
  return new TidemarkError('kafka.bad_message', {
    message: `${where}, offset ${offset}: the message cannot be read as ${format}: ${error.message}`,
    fix: hint ?? 'Correct value.format or `topics`; on.bad.message: skip passes over what cannot be read.',
    cause: error,
  })
}

/** Numbers where they are exact: envelopes are written faster with those. */
function atOf({ ordinal }: RecordPlace): number | bigint {
  return ordinal <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(ordinal) : ordinal
}

/** Neighbours of one table, version and source transaction share an item. */
class ItemList {
  readonly items: LogItem[] = []
  #last: (LogItem & { kind: 'rows' }) | null = null

  add(entry: Entry, { tsUs, xid }: Message, { record, ordinal }: RecordPlace): void {
    const txn: TxnRef = {
      ordinal,
      previous: 0n,
      tsUs: tsUs > 0n ? tsUs : record.timestamp * 1_000n,
      ...(xid === null ? {} : { xid }),
    }
    const { schema } = entry
    if (entry.kind === 'truncate') {
      this.#last = null
      this.items.push({ kind: 'truncate', txn, schemas: [schema], at: atOf({ ordinal } as RecordPlace) })
      return
    }
    const last = this.#last
    const bytes = bytesOf(record)
    const joins = last !== null && last.schema === schema && last.txn.tsUs === txn.tsUs && last.txn.xid === txn.xid
    if (joins) {
      this.#last = { ...last, changes: last.changes, bytes: last.bytes + bytes }
      ;(last.changes as unknown[]).push(entry.change)
      this.items[this.items.length - 1] = this.#last
      return
    }
    this.#last = { kind: 'rows', txn, schema, changes: [entry.change], bytes }
    this.items.push(this.#last)
  }
}
