/** TABLE_MAP events: which table the row events behind them belong to, how its columns are stored, and what else the server says of them. */
import { HEADER_BYTES, packedInteger } from './binlog-events.js'
import { STORED } from './row-values.js'

export interface MappedColumn {
  readonly stored: number
  readonly meta: number
  readonly nullable: boolean
  /** What follows is null where the server does not say it (binlog_row_metadata). */
  readonly unsigned: boolean | null
  readonly collationId: number | null
  readonly name: string | null
  /** In the column's character set. */
  readonly labels: readonly Buffer[] | null
  readonly geometry: number | null
}

export interface TableMap {
  readonly tableId: number
  readonly database: string
  readonly table: string
  readonly columns: readonly MappedColumn[]
  /** Positions of the primary key's columns; null: not said. */
  readonly key: readonly number[] | null
}

const FIELD = {
  signs: 1,
  defaultCharset: 2,
  charsets: 3,
  names: 4,
  setLabels: 5,
  enumLabels: 6,
  geometries: 7,
  key: 8,
  keyWithPrefix: 9,
  labelDefaultCharset: 10,
  labelCharsets: 11,
} as const

/** Types that have a sign, in the server's sense. */
const SIGNED = new Set<number>([
  STORED.decimal,
  STORED.tiny,
  STORED.short,
  STORED.int24,
  STORED.long,
  STORED.longlong,
  STORED.newdecimal,
  STORED.float,
  STORED.double,
  STORED.year,
])
const CHARACTER = new Set<number>([
  STORED.string,
  STORED.varString,
  STORED.varchar,
  STORED.blob,
  STORED.tinyBlob,
  STORED.mediumBlob,
  STORED.longBlob,
  STORED.blobCompressed,
  STORED.varcharCompressed,
  STORED.vector,
])

export function tableIdOf(b: Buffer, start: number): number {
  return b.readUIntLE(start + HEADER_BYTES, 6)
}

/** `mariadb`: it counts geometries among the columns that have a character set. */
export function readTableMap(b: Buffer, start: number, end: number, mariadb: boolean): TableMap {
  let at = start + HEADER_BYTES + 8
  const text = () => {
    const length = b[at]!
    const value = b.toString('utf8', at + 1, at + 1 + length)
    at += length + 2
    return value
  }
  const database = text()
  const table = text()
  const { value: count, next } = packedInteger(b, at)
  const types = b.subarray(next, next + count)
  const metas = packedInteger(b, next + count)
  const nulls = metas.next + metas.value
  const meta = readMetas(b, metas.next, types)
  const extra = readExtra(
    b,
    nulls + ((count + 7) >> 3),
    end,
    [...types].map((stored, i) => realType(stored, meta[i]!)),
    mariadb,
  )
  const columns = Array.from(
    types,
    (stored, i): MappedColumn => ({
      stored,
      meta: meta[i]!,
      nullable: (b[nulls + (i >> 3)]! & (1 << (i & 7))) !== 0,
      unsigned: extra.unsigned?.get(i) ?? null,
      collationId: extra.collations.get(i) ?? null,
      name: extra.names?.[i] ?? null,
      labels: extra.labels.get(i) ?? null,
      geometry: extra.geometries.get(i) ?? null,
    }),
  )
  return { tableId: tableIdOf(b, start), database, table, columns, key: extra.key }
}

/** The numbers that each type is logged with, in the byte order that decoders want. */
function readMetas(b: Buffer, from: number, types: Uint8Array): number[] {
  let at = from
  return Array.from(types, (stored) => {
    switch (stored) {
      case STORED.float:
      case STORED.double:
      case STORED.blob:
      case STORED.blobCompressed:
      case STORED.json:
      case STORED.geometry:
      case STORED.vector:
      case STORED.timestamp2:
      case STORED.datetime2:
      case STORED.time2:
        return b[at++]!
      case STORED.varchar:
      case STORED.varString:
      case STORED.varcharCompressed:
      case STORED.bit:
        at += 2
        return b.readUInt16LE(at - 2)
      case STORED.newdecimal:
      case STORED.string:
      case STORED.enum:
      case STORED.set:
        at += 2
        return b.readUInt16BE(at - 2)
      default:
        return 0
    }
  })
}

/** ENUM and SET are logged as strings. */
function realType(stored: number, meta: number): number {
  if (stored !== STORED.string) return stored
  const high = meta >> 8
  return high === STORED.enum || high === STORED.set ? high : stored
}

interface Extra {
  unsigned: Map<number, boolean> | null
  collations: Map<number, number>
  names: string[] | null
  labels: Map<number, Buffer[]>
  geometries: Map<number, number>
  key: number[] | null
}

function readExtra(b: Buffer, from: number, end: number, types: readonly number[], mariadb: boolean): Extra {
  const extra: Extra = {
    unsigned: null,
    collations: new Map(),
    names: null,
    labels: new Map(),
    geometries: new Map(),
    key: null,
  }
  const positions = (wanted: (stored: number) => boolean) => types.flatMap((stored, i) => (wanted(stored) ? [i] : []))
  const text = positions((stored) => CHARACTER.has(stored) || (mariadb && stored === STORED.geometry))
  const labelled = positions((stored) => stored === STORED.enum || stored === STORED.set)
  for (let at = from; at < end; ) {
    const kind = b[at]!
    const { value: length, next } = packedInteger(b, at + 1)
    const stop = next + length
    switch (kind) {
      case FIELD.signs:
        extra.unsigned = readSigns(
          b,
          next,
          positions((stored) => SIGNED.has(stored)),
        )
        break
      case FIELD.defaultCharset:
        readDefaultCollation(b, next, stop, text, extra.collations)
        break
      case FIELD.charsets:
        for (const [i, id] of readIntegers(b, next, stop).entries()) extra.collations.set(text[i]!, id)
        break
      case FIELD.labelDefaultCharset:
        readDefaultCollation(b, next, stop, labelled, extra.collations)
        break
      case FIELD.labelCharsets:
        for (const [i, id] of readIntegers(b, next, stop).entries()) extra.collations.set(labelled[i]!, id)
        break
      case FIELD.names:
        extra.names = readTexts(b, next, stop)
        break
      case FIELD.enumLabels:
        readLabels(
          b,
          next,
          stop,
          positions((stored) => stored === STORED.enum),
          extra.labels,
        )
        break
      case FIELD.setLabels:
        readLabels(
          b,
          next,
          stop,
          positions((stored) => stored === STORED.set),
          extra.labels,
        )
        break
      case FIELD.geometries: {
        const columns = positions((stored) => stored === STORED.geometry)
        for (const [i, type] of readIntegers(b, next, stop).entries()) extra.geometries.set(columns[i]!, type)
        break
      }
      case FIELD.key:
        extra.key = readIntegers(b, next, stop)
        break
      case FIELD.keyWithPrefix:
        extra.key = readIntegers(b, next, stop).filter((_, i) => i % 2 === 0)
        break
    }
    at = stop
  }
  return extra
}

function readSigns(b: Buffer, at: number, columns: readonly number[]): Map<number, boolean> {
  return new Map(columns.map((column, i) => [column, (b[at + (i >> 3)]! & (0x80 >> (i & 7))) !== 0]))
}

/** One for all, then exceptions by their place among these columns. */
function readDefaultCollation(
  b: Buffer,
  at: number,
  stop: number,
  columns: readonly number[],
  into: Map<number, number>,
): void {
  const [fallback, ...pairs] = readIntegers(b, at, stop)
  for (const column of columns) into.set(column, fallback!)
  for (let i = 0; i + 1 < pairs.length; i += 2) into.set(columns[pairs[i]!]!, pairs[i + 1]!)
}

function readIntegers(b: Buffer, from: number, stop: number): number[] {
  const out: number[] = []
  for (let at = from; at < stop; ) {
    const { value, next } = packedInteger(b, at)
    out.push(value)
    at = next
  }
  return out
}

function readTexts(b: Buffer, from: number, stop: number): string[] {
  const out: string[] = []
  for (let at = from; at < stop; ) {
    const { value, next } = packedInteger(b, at)
    out.push(b.toString('utf8', next, next + value))
    at = next + value
  }
  return out
}

function readLabels(
  b: Buffer,
  from: number,
  stop: number,
  columns: readonly number[],
  into: Map<number, Buffer[]>,
): void {
  let at = from
  for (const column of columns) {
    if (at >= stop) return
    const { value: count, next } = packedInteger(b, at)
    at = next
    const labels: Buffer[] = []
    for (let i = 0; i < count; i++) {
      const { value, next: start } = packedInteger(b, at)
      labels.push(Buffer.from(b.subarray(start, start + value)))
      at = start + value
    }
    into.set(column, labels)
  }
}
