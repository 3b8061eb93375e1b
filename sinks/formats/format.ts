/**
 * Events as bytes: one JSON value a line, no tombstones. A format is compiled once for each version of a table's
 * schema and then runs over whole batches; this file holds what all formats share.
 */
import type { Change, ChangeBatch, Origin, SnapshotMark, TableSchema } from '../../core/model.js'
import type { PackedRows, PackedValues } from '../../core/packed-rows.js'
import { ByteWriter } from './byte-writer.js'
import { debeziumEncoder } from './debezium-json.js'
import { eventsOf } from './message-events.js'
import { productVersion } from './product-version.js'
import { rowEncoder } from './row-json.js'

export const FORMAT_NAMES = ['debezium-json', 'row-json'] as const
export type FormatName = (typeof FORMAT_NAMES)[number]

export interface EncodedBatch {
  /** Lines, each ended by a newline. Overwritten by the next encode() of the same format: copy what must live longer. */
  readonly bytes: Buffer
  readonly events: number
  /** Where each event ends in `bytes`, after its newline; null unless asked for. */
  readonly ends: Uint32Array | null
}

export interface EventFormat {
  readonly name: FormatName
  /** `ends` costs speed, so it is made only on request. */
  encode(batch: ChangeBatch, options?: { readonly ends?: boolean }): EncodedBatch
  /** The values one by one, without newlines; each lives until the next encode() or values(). */
  values(batch: ChangeBatch): Iterable<Buffer>
  /** Writes the events behind those appended since the last take(): gathers many batches without a copy. Not to be mixed with the others. */
  append(batch: ChangeBatch): { readonly bytes: number; readonly events: number }
  /** What was appended. The bytes belong to the caller; `spare`, bytes taken before and needed no more, is written over next. */
  take(spare: Buffer | null): Buffer
}

export interface FormatOptions {
  readonly name: FormatName
  /** The pipeline's name; Debezium's `source.name`. */
  readonly logicalName: string
  /** Milliseconds since 1970, for the time of processing. Read once a batch. */
  readonly clock?: () => number
  /** Debezium's `source.connector`; by default what the schema's dialect suggests. */
  readonly connector?: string
}

/** One table's compiled writer. begin() once a batch, then lines in order. */
export interface LineEncoder {
  begin(origin: Origin, nowMs: number): void
  /** `text` and behind it the values that line() will take from the writer's source. */
  gather(text: string, change: Change): string
  /** Writes one event with its newline at the writer's end. An update has the same key before and after. */
  line(writer: ByteWriter, change: Change): void
  /** Writes one snapshot row whose first place among the packed values is `base`. */
  packed(writer: ByteWriter, values: PackedValues, base: number, at: number): void
  truncate(writer: ByteWriter, at: number | bigint): void
  /** What `source.snapshot` says of the next rows of a snapshot; begin() makes it `true` again. */
  mark?(snapshot: SnapshotMark): void
}

/** Compiled encoders kept at most; schemas beyond it (endless DDL) are compiled again (I8). */
const ENCODERS_MAX = 4_096

export function createFormat(options: FormatOptions): EventFormat {
  const clock = options.clock ?? Date.now
  const writer = new ByteWriter()
  const encoders = new Map<string, LineEncoder>()
  const compile = (schema: TableSchema): LineEncoder =>
    options.name === 'row-json'
      ? rowEncoder(schema)
      : debeziumEncoder(schema, { ...options, version: productVersion() })

  const encoderOf = (schema: TableSchema): LineEncoder => {
    const known = encoders.get(schema.fingerprint)
    if (known !== undefined) return known
    if (encoders.size >= ENCODERS_MAX) encoders.clear()
    const encoder = compile(schema)
    encoders.set(schema.fingerprint, encoder)
    return encoder
  }

  const write = (batch: ChangeBatch, marked: boolean): { events: number; ends: Uint32Array | null } => {
    const encoder = encoderOf(batch.schema)
    encoder.begin(batch.origin, clock())
    if (batch.kind === 'rows') {
      return batch.packed === undefined
        ? writeRows(writer, encoder, batch, marked)
        : writePacked(writer, encoder, batch, batch.packed, marked)
    }
    encoder.truncate(writer, batch.at)
    return { events: 1, ends: marked ? Uint32Array.of(writer.length) : null }
  }

  const encode: EventFormat['encode'] = (batch, { ends = false } = {}) => {
    writer.begin()
    const written = write(batch, ends)
    return { bytes: writer.taken(), ...written }
  }

  return {
    name: options.name,
    encode,
    *values(batch) {
      const { bytes, ends } = encode(batch, { ends: true })
      let from = 0
      for (const end of ends!) {
        yield bytes.subarray(from, end - 1)
        from = end
      }
    },
    append(batch) {
      const from = writer.length
      const { events } = write(batch, false)
      return { bytes: writer.length - from, events }
    },
    take: (spare) => writer.handOver(spare),
  }
}

type RowsBatch = Extract<ChangeBatch, { kind: 'rows' }>

/** Values are gathered until they are this long: few calls, and the copy still lies in the processor's cache. */
const GATHERED_CHARS_MAX = 8 * 1024

function writeRows(
  writer: ByteWriter,
  encoder: LineEncoder,
  batch: RowsBatch,
  marked: boolean,
): { events: number; ends: Uint32Array | null } {
  const { changes } = eventsOf(batch, batch.schema.key)
  const ends = marked ? new Uint32Array(changes.length) : null
  let text = ''
  let written = 0
  for (let i = 0; i < changes.length; i++) {
    text = encoder.gather(text, changes[i]!)
    if (text.length < GATHERED_CHARS_MAX && i + 1 < changes.length) continue
    writer.load(text)
    text = ''
    for (; written <= i; written++) {
      encoder.line(writer, changes[written]!)
      if (ends !== null) ends[written] = writer.length
    }
  }
  return { events: changes.length, ends }
}

function writePacked(
  writer: ByteWriter,
  encoder: LineEncoder,
  { schema, origin }: RowsBatch,
  packed: PackedRows,
  marked: boolean,
): { events: number; ends: Uint32Array | null } {
  const { count } = packed
  const ends = marked ? new Uint32Array(count) : null
  const at = origin.kind === 'snapshot' ? Number(origin.at) : 0
  const values = packed.values()
  const perRow = 2 * schema.columns.length
  for (let i = 0; i < count; i++) {
    encoder.packed(writer, values, i * perRow, at)
    if (ends !== null) ends[i] = writer.length
  }
  return { events: count, ends }
}
