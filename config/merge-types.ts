/** Whether two columns of tables that are merged can be one: the wider of their types, where it holds both. */
import type { Column, ColumnType, Dialect } from '../core/model.js'

const INTEGERS: Readonly<Record<string, readonly [bits: number, digits: number]>> = {
  tinyint: [8, 3],
  smallint: [16, 5],
  mediumint: [24, 8],
  int: [32, 10],
  bigint: [64, 20],
  int2: [16, 5],
  int4: [32, 10],
  int8: [64, 20],
}

/** null: neither type holds the other. */
export function wider(a: ColumnType, b: ColumnType, dialect: Dialect): ColumnType | null {
  if (same(a, b)) return a
  if (holds(a, b, dialect)) return a
  return holds(b, a, dialect) ? b : null
}

/** The column of a merged table, or null where the two do not fit. */
export function mergedColumn(a: Column, b: Column, dialect: Dialect): Column | null {
  const type = wider(a.type, b.type, dialect)
  if (type === null) return null
  const { filled: _a, formerName: _b, ...rest } = a
  const filled = a.filled !== undefined && a.filled === b.filled ? { filled: a.filled } : {}
  return {
    ...rest,
    type,
    nullable: a.nullable || b.nullable,
    generated: a.generated && b.generated,
    defaultValue: a.defaultValue === b.defaultValue ? a.defaultValue : null,
    ...filled,
  }
}

function same(a: ColumnType, b: ColumnType): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

/** Every value of `b`, as it is written in its dialect, is one of `a`. */
function holds(a: ColumnType, b: ColumnType, dialect: Dialect): boolean {
  // A collation decides what is one key, so it may not be another one.
  if (a.domain !== b.domain || (a.collation ?? null) !== (b.collation ?? null)) return false
  if (a.labels !== null || b.labels !== null) return holdsLabels(a, b)
  const [mine, yours] = [INTEGERS[a.base], INTEGERS[b.base]]
  if (mine && yours) {
    const [signed, unsigned] = [!isUnsigned(a), isUnsigned(b)]
    return signed || unsigned ? mine[0] >= yours[0] + (signed && unsigned ? 1 : 0) : false
  }
  if (a.kind !== b.kind || a.element !== null || b.element !== null) return false
  switch (a.kind) {
    case 'string':
      return holdsText(a, b, dialect)
    case 'decimal':
      return holdsDecimal(a, b)
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return a.base === b.base && (a.precision ?? FRACTION_DIGITS) >= (b.precision ?? FRACTION_DIGITS)
    case 'bytes':
      return a.base === 'longblob' || (a.base === 'varbinary' && b.base === 'varbinary' && a.length! >= b.length!)
    default:
      return false
  }
}

const FRACTION_DIGITS = 6

function isUnsigned({ native }: ColumnType): boolean {
  return /\b(unsigned|zerofill)\b/i.test(native)
}

/** A label is known by its place in the list, so a longer list only goes on. */
function holdsLabels(a: ColumnType, b: ColumnType): boolean {
  if (a.kind !== b.kind || a.base !== b.base || a.labels === null || b.labels === null) return false
  return b.labels.length <= a.labels.length && b.labels.every((label, i) => label === a.labels![i])
}

/** A fixed length pads, so it holds nothing but itself. */
function holdsText(a: ColumnType, b: ColumnType, dialect: Dialect): boolean {
  if (a.base === 'char' || a.base === 'bpchar') return false
  if (dialect === 'mysql' && a.base === 'longtext') return true
  if (a.base !== b.base && !(a.base === 'text' && dialect !== 'mysql')) return false
  return a.length === null || (b.length !== null && a.length >= b.length)
}

/** Of one scale: numbers are written with all of its digits. */
function holdsDecimal(a: ColumnType, b: ColumnType): boolean {
  if (a.base !== b.base || isUnsigned(a) !== isUnsigned(b)) return false
  if (a.precision === null) return true
  return b.precision !== null && a.scale === b.scale && a.precision >= b.precision
}
