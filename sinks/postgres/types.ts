/**
 * Types of columns in targets: what a source column becomes, which existing types hold every value of it unchanged
 * (I7), and the enums and domains that must exist first.
 */
import type { ColumnType, Dialect, TypeKind } from '../../core/model.js'
import type { TargetColumn } from './catalog.js'

/** Types that a target column needs and that are not built in. */
export type NeededType =
  | { readonly kind: 'enum'; readonly name: string; readonly labels: readonly string[] }
  | { readonly kind: 'domain'; readonly name: string; readonly over: string }
  | { readonly kind: 'other'; readonly name: string; readonly base: string }

const PLAIN_TYPES: Readonly<Record<TypeKind, string>> = {
  bool: 'boolean',
  int16: 'smallint',
  int32: 'integer',
  int64: 'bigint',
  float32: 'real',
  float64: 'double precision',
  decimal: 'numeric',
  money: 'numeric',
  string: 'text',
  bytes: 'bytea',
  bits: 'bit varying',
  date: 'date',
  time: 'time without time zone',
  timetz: 'time with time zone',
  timestamp: 'timestamp without time zone',
  timestamptz: 'timestamp with time zone',
  interval: 'interval',
  uuid: 'uuid',
  json: 'json',
  xml: 'xml',
  enum: 'text',
  array: 'text',
  point: 'point',
  hstore: 'text',
  other: 'text',
}

/** Fractional digits that PostgreSQL keeps. */
const FRACTION_DIGITS_MAX = 6

/** The type of a created column, as SQL. */
export function typeSql(type: ColumnType, dialect: Dialect): string {
  if (dialect === 'mysql') return mysqlTypeSql(type)
  if (dialect === 'plain') return plainTypeSql(type)
  if (type.domain !== null) return type.domain
  return type.element === null ? type.native : `${typeSql(type.element, dialect)}[]`
}

/** Where MySQL's type holds more than PostgreSQL's of the same name. */
function mysqlTypeSql(type: ColumnType): string {
  switch (type.base) {
    // TIME goes from -838:59:59 to 838:59:59.
    case 'time':
      return 'interval'
    case 'bit':
      return `bit(${type.length ?? 1})`
    // Duplicate keys, their order and the spelling of numbers stay as they are.
    case 'json':
      return 'json'
    // NUL characters have no place in PostgreSQL's text, and the lengths of both count characters.
    default:
      return type.kind === 'other' && !TEXT_BASES.has(type.base) ? 'bytea' : plainTypeSql(type)
  }
}

/** Kinds of `other` whose values are text. */
const TEXT_BASES = new Set(['set', 'inet4', 'inet6'])

function plainTypeSql({ kind, element, precision, scale, length }: ColumnType): string {
  if (kind === 'array' && element !== null) return `${plainTypeSql(element)}[]`
  const plain = PLAIN_TYPES[kind]
  if (kind === 'decimal' && precision !== null) return `numeric(${precision},${scale ?? 0})`
  if (kind === 'string' && length !== null && length > 0) return `character varying(${length})`
  if (precision !== null && precision < FRACTION_DIGITS_MAX && /^time/.test(plain)) {
    return plain.replace(' ', `(${precision}) `)
  }
  return plain
}

/** Types to make or to find before the column can exist, innermost first. */
export function neededTypes(type: ColumnType, dialect: Dialect): NeededType[] {
  if (dialect !== 'postgres') return []
  if (type.element !== null) {
    const inner = neededTypes(type.element, dialect)
    if (type.domain === null) return inner
    return [...inner, { kind: 'domain', name: type.domain, over: `${typeSql(type.element, dialect)}[]` }]
  }
  const own: NeededType[] = []
  if (type.kind === 'enum' && type.labels !== null) own.push({ kind: 'enum', name: type.native, labels: type.labels })
  else if (isQualified(type.native)) own.push({ kind: 'other', name: type.native, base: type.base })
  if (type.domain !== null) own.push({ kind: 'domain', name: type.domain, over: type.native })
  return own
}

/** Built-in types are printed without a schema. */
function isQualified(native: string): boolean {
  return /^("(?:[^"]|"")+"|[^".()\s]+)\./.test(native)
}

interface Parts {
  readonly name: string
  readonly numbers: readonly number[]
}

/** `timestamp(3) without time zone[]` -> name `timestamp without time zone[]`, numbers 3. */
function parts(type: string): Parts {
  const match = /^([^(]*)\(([\d,-]+)\)(.*)$/.exec(type)
  if (!match) return { name: type, numbers: [] }
  return { name: match[1]! + match[3]!, numbers: match[2]!.split(',').map(Number) }
}

const INTEGERS = ['smallint', 'integer', 'bigint', 'numeric']
const ANY_TEXT = new Set(['text', 'character varying'])

/** True: every value of `want` arrives in the column unchanged, or the server refuses it. */
export function holds(type: ColumnType, dialect: Dialect, have: TargetColumn): boolean {
  const want = typeSql(type, dialect)
  if (want === have.type) return true
  const bare = dialect !== 'postgres' || type.element !== null ? want : type.native
  if (bare === have.baseType || ANY_TEXT.has(have.baseType)) return true
  if (have.isExtension && lastName(bare) === lastName(have.baseType)) return true
  const from = parts(bare)
  const to = parts(have.baseType)
  if (INTEGERS.includes(from.name) && from.numbers.length === 0 && to.numbers.length === 0) {
    return INTEGERS.indexOf(to.name) >= INTEGERS.indexOf(from.name)
  }
  return from.name === to.name && holdsModifiers(from, to)
}

function holdsModifiers({ name, numbers: from }: Parts, { numbers: to }: Parts): boolean {
  const [a, b = 0] = to
  if (a === undefined) return !/^(character|bit)\b(?! varying)/.test(name)
  const [c, d = 0] = from
  if (c === undefined) return /^(time|interval)/.test(name) && a === FRACTION_DIGITS_MAX
  if (name.startsWith('numeric')) return b >= d && a - b >= c - d
  if (/^(character varying|bit varying|time)/.test(name)) return a >= c
  return false
}

function lastName(type: string): string {
  const match = /(?:^|\.)("(?:[^"]|"")+"|[^".]+)$/.exec(type)
  return match ? match[1]! : type
}
