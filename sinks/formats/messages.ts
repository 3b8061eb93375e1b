/**
 * Messages with keys, values, headers and tombstones, for sinks that carry messages. Formats are compiled once for each
 * version of a table's schema, like the line formats, whose writers make the values.
 */
import { randomUUID } from 'node:crypto'
import { assert } from '../../core/errors.js'
import type { BatchMarks, Change, ChangeBatch, TableSchema } from '../../core/model.js'
import type { PackedRows } from '../../core/packed-rows.js'
import { EventIds } from './event-ids.js'
import type { LineEncoder } from './format.js'
import { type Headers, KEY_NULL, MessageBuffers, type Messages } from './message-buffers.js'
import { eventsOf } from './message-events.js'
import { NEW_KEY_HEADER, OLD_KEY_HEADER } from './message-headers.js'
import type { KeyWriter } from './message-key.js'
import { isRegistered, type MessageFormatOptions } from './message-options.js'
import { compileTable, keyColumnsOf, type TableEncoder } from './message-tables.js'
import { RegisteredSchemas, type TopicOf } from './registered-schemas.js'
import { TransactionCounter, TransactionTopic } from './transactions.js'

export { type Headers, type HeaderValue, KEY_NULL, type Messages, VALUE_NULL } from './message-buffers.js'

export interface MessageFormat {
  readonly name: string
  /**
   * Makes ready for tables: registers their schemas where the format needs that. To be awaited before the first batch of
   * each schema, outside of transactions: it waits while the registry is away. Throws `registry.*`.
   */
  prepare(schemas: Iterable<TableSchema>, topicOf: TopicOf, signal: AbortSignal): Promise<void>
  encode(batch: ChangeBatch): Messages
  /** Rows of this table have messages without a key. */
  keyless(schema: TableSchema): boolean
  /** BEGIN and END of source transactions; null unless transaction metadata is asked for. */
  readonly transactions: TransactionTopic | null
}

/** Compiled tables kept at most; schemas beyond it (endless DDL) are compiled again (I8). */
const TABLES_MAX = 4_096
/** Values are gathered until they are this long: few calls, and the copy still lies in the processor's cache. */
const GATHERED_CHARS_MAX = 8 * 1024

type RowsBatch = Extract<ChangeBatch, { kind: 'rows' }>

export function createMessageFormat(given: MessageFormatOptions): MessageFormat {
  const runId = given.runId ?? randomUUID()
  const options = {
    ...given,
    runId,
    transactions: new TransactionCounter(),
    eventIds: new EventIds(runId),
    registered: registeredOf(given),
  }
  const marked = given.flavor !== 'flink' && given.name !== 'canal-json' && given.name !== 'maxwell-json'
  const clock = options.clock ?? Date.now
  const out = new MessageBuffers()
  const tables = new Map<string, TableEncoder>()

  const tableOf = (schema: TableSchema): TableEncoder => {
    const known = tables.get(schema.fingerprint)
    if (known !== undefined) return known
    if (tables.size >= TABLES_MAX) tables.clear()
    const table = compileTable(schema, options)
    tables.set(schema.fingerprint, table)
    return table
  }

  return {
    name: options.name,
    transactions:
      given.transactionIds === null
        ? null
        : new TransactionTopic(options.transactions, given.transactionIds, given.includeSchema),
    async prepare(schemas, topicOf, signal) {
      for (const schema of schemas) {
        // Refused before the source is touched where message.key.columns does not fit.
        const key = keyColumnsOf(schema, options)
        await options.registered?.register(schema, key, topicOf(schema), signal)
      }
    },
    keyless: (schema) => tableOf(schema).key === null,
    encode(batch) {
      const table = tableOf(batch.schema)
      table.value.begin(batch.origin, clock())
      out.begin(table.headers)
      if (batch.kind === 'truncate') {
        out.reserve(1)
        table.value.truncate(out.value, batch.at)
        out.push(KEY_NULL)
        if (table.eventHeaders !== undefined) out.addHeaders(0, table.eventHeaders())
      } else if (batch.packed === undefined) writeRows(out, table, batch, { tombstones: options.tombstones, marked })
      else writePacked(out, table, batch, batch.packed)
      return out
    },
  }
}

function registeredOf(options: MessageFormatOptions): RegisteredSchemas | null {
  if (!isRegistered(options.name)) return null
  assert(options.subjects !== undefined, `format ${options.name} was made without a registry`)
  return new RegisteredSchemas({ ...options, ...options.subjects, type: options.name === 'avro' ? 'AVRO' : 'JSON' })
}

function writePacked(
  out: MessageBuffers,
  { key, value, eventHeaders }: TableEncoder,
  batch: RowsBatch,
  packed: PackedRows,
): void {
  const { count } = packed
  const { marks } = batch
  const at = batch.origin.kind === 'snapshot' ? Number(batch.origin.at) : 0
  const values = packed.values()
  const perRow = 2 * batch.schema.columns.length
  const flags = key === null ? KEY_NULL : 0
  out.reserve(count)
  for (let i = 0; i < count; i++) {
    if (marks !== undefined) markRow(value, marks, i, count)
    value.packed(out.value, values, i * perRow, at)
    if (key !== null) key.packed(out.key, values, i * perRow)
    out.push(flags)
    if (eventHeaders !== undefined) out.addHeaders(i, eventHeaders())
  }
}

interface WriteOptions {
  readonly tombstones: boolean
  /** A key change names the other key in a header. */
  readonly marked: boolean
}

function writeRows(out: MessageBuffers, table: TableEncoder, batch: RowsBatch, options: WriteOptions): void {
  const { tombstones, marked } = options
  const { marks } = batch
  const { key, value, eventHeaders } = table
  const { changes, moved } = eventsOf(batch, table.keyColumns)
  const flags = key === null ? KEY_NULL : 0
  let text = ''
  let keyText = ''
  let written = 0
  /** The delete of the key change that is being written. */
  let leaving = -1
  for (let i = 0; i < changes.length; i++) {
    const change = changes[i]!
    text = value.gather(text, change)
    if (key !== null) keyText = key.gather(keyText, change)
    if (text.length + keyText.length < GATHERED_CHARS_MAX && i + 1 < changes.length) continue
    out.value.load(text)
    out.key.load(keyText)
    out.reserve(2 * (i + 1 - written))
    text = ''
    keyText = ''
    for (; written <= i; written++) {
      const next = changes[written]!
      if (marks !== undefined) markRow(value, marks, written, changes.length)
      value.line(out.value, next)
      if (key !== null) key.write(out.key, next)
      const message = out.count
      out.push(flags)
      if (eventHeaders !== undefined) out.addHeaders(message, eventHeaders())
      if (moved?.has(written)) leaving = message
      else if (leaving >= 0) {
        if (marked) markMove(out, key!, leaving, message, changes[written - 1]!, next)
        leaving = -1
      }
      if (next.op === 'd' && tombstones) out.tombstone()
    }
  }
}

/** What `source.snapshot` says of the row; between the first two rows and the last it stays the same. */
function markRow(value: LineEncoder, { first, last, others = 'true' }: BatchMarks, i: number, count: number): void {
  if (i > 1 && i < count - 1) return
  value.mark?.((i === count - 1 ? last : undefined) ?? (i === 0 ? first : undefined) ?? others)
}

/** The delete and its tombstone name the new key, the insert the old one. */
function markMove(out: MessageBuffers, key: KeyWriter, from: number, to: number, gone: Change, came: Change): void {
  const newKey: Headers = [[NEW_KEY_HEADER, key.header(came)]]
  for (let message = from; message < to; message++) out.addHeaders(message, newKey)
  out.addHeaders(to, [[OLD_KEY_HEADER, key.header(gone)]])
}
