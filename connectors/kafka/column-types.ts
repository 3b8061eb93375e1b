/**
 * Types of columns of dialect `plain`, each with a short code by which checkpoints keep it; and what may be said of a type by
 * values alone, where messages carry none.
 */
import type { ColumnType, TypeKind } from '../../core/model.js'
import { type Json, JsonArray, JsonNumber, JsonObject } from './json.js'

const NATIVE: Partial<Readonly<Record<TypeKind, string>>> = {
  bool: 'boolean',
  int16: 'smallint',
  int32: 'integer',
  int64: 'bigint',
  float32: 'real',
  float64: 'double precision',
  decimal: 'numeric',
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
  point: 'point',
}

interface Modifiers {
  readonly precision?: number | null
  readonly scale?: number | null
  readonly length?: number | null
}

export function columnType(
  kind: TypeKind,
  { precision = null, scale = null, length = null }: Modifiers = {},
): ColumnType {
  const base = NATIVE[kind] ?? kind
  const numbers = precision === null ? length : scale === null ? precision : `${precision},${scale}`
  const native = numbers === null ? base : base.replace(/^\w+( varying)?/, (word) => `${word}(${numbers})`)
  return { kind, native, base, precision, scale, length, element: null, labels: null, domain: null }
}

export function arrayType(element: ColumnType): ColumnType {
  const { base } = element
  const none = { precision: null, scale: null, length: null, labels: null, domain: null }
  return { kind: 'array', native: `${element.native}[]`, base, element, ...none }
}

/** `decimal:18:4`, `string::20` (length behind precision and scale), `array<int32>`. */
export function typeCode({ kind, precision, scale, length, element }: ColumnType): string {
  if (element !== null) return `array<${typeCode(element)}>`
  return [kind, precision, scale, length]
    .map((part) => part ?? '')
    .join(':')
    .replace(/:+$/, '')
}

export function typeOfCode(code: string): ColumnType {
  const element = /^array<(.*)>$/.exec(code)?.[1]
  if (element !== undefined) return arrayType(typeOfCode(element))
  const [kind, ...numbers] = code.split(':')
  const [precision, scale, length] = [0, 1, 2].map((i) => (numbers[i] ? Number(numbers[i]) : null))
  return columnType(kind as TypeKind, { precision: precision!, scale: scale!, length: length! })
}

export type InferredKind = 'bool' | 'int64' | 'decimal' | 'string' | 'json'

const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)
/** Fewer digits are never more than 64 bits. */
const INT64_DIGITS_SURE = 18
const INTEGER = /^-?\d+$/

/** The narrowest kind that holds the value exactly; null: any. */
export function kindOf(value: Json): InferredKind | null {
  if (value === null) return null
  if (typeof value === 'string') return 'string'
  if (typeof value === 'boolean') return 'bool'
  if (value instanceof JsonNumber) return isInt64(value.text) ? 'int64' : 'decimal'
  return 'json'
}

/** A kind that holds the values of both; text holds everything. */
export function widened(a: InferredKind | null, b: InferredKind | null): InferredKind | null {
  if (a === null || a === b || b === null) return a ?? b
  const numbers = (a === 'int64' || a === 'decimal') && (b === 'int64' || b === 'decimal')
  return numbers ? 'decimal' : 'string'
}

function isInt64(text: string): boolean {
  if (!INTEGER.test(text)) return false
  if (text.length <= INT64_DIGITS_SURE) return true
  const value = BigInt(text)
  return value >= INT64_MIN && value <= INT64_MAX
}

/** The value as the kind's plain form. The kind was widened by it before. */
export function inferredValue(value: Json, kind: InferredKind): string | bigint | boolean | null {
  if (value === null) return null
  if (kind === 'int64') return BigInt((value as JsonNumber).text)
  if (kind === 'bool') return value as boolean
  return textOf(value)
}

/** What was sent, a text without its quotes. */
export function textOf(value: Exclude<Json, null>): string {
  if (typeof value === 'string') return value
  if (value instanceof JsonNumber || value instanceof JsonObject || value instanceof JsonArray) return value.text
  return String(value)
}
