/**
 * Column types of MySQL and MariaDB, and what their values look like in dialect `mysql`. Text, unless said otherwise:
 *
 *   integers, YEAR          digits, without ZEROFILL's zeros; a year has four
 *   DECIMAL                 all digits of its scale
 *   FLOAT, DOUBLE           the shortest digits that read back as the same number, as the server prints doubles
 *   BIT(n)                  n digits 0 and 1
 *   CHAR, VARCHAR, TEXT     the text; CHAR without trailing spaces
 *   BINARY, VARBINARY, BLOB Uint8Array; BINARY with its padding
 *   DATE, DATETIME, TIME    as the server prints them, with the declared fraction; zero dates included
 *   TIMESTAMP               the same in UTC with `+00`; the zero timestamp without
 *   ENUM, SET               the labels, a set's joined by commas; '' for ENUM's error value, as the server prints it
 *   JSON                    MySQL's own text of it
 *   GEOMETRY                Uint8Array: four bytes of SRID, little-endian, then WKB
 *   VECTOR                  Uint8Array: 32-bit floats, little-endian
 *   UUID, INET4, INET6      as MariaDB prints them
 */
import type { ColumnType, TypeKind } from '../../core/model.js'

/** A column as the catalog has it: the core's type and what decoding needs besides. */
export interface MysqlColumnType {
  readonly type: ColumnType
  readonly unsigned: boolean
  /** Of text columns; `binary` and null have none. */
  readonly charset: string | null
  readonly collation: string | null
  /** MariaDB's COMPRESSED. */
  readonly compressed: boolean
}

/** One row of information_schema.columns. */
export interface CatalogColumn {
  /** `int`, `varchar`... in lower case. */
  readonly dataType: string
  /** `int(10) unsigned`, `enum('a','b')`. */
  readonly columnType: string
  readonly charset: string | null
  readonly collation: string | null
  readonly precision: number | null
  readonly scale: number | null
  readonly fraction: number | null
  readonly length: number | null
}

const KINDS: Readonly<Record<string, TypeKind>> = {
  tinyint: 'int16',
  smallint: 'int16',
  mediumint: 'int32',
  int: 'int32',
  bigint: 'int64',
  year: 'int16',
  decimal: 'decimal',
  float: 'float32',
  double: 'float64',
  bit: 'bits',
  char: 'string',
  varchar: 'string',
  tinytext: 'string',
  text: 'string',
  mediumtext: 'string',
  longtext: 'string',
  binary: 'bytes',
  varbinary: 'bytes',
  tinyblob: 'bytes',
  blob: 'bytes',
  mediumblob: 'bytes',
  longblob: 'bytes',
  date: 'date',
  time: 'time',
  datetime: 'timestamp',
  timestamp: 'timestamptz',
  enum: 'enum',
  json: 'json',
  uuid: 'uuid',
}

/** What an unsigned integer needs to hold every value. */
const UNSIGNED_KINDS: Readonly<Record<string, TypeKind>> = {
  tinyint: 'int16',
  smallint: 'int32',
  mediumint: 'int32',
  int: 'int64',
  bigint: 'decimal',
}
const BIGINT_UNSIGNED_DIGITS = 20
export const GEOMETRY_TYPES: ReadonlySet<string> = new Set([
  'geometry',
  'point',
  'linestring',
  'polygon',
  'multipoint',
  'multilinestring',
  'multipolygon',
  'geomcollection',
  'geometrycollection',
])

export function mysqlColumnType(column: CatalogColumn): MysqlColumnType {
  const { dataType, columnType, charset, collation } = column
  const unsigned = /\bunsigned\b/.test(columnType) || /\bzerofill\b/.test(columnType)
  const compressed = /compressed/i.test(columnType)
  const labels = dataType === 'enum' || dataType === 'set' ? parseLabels(columnType) : null
  const integer = UNSIGNED_KINDS[dataType]
  const kind = unsigned && integer !== undefined ? integer : (KINDS[dataType] ?? 'other')
  const big = dataType === 'bigint' && unsigned
  const type: ColumnType = {
    kind,
    native: columnType,
    base: dataType,
    precision: big ? BIGINT_UNSIGNED_DIGITS : dataType === 'decimal' ? column.precision : column.fraction,
    scale: big ? 0 : dataType === 'decimal' ? column.scale : null,
    length: dataType === 'bit' ? column.precision : /^(var)?(char|binary)$/.test(dataType) ? column.length : null,
    element: null,
    labels,
    domain: null,
    ...(charset !== null && collation !== null && kind === 'string' ? { collation } : {}),
  }
  return { type, unsigned, charset: kind === 'bytes' ? null : charset, collation, compressed }
}

/** The labels of `enum('a','it''s')`. information_schema doubles quotes and escapes nothing else. */
export function parseLabels(columnType: string): string[] {
  const labels: string[] = []
  for (const [, label] of columnType.matchAll(/'((?:[^']|'')*)'/g)) labels.push(label!.replaceAll("''", "'"))
  return labels
}

/** True where values are bytes and not text. */
export function holdsBytes({ type }: MysqlColumnType): boolean {
  return type.kind === 'bytes' || type.base === 'vector' || GEOMETRY_TYPES.has(type.base)
}
