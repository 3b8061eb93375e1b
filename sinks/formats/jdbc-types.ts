/** Numbers of java.sql.Types, for formats that came from Java. */
import type { TypeKind } from '../../core/model.js'

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
