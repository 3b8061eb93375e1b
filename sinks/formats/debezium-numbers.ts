/** Decimals and money in the modes of `decimal.handling.mode`. */
import type { ColumnType } from '../../core/model.js'
import type { DebeziumModes } from './debezium-modes.js'
import { decimalJson, decimalPut, rescaled, unscaledOf, variableDecimalJson } from './decimal-bytes.js'
import { doubleJson } from './java-float.js'
import { unreadable } from './unreadable.js'
import { fast, text, type ValueCodec } from './value-codec.js'

export function decimalCodec({ precision, scale }: ColumnType, mode: DebeziumModes['decimal']): ValueCodec {
  if (mode === 'double') return text(decimalDouble)
  if (mode === 'string') return text(decimalText)
  if (precision === null) return fast(decimalPut(0, true), variableDecimalJson)
  const digits = scale ?? 0
  return fast(decimalPut(digits, false), (value) => decimalJson(value, digits))
}

export function moneyCodec(read: (value: string) => string, { decimal, moneyDigits }: DebeziumModes): ValueCodec {
  if (decimal === 'double') return text((value) => doubleJson(Number(read(value))))
  if (decimal === 'string') return text((value) => `"${atScale(read(value), moneyDigits)}"`)
  return text((value) => decimalJson(atScale(read(value), moneyDigits), moneyDigits))
}

/** Special numerics have names of their own; `-Infinity` of a numeric came with PostgreSQL 14. */
const SPECIAL: Readonly<Record<string, string>> = {
  NaN: 'NAN',
  Infinity: 'POSITIVE_INFINITY',
  '-Infinity': 'NEGATIVE_INFINITY',
}

function decimalText(value: string): string {
  const special = SPECIAL[value]
  if (special !== undefined) return `"${special}"`
  unscaledOf(value)
  return `"${value}"`
}

function decimalDouble(value: string): string {
  const number = Number(value)
  if (Number.isNaN(number) && value !== 'NaN') throw unreadable('decimal', value)
  return doubleJson(number)
}

/** Decimal text with exactly so many digits after the point; fewer only where the lost ones are zeros (I7). */
function atScale(value: string, scale: number): string {
  const unscaled = rescaled(unscaledOf(value)!, scale, value)
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
  const point = digits.length - scale
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}${scale === 0 ? '' : `.${digits.slice(point)}`}`
}
