/**
 * Values of a SELECT in dialect `mysql`, and what to select so that nothing is lost on the way. The sessions have
 * character_set_results = NULL and time_zone = '+00:00', see chunk.ts.
 */
import type { Value } from '../../core/model.js'
import { quoteMysqlName } from '../../drivers/mysql.js'
import { textReader } from './charsets.js'
import { holdsBytes, type MysqlColumnType } from './column-types.js'
import { doubleText, floatText } from './number-text.js'
import { bitText, enumLabel, setLabels } from './row-values.js'

/** FLOAT is printed with six digits only, ENUM's error value as an empty label: both are read as numbers. */
export function selectSql(name: string, { type }: MysqlColumnType): string {
  const column = quoteMysqlName(name)
  switch (type.base) {
    case 'float':
      return `${column} * 1e0`
    case 'double':
      // With a declared scale it is printed rounded.
      return type.native.includes('(') ? `${column} * 1e0` : column
    case 'enum':
    case 'set':
      return `CAST(${column} AS UNSIGNED)`
    default:
      return column
  }
}

/** Reads the bytes of one value from `start` to `end`. */
export type TextDecoderOf = (bytes: Buffer, start: number, end: number) => Value

export function textDecoder(column: MysqlColumnType): TextDecoderOf {
  const { type } = column
  if (holdsBytes(column)) return (b, start, end) => Uint8Array.prototype.slice.call(b, start, end)
  switch (type.base) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'bigint':
    case 'decimal':
      return /zerofill/.test(type.native) ? (b, start, end) => unfilled(ascii(b, start, end)) : ascii
    case 'float':
      return (b, start, end) => floatText(Number(ascii(b, start, end)))
    case 'double':
      return (b, start, end) => doubleText(Number(ascii(b, start, end)))
    case 'bit':
      return (b, start, end) => bitText(b, start, end, type.length ?? 1)
    case 'enum':
      return (b, start, end) => enumLabel(column, Number(ascii(b, start, end)))
    case 'set':
      return (b, start, end) => setLabels(column, BigInt(ascii(b, start, end)))
    case 'timestamp':
      return (b, start, end) => zoned(ascii(b, start, end))
    default:
      return textReader(column.charset ?? 'utf8mb4')
  }
}

function ascii(b: Buffer, start: number, end: number): string {
  return b.toString('latin1', start, end)
}

function unfilled(text: string): string {
  return text.replace(/^0+(?=\d)/, '')
}

function zoned(text: string): string {
  return text.startsWith('0000-00-00') ? text : `${text}+00`
}
