/**
 * Values as a program wants them: what changes() hands out. Exact or text, never rounded (I7): 64-bit integers are
 * bigint, decimals and times keep their text.
 */
import type { Column, ColumnType, Dialect, Row, TableSchema, Value } from '../../core/model.js'
import { type ArrayText, moneyDecimal, parseArray, parseBytea, parseHstore, parsePoint } from './postgres-text.js'

export type DecodedValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly DecodedValue[]
  | { readonly [key: string]: DecodedValue }

/** A row as an object. Values that were not sent (unchanged TOAST, columns outside the old key) are absent. */
export type DecodedRow = { readonly [column: string]: DecodedValue }

export function decodeRow(schema: TableSchema, row: Row): DecodedRow {
  const entries: [string, DecodedValue][] = []
  schema.columns.forEach((column, i) => {
    const value = row[i]
    if (value !== undefined) entries.push([column.name, decodeValue(column, value, schema.dialect)])
  })
  // fromEntries defines own properties, so a column called __proto__ is one like any other.
  return Object.fromEntries(entries)
}

export function decodeValue(column: Column, value: Exclude<Value, undefined>, dialect: Dialect): DecodedValue {
  if (value === null) return null
  return dialect === 'plain' || value instanceof Uint8Array ? fromPlain(value) : fromText(column.type, value as string)
}

function fromPlain(value: Value): DecodedValue {
  if (value === undefined) return null
  return Array.isArray(value) ? value.map(fromPlain) : (value as DecodedValue)
}

function fromText(type: ColumnType, text: string): DecodedValue {
  switch (type.kind) {
    case 'bool':
      return text === 't' || text === 'true'
    case 'int16':
    case 'int32':
    case 'float32':
    case 'float64':
      return Number(text)
    case 'int64':
      return BigInt(text)
    case 'money':
      return moneyDecimal(text)
    case 'bytes':
      return new Uint8Array(parseBytea(text))
    case 'point': {
      const { x, y } = parsePoint(text)
      return { x, y }
    }
    case 'hstore':
      return Object.fromEntries(parseHstore(text))
    case 'array':
      return fromArray(type, text)
    default:
      return type.base === 'oid' ? Number(text) : text
  }
}

function fromArray({ element }: ColumnType, text: string): DecodedValue {
  if (element === null) return text
  const list = (array: ArrayText): DecodedValue[] =>
    array.map((v) => (v === null ? null : typeof v === 'string' ? fromText(element, v) : list(v)))
  return list(parseArray(text, element.base === 'box' ? ';' : ','))
}
