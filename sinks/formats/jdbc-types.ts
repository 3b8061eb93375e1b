/** Numbers of java.sql.Types, for formats that came from Java. */
import type { ColumnType, TypeKind } from '../../core/model.js'

const JDBC_TYPES: Readonly<Partial<Record<TypeKind, number>>> = {
  bool: -7,
  int16: 5,
  int32: 4,
  int64: -5,
  float32: 7,
  float64: 8,
  decimal: 3,
  money: 3,
  string: 12,
  uuid: 12,
  json: 12,
  xml: 12,
  enum: 12,
  bytes: 2004,
  bits: -7,
  date: 91,
  time: 92,
  timetz: 92,
  timestamp: 93,
  timestamptz: 93,
  array: 2003,
}
const OTHER = 1111

/** What MySQL's columns of the same kind report. */
export function jdbcType(kind: TypeKind): number {
  return JDBC_TYPES[kind] ?? OTHER
}

const MYSQL_TYPES: Readonly<Record<string, number>> = {
  tinyint: -6,
  smallint: 5,
  mediumint: 4,
  int: 4,
  bigint: -5,
  float: 7,
  double: 8,
  decimal: 3,
  bit: -7,
  char: 1,
  varchar: 12,
  tinytext: 2005,
  text: 2005,
  mediumtext: 2005,
  longtext: 2005,
  binary: 2004,
  varbinary: 2004,
  tinyblob: 2004,
  blob: 2004,
  mediumblob: 2004,
  longblob: 2004,
  date: 91,
  time: 92,
  datetime: 93,
  timestamp: 93,
  year: 12,
}
/** An unsigned integer has the next larger type. */
const UNSIGNED_TYPES: Readonly<Record<string, number>> = { tinyint: 5, smallint: 4, mediumint: 4, int: -5, bigint: 3 }

/** What Canal writes for MySQL's own types. */
export function mysqlJdbcType({ base, native, kind }: ColumnType): number {
  const unsigned = /\bunsigned\b/.test(native) ? UNSIGNED_TYPES[base] : undefined
  return unsigned ?? MYSQL_TYPES[base] ?? (kind === 'other' ? 2004 : jdbcType(kind))
}
