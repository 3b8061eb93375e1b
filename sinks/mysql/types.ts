/**
 * Types of columns in targets: what a source column becomes, and which existing types hold every value of it unchanged
 * or let it be refused (I7). Text is utf8mb4 under a binary collation, so that no two texts are one to the target.
 */
import type { ColumnType, TableSchema } from '../../core/model.js'
import type { TargetColumn } from './catalog.js'
import type { TargetServer } from './server.js'

/** The parts of a type that decide what it holds. */
export interface WantedType {
  readonly base: string
  /** Characters of text, bytes of binary strings, bits; null: no limit of its own. */
  readonly length: number | null
  readonly precision: number | null
  readonly scale: number | null
  readonly unsigned: boolean
  /** enum and set. */
  readonly labels: readonly string[] | null
  /** An ASCII text, which need not take four bytes for a character. */
  readonly ascii: boolean
}

const NOTHING = { length: null, precision: null, scale: null, unsigned: false, labels: null, ascii: false } as const
const want = (base: string, more: Partial<WantedType> = {}): WantedType => ({ ...NOTHING, base, ...more })

const DECIMAL_DIGITS_MAX = 65
const DECIMAL_SCALE_MAX = 30
const BIT_LENGTH_MAX = 64
const FRACTION_DIGITS_MAX = 6
/** 65,535 bytes of a row, four for a character. */
const VARCHAR_CHARS_MAX = 16_383
const BYTES_PER_CHAR = 4
const UUID_CHARS = 36
/** Digits of a 64-bit number of cents. */
const MONEY = { precision: 20, scale: 2 }
const MARIADB_UUID_SINCE = 100_700
const MARIADB_INET6_SINCE = 100_500
const MARIADB_INET4_SINCE = 101_000
const MYSQL_VECTOR_SINCE = 90_000

const INTEGERS: Readonly<Record<string, string>> = { int16: 'smallint', int32: 'int', int64: 'bigint' }

/** What the column would be created as. */
export function wantedType(type: ColumnType, schema: TableSchema, server: TargetServer): WantedType {
  return schema.dialect === 'mysql' ? fromMysql(type, server) : fromOther(type)
}

function fromOther({ kind, base, precision, scale, length }: ColumnType): WantedType {
  const fraction = Math.min(precision ?? FRACTION_DIGITS_MAX, FRACTION_DIGITS_MAX)
  switch (kind) {
    case 'bool':
      return want('tinyint')
    case 'int16':
    case 'int32':
    case 'int64':
      return base === 'oid' ? want('bigint') : want(INTEGERS[kind]!)
    case 'float32':
      return want('float')
    case 'float64':
      return want('double')
    case 'decimal':
      return decimal(precision, scale)
    case 'money':
      return want('decimal', MONEY)
    case 'string':
      return text(length)
    case 'enum':
      return text(LABEL_CHARS_MAX)
    case 'uuid':
      return want('char', { length: UUID_CHARS, ascii: true })
    case 'bytes':
      return want('longblob')
    case 'bits':
      if (base !== 'varbit' && length !== null && length <= BIT_LENGTH_MAX) return want('bit', { length })
      return text(length)
    case 'date':
      return want('date')
    case 'time':
      return want('time', { precision: fraction })
    // TIMESTAMP ends in 2038, so an instant is a DATETIME in UTC.
    case 'timestamp':
    case 'timestamptz':
      return want('datetime', { precision: fraction })
    default:
      return text(null)
  }
}

/** Of PostgreSQL's enums, in bytes. */
const LABEL_CHARS_MAX = 63

/** A numeric without limits gets all that there is; what it cannot hold is refused value by value. */
function decimal(precision: number | null, scale: number | null): WantedType {
  if (precision === null) return want('decimal', { precision: DECIMAL_DIGITS_MAX, scale: DECIMAL_SCALE_MAX })
  const digits = scale ?? 0
  // numeric(3,-2) goes to 99900, numeric(2,5) to 0.00099.
  const after = Math.max(0, digits)
  const all = Math.max(precision - Math.min(0, digits), after, 1)
  if (all <= DECIMAL_DIGITS_MAX && after <= DECIMAL_SCALE_MAX) return want('decimal', { precision: all, scale: after })
  return want('decimal', { precision: DECIMAL_DIGITS_MAX, scale: Math.min(after, DECIMAL_SCALE_MAX) })
}

function text(chars: number | null): WantedType {
  return chars === null || chars > VARCHAR_CHARS_MAX ? want('longtext') : want('varchar', { length: chars })
}

function fromMysql(type: ColumnType, server: TargetServer): WantedType {
  const { base, native, length, precision, scale, labels } = type
  const unsigned = /\b(unsigned|zerofill)\b/i.test(native)
  switch (base) {
    case 'decimal':
      return want('decimal', { precision, scale, unsigned })
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
    case 'float':
    case 'double':
      return want(base, { unsigned })
    case 'time':
    case 'datetime':
    case 'timestamp':
      return want(base, { precision: precision ?? 0 })
    case 'bit':
      return want('bit', { length: length ?? 1 })
    case 'char':
    case 'binary':
      return want(base, { length })
    case 'varchar':
      return text(length)
    case 'varbinary':
      return want('varbinary', { length })
    case 'enum':
    case 'set':
      return want(base, { labels: labels ?? [] })
    case 'tinytext':
    case 'text':
    case 'mediumtext':
    case 'longtext':
    // MySQL would write JSON anew: other spaces, no key twice, numbers as doubles.
    case 'json':
      return want('longtext')
    default:
      return native === 'text' ? want('longtext') : familyType(type, server)
  }
}

/** Types that not every server has. */
function familyType({ base, native }: ColumnType, { mariadb, number }: TargetServer): WantedType {
  const dimensions = /^vector\((\d+)\)/i.exec(native)?.[1]
  switch (base) {
    case 'uuid':
      return mariadb && number >= MARIADB_UUID_SINCE ? want('uuid') : want('char', { length: UUID_CHARS, ascii: true })
    case 'inet6':
      return mariadb && number >= MARIADB_INET6_SINCE ? want('inet6') : want('varchar', { length: 39, ascii: true })
    case 'inet4':
      return mariadb && number >= MARIADB_INET4_SINCE ? want('inet4') : want('varchar', { length: 15, ascii: true })
    case 'vector':
      if (!mariadb && number >= MYSQL_VECTOR_SINCE && dimensions) return want('vector', { length: Number(dimensions) })
      return want('longblob')
    case 'geomcollection':
      return want('geometrycollection')
    default:
      return want(base)
  }
}

const TEXTS: Readonly<Record<string, number>> = {
  tinytext: 255,
  text: 65_535,
  mediumtext: 16_777_215,
  longtext: 4_294_967_295,
}
const BLOBS: Readonly<Record<string, number>> = {
  tinyblob: 255,
  blob: 65_535,
  mediumblob: 16_777_215,
  longblob: 4_294_967_295,
}

export function isText(base: string): boolean {
  return base === 'char' || base === 'varchar' || base in TEXTS
}

export function isBinary(base: string): boolean {
  return base === 'binary' || base === 'varbinary' || base in BLOBS
}

/** `column`'s type as SQL, with character set and collation. */
export function typeSql(
  { base, length, precision, scale, unsigned, labels, ascii }: WantedType,
  collation: string,
): string {
  const collate = ascii ? ' CHARACTER SET ascii COLLATE ascii_bin' : ` CHARACTER SET utf8mb4 COLLATE ${collation}`
  const size = length === null ? '' : `(${length})`
  const sign = unsigned ? ' unsigned' : ''
  if (isText(base)) return `${base}${size}${collate}`
  if (labels !== null)
    return `${base}(${labels.map((l) => `'${l.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`)})${collate}`
  if (base === 'decimal') return `decimal(${precision},${scale ?? 0})${sign}`
  if (/^(time|datetime|timestamp)$/.test(base)) return `${base}(${precision ?? 0})`
  return `${base}${size}${sign}`
}

/** Bytes that a value may take inside its row, or in an index. */
export function rowBytes({ base, length, ascii }: WantedType): number {
  if (base in TEXTS || base in BLOBS) return 12
  if (isText(base)) return (length ?? 0) * (ascii ? 1 : BYTES_PER_CHAR) + 2
  if (isBinary(base)) return (length ?? 0) + 2
  if (base === 'decimal') return 30
  return base === 'uuid' || base === 'inet6' ? 16 : 12
}

const INTEGER_BITS: Readonly<Record<string, number>> = { tinyint: 8, smallint: 16, mediumint: 24, int: 32, bigint: 64 }
const INTEGER_DIGITS: Readonly<Record<string, number>> = { tinyint: 3, smallint: 5, mediumint: 8, int: 10, bigint: 20 }

/** True: every value arrives in the column unchanged, or is refused. */
export function holds(wanted: WantedType, have: TargetColumn): boolean {
  const { base } = wanted
  if (INTEGER_BITS[base] !== undefined) return holdsInteger(wanted, have)
  if (base === 'decimal') {
    const [after, all] = [have.scale ?? 0, have.precision ?? 0]
    const needed = wanted.precision! - (wanted.scale ?? 0)
    return have.base === 'decimal' && after >= (wanted.scale ?? 0) && all - after >= needed && signs(wanted, have)
  }
  if (isText(base)) return holdsText(wanted, have)
  if (base === 'binary') return have.base === 'binary' && have.length === wanted.length
  if (isBinary(base)) return holdsBytes(wanted, have)
  if (wanted.labels !== null) return have.base === base && wanted.labels.every((l) => labelsOf(have.type).includes(l))
  if (have.base === 'double' && base === 'float') return true
  // A scale of its own rounds.
  if (base === 'float' || base === 'double')
    return have.base === base && !/\(\d+,/.test(have.type) && signs(wanted, have)
  if (/^(time|datetime|timestamp)$/.test(base)) {
    return have.base === base && (have.fraction ?? 0) >= (wanted.precision ?? 0)
  }
  if (base === 'bit') return have.base === 'bit' && (have.precision ?? 1) === wanted.length
  return have.base === base || (base === 'geometrycollection' && have.base === 'geomcollection')
}

const signs = (wanted: WantedType, have: TargetColumn) => wanted.unsigned || !have.unsigned

function holdsInteger({ base, unsigned }: WantedType, have: TargetColumn): boolean {
  const bits = INTEGER_BITS[have.base]
  if (have.base === 'decimal') {
    return (have.precision ?? 0) - (have.scale ?? 0) >= INTEGER_DIGITS[base]! && (unsigned || !have.unsigned)
  }
  if (bits === undefined || (have.unsigned && !unsigned)) return false
  const needed = INTEGER_BITS[base]! + (unsigned && !have.unsigned ? 1 : 0)
  return bits >= needed
}

/** CHAR loses trailing spaces, so it takes the values of a CHAR only. */
function holdsText({ base, length, ascii }: WantedType, have: TargetColumn): boolean {
  if (!isText(have.base) || (have.base === 'char' && base !== 'char')) return false
  const bytes = TEXTS[have.base]
  if (bytes === undefined) return length !== null && (have.length ?? 0) >= length
  const needed = length === null ? (TEXTS[base] ?? 0) : length * (ascii ? 1 : BYTES_PER_CHAR)
  return bytes >= needed
}

function holdsBytes({ base, length }: WantedType, have: TargetColumn): boolean {
  if (have.base === 'binary' || !isBinary(have.base)) return false
  return (BLOBS[have.base] ?? have.length ?? 0) >= (BLOBS[base] ?? length ?? 0)
}

/** The labels of `enum('a','it''s')`. */
export function labelsOf(type: string): string[] {
  return [...type.matchAll(/'((?:[^']|'')*)'/g)].map(([, label]) => label!.replaceAll("''", "'"))
}
