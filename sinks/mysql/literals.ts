/**
 * Values as literals of statements, each in the one form that the target column stores unchanged (I7). What the server
 * would round, cut or read as something else in silence is refused here; what it refuses by itself is left to it.
 */
import { assert } from '../../core/errors.js'
import type { Column, Dialect, Value } from '../../core/model.js'
import { quoteMysqlText as quoteText } from '../../drivers/mysql.js'
import { moneyDecimal } from '../formats/postgres-text.js'
import type { TargetColumn } from './catalog.js'
import { isBinary, isText } from './types.js'

/** A value that the column cannot hold; the message goes on after "the value of COLUMN". */
export class Unfit extends Error {}

/** Never given undefined. Throws Unfit. */
export type Literal = (value: Value) => string

export interface LiteralOptions {
  readonly dialect: Dialect
  /** Of key columns whose collation takes texts for equal that differ in trailing spaces only. */
  readonly refuseTrailingSpaces: boolean
}

const FRACTION_DIGITS_MAX = 6

export function literalOf(column: Column, have: TargetColumn, options: LiteralOptions): Literal {
  const read = sourceText(column, options.dialect)
  const write = targetLiteral(have, options)
  return (value) => (value === null || value === undefined ? 'NULL' : write(read(value)))
}

// ---- from the source's form to text or bytes

type Plain = string | Uint8Array

function sourceText({ type }: Column, dialect: Dialect): (value: Value) => Plain {
  if (dialect === 'mysql')
    return type.base === 'timestamp' ? (value) => withoutZone(value as string) : (v) => v as Plain
  const { kind } = type
  const plain = dialect === 'plain' ? plainText : (value: Value) => value as Plain
  if (kind === 'bool') return (value) => (value === 't' || value === true || value === 'true' ? '1' : '0')
  if (kind === 'timestamptz') return (value) => withoutZone(plain(value) as string)
  if (dialect === 'plain') return plain
  if (kind === 'bytes') return (value) => Buffer.from((value as string).slice(2), 'hex')
  if (kind === 'money') return (value) => moneyDecimal(value as string)
  return plain
}

function withoutZone(text: string): string {
  return text.endsWith('+00') ? text.slice(0, -3) : text
}

function plainText(value: Value): Plain {
  if (value instanceof Uint8Array) return value
  if (Array.isArray(value)) {
    return JSON.stringify(value, (_, v: unknown) => {
      if (typeof v === 'bigint') return String(v)
      return v instanceof Uint8Array ? Buffer.from(v.buffer, v.byteOffset, v.length).toString('hex') : v
    })
  }
  return Object.is(value, -0) ? '-0' : String(value)
}

// ---- from text or bytes to the column

function targetLiteral(have: TargetColumn, { refuseTrailingSpaces }: LiteralOptions): (value: Plain) => string {
  const { base } = have
  const asText = (write: (text: string) => string) => (value: Plain) => {
    assert(typeof value === 'string', `bytes for the ${base} column ${have.name}`)
    return write(value)
  }
  if (isText(base)) return asText(textLiteral(have, refuseTrailingSpaces))
  if (isBinary(base)) return (value) => bytesLiteral(value, have.length)
  switch (base) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
      return asText((text) => decimalLiteral(text, 0))
    case 'decimal':
      return asText((text) => decimalLiteral(text, have.scale ?? 0))
    case 'float':
      return asText((text) => floatLiteral(text, true))
    case 'double':
      return asText((text) => floatLiteral(text, false))
    case 'bit':
      return asText((text) => `b'${text}'`)
    case 'date':
      return asText((text) => timeLiteral(text, DATE, 0))
    case 'datetime':
    case 'timestamp':
      return asText((text) => timeLiteral(text, DATETIME, have.fraction ?? 0))
    case 'time':
      return asText((text) => timeLiteral(text, TIME, have.fraction ?? 0))
    default:
      // Geometries and vectors come as the bytes that the server keeps.
      return (value) => (typeof value === 'string' ? quoteText(value) : bytesLiteral(value, null))
  }
}

function textLiteral({ base, length }: TargetColumn, refuseTrailingSpaces: boolean): (text: string) => string {
  const charsMax = (base === 'char' || base === 'varchar') && length !== null ? length : Number.POSITIVE_INFINITY
  return (text) => {
    // The server cuts trailing spaces off without an error.
    if (text.length > charsMax && [...text].length > charsMax) throw new Unfit(`is longer than ${charsMax} characters`)
    if (refuseTrailingSpaces && text.endsWith(' ')) {
      throw new Unfit('ends with a space, which the collation of the key column does not tell from none')
    }
    return quoteText(text)
  }
}

function bytesLiteral(value: Plain, bytesMax: number | null): string {
  const bytes =
    typeof value === 'string' ? Buffer.from(value) : Buffer.from(value.buffer, value.byteOffset, value.length)
  if (bytesMax !== null && bytes.length > bytesMax) throw new Unfit(`is longer than ${bytesMax} bytes`)
  return `X'${bytes.toString('hex')}'`
}

const DECIMAL = /^-?\d+(?:\.(\d+))?$/

/** Digits that a DECIMAL has no place for are rounded away without an error. */
function decimalLiteral(text: string, scale: number): string {
  const match = DECIMAL.exec(text)
  if (match === null) throw new Unfit(`is ${text}, which is no number to MySQL`)
  const after = match[1]
  if (after === undefined || after.length <= scale) return text
  const kept = after.replace(/0+$/, '')
  if (kept.length > scale) throw new Unfit(`has ${kept.length} digits after the point, and the column keeps ${scale}`)
  const whole = text.slice(0, -after.length - 1)
  return kept === '' ? whole : `${whole}.${kept}`
}

/** With an exponent it is a double to the server from the start, and never a decimal that has to become one. */
function floatLiteral(text: string, single: boolean): string {
  const number = Number(text)
  if (!Number.isFinite(number) || text === '') throw new Unfit(`is ${text}, which is no number to MySQL`)
  if (!single) return /e/i.test(text) ? text : `${text}e0`
  const rounded = Math.fround(number)
  if (!Number.isFinite(rounded)) throw new Unfit(`is ${text}, which a FLOAT cannot hold`)
  // MariaDB has no negative zero and stores 0.
  const exact = Object.is(rounded, -0) ? '-0' : String(rounded)
  return exact.includes('e') ? exact : `${exact}e0`
}

const DATE = /^\d{4}-\d\d-\d\d()$/
const DATETIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.(\d{1,6}))?$/
const TIME = /^-?\d{2,3}:\d\d:\d\d(?:\.(\d{1,6}))?$/

/** Years before 1 and after 9999 and the infinities have no place; more digits than the column has would be rounded. */
function timeLiteral(text: string, form: RegExp, digits: number): string {
  const match = form.exec(text)
  if (match === null) throw new Unfit(`is ${text}, which is outside of what MySQL's dates and times can say`)
  const kept = (match[1] ?? '').replace(/0+$/, '')
  if (digits < FRACTION_DIGITS_MAX && kept.length > digits) {
    throw new Unfit(`has ${kept.length} digits of a second, and the column keeps ${digits}`)
  }
  return `'${text}'`
}
