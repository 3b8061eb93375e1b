/**
 * The types that canal-json names in `mysqlType`: MySQL's own, and PostgreSQL's where Tidemark wrote the topic. Values are
 * texts, as Canal writes them.
 */
import type { ColumnType, Value } from '../../core/model.js'
import { columnType, textOf } from './column-types.js'
import { type Field, mismatch } from './connect-types.js'
import type { Json } from './json.js'
import { isoText } from './time-text.js'

type Present = Exclude<Json, null>
type Read = (value: Present) => Value
type Typed = readonly [type: ColumnType, read: Read]

interface Parsed {
  /** Without numbers, lower case. */
  readonly name: string
  readonly numbers: readonly number[]
  readonly unsigned: boolean
}

/** `timestamp(3) without time zone`, `bigint(20) unsigned`, `enum('a','b')`. */
function parse(native: string): Parsed {
  const lower = native.toLowerCase().trim()
  const numbers = /\((\d+)(?:,\s*(-?\d+))?\)/.exec(lower)
  const name = lower
    .replace(/\(.*\)/, '')
    .replace(/\b(unsigned|zerofill|signed)\b/g, '')
    .replace(/\s+/g, ' ')
    .trim()
  const found = (numbers?.slice(1) ?? []).filter((part) => part !== undefined).map(Number)
  return { name, numbers: found, unsigned: /\b(unsigned|zerofill)\b/.test(lower) }
}

export function sqlField(name: string, native: string): Field {
  const [type, read] = typed(native)
  return { name, type, read, nullable: true }
}

function typed(native: string): Typed {
  const parsed = parse(native)
  // Arrays of PostgreSQL stay text, as everything else that has no type here.
  const known = native.endsWith('[]') ? undefined : SQL[parsed.name]
  return known?.(parsed) ?? [columnType('string'), textOf]
}

const whole = (kind: 'int16' | 'int32', wider: 'int32' | 'int64'): ((parsed: Parsed) => Typed) => {
  const small: Typed = [columnType(kind), (value) => Number(wholeOf(value))]
  const large: Typed = [columnType(wider), wider === 'int64' ? wholeOf : (value) => Number(wholeOf(value))]
  return ({ unsigned }) => (unsigned ? large : small)
}
const tiny: Typed = [columnType('int16'), (value) => Number(wholeOf(value))]
const text = (length: number | null = null): Typed => [columnType('string', { length }), textOf]
const clock = (kind: 'timestamp' | 'timestamptz' | 'time' | 'timetz', precision: number | null): Typed => [
  columnType(kind, { precision }),
  (value) => isoText(textOf(value)),
]
const decimal = ({ numbers: [precision, scale = 0] }: Parsed): Typed => [
  columnType('decimal', precision === undefined ? {} : { precision, scale }),
  textOf,
]
const float = (kind: 'float32' | 'float64'): Typed => [columnType(kind), (value) => floatOf(textOf(value))]
/** Canal makes text of bytes, a character for each. */
const bytes: Typed = [columnType('bytes'), (value) => latin1(value)]
const simple =
  (kind: 'date' | 'interval' | 'uuid' | 'json' | 'xml' | 'point'): (() => Typed) =>
  () => [columnType(kind), textOf]

/** MySQL's defaults are 0 fractional digits where nothing is said, PostgreSQL's 6: `without` is only PostgreSQL's. */
const SQL: Readonly<Record<string, ((parsed: Parsed) => Typed) | undefined>> = {
  tinyint: () => tiny,
  bool: () => BOOL,
  boolean: () => BOOL,
  smallint: whole('int16', 'int32'),
  year: () => tiny,
  mediumint: () => whole('int32', 'int64')({ name: '', numbers: [], unsigned: false }),
  int: whole('int32', 'int64'),
  integer: whole('int32', 'int64'),
  bigint: ({ unsigned }) =>
    unsigned ? [columnType('decimal', { precision: 20, scale: 0 }), textOf] : [columnType('int64'), wholeOf],
  decimal,
  numeric: decimal,
  float: () => float('float32'),
  real: () => float('float32'),
  double: () => float('float64'),
  'double precision': () => float('float64'),
  money: () => [columnType('decimal'), textOf],
  char: ({ numbers }) => text(numbers[0]),
  character: ({ numbers }) => text(numbers[0]),
  varchar: ({ numbers }) => text(numbers[0]),
  'character varying': ({ numbers }) => text(numbers[0]),
  binary: () => bytes,
  varbinary: () => bytes,
  tinyblob: () => bytes,
  blob: () => bytes,
  mediumblob: () => bytes,
  longblob: () => bytes,
  bytea: () => bytes,
  bit: ({ numbers: [length = 1] }) => [columnType('bits', { length }), (value) => bitText(textOf(value), length)],
  date: simple('date'),
  datetime: ({ numbers: [precision = 0] }) => clock('timestamp', precision),
  timestamp: ({ numbers: [precision = 0] }) => clock('timestamp', precision),
  'timestamp without time zone': ({ numbers: [precision = null] }) => clock('timestamp', precision),
  'timestamp with time zone': ({ numbers: [precision = null] }) => clock('timestamptz', precision),
  // MySQL's goes from -838:59:59 to 838:59:59.
  time: simple('interval'),
  'time without time zone': ({ numbers: [precision = null] }) => clock('time', precision),
  'time with time zone': ({ numbers: [precision = null] }) => clock('timetz', precision),
  interval: simple('interval'),
  json: simple('json'),
  jsonb: simple('json'),
  uuid: simple('uuid'),
  xml: simple('xml'),
  point: () => [columnType('string'), textOf],
}

const BOOL: Typed = [
  columnType('bool'),
  (value) => {
    const given = textOf(value)
    if (given === 'true' || given === 't' || given === '1') return true
    if (given === 'false' || given === 'f' || given === '0') return false
    throw mismatch('true or false', value)
  },
]

function wholeOf(value: Present): bigint {
  const given = textOf(value)
  if (!/^-?\d+$/.test(given)) throw mismatch('a whole number', value)
  return BigInt(given)
}

function floatOf(given: string): number {
  const value = Number(given)
  if (Number.isNaN(value) && given !== 'NaN') throw mismatch('a number', given)
  return value
}

function latin1(value: Present): Uint8Array {
  if (typeof value !== 'string') throw mismatch('bytes as text', value)
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 0xff) throw mismatch('bytes as text', value)
  return new Uint8Array(Buffer.from(value, 'latin1'))
}

/** Canal and TiCDC write the number that the bits are, PostgreSQL the bits: as a number those would be more than fit. */
function bitText(given: string, length: number): string {
  if (given.length === length && /^[01]+$/.test(given)) return given
  if (!/^\d+$/.test(given)) throw mismatch('a whole number', given)
  return BigInt(given).toString(2).padStart(length, '0')
}
