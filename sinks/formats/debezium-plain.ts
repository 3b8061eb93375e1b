/** Natural JavaScript values (dialect `plain`) to the same Debezium representation as PostgreSQL's text values. */
import type { ColumnType, Value } from '../../core/model.js'
import { type DebeziumModes, LINE_MODES } from './debezium-modes.js'
import { moneyCodec } from './debezium-numbers.js'
import { binaryJson, numberJson, postgresCodec } from './debezium-postgres.js'
import { doubleJson, floatJson } from './java-float.js'
import { quoteText } from './json-text.js'
import type { ValueCodec } from './value-codec.js'

type Present = NonNullable<Value>

function call(json: (value: Present) => string): ValueCodec {
  return { form: 'call', json }
}

export function plainCodec(type: ColumnType, modes: DebeziumModes = LINE_MODES): ValueCodec | null {
  switch (type.kind) {
    case 'bool':
    case 'int16':
    case 'int32':
    case 'int64':
      return { form: 'raw' }
    case 'float32':
      return call((value) => (modes.floats === 'java' ? floatJson : numberJson)(value as number))
    case 'float64':
      return call((value) => (modes.floats === 'java' ? doubleJson : numberJson)(value as number))
    case 'bytes':
      return call((value) => binaryJson(Buffer.from(value as Uint8Array), modes.binary))
    case 'money':
      return moneyCodec(String, modes)
    case 'array':
      return arrayCodec(type, modes)
    default:
      return overText(type, modes)
  }
}

/** Kinds whose plain form is the text that PostgreSQL prints. */
function overText(type: ColumnType, modes: DebeziumModes): ValueCodec | null {
  const codec = postgresCodec(type, modes)
  if (codec === null) return null
  if (codec.form === 'raw') return codec
  // Unlike text that was decoded from UTF-8, a string made by a program may hold half a surrogate pair.
  if (codec.form === 'text') return call((value) => quoteText(String(value)))
  return call((value) => codec.json(String(value)))
}

function arrayCodec(type: ColumnType, modes: DebeziumModes): ValueCodec | null {
  const codec = type.element === null ? null : plainCodec(type.element, modes)
  if (codec === null) return null
  const json = (value: Present): string =>
    codec.form === 'raw' ? String(value) : codec.form === 'text' ? quoteText(String(value)) : codec.json(value)
  const list = (values: readonly Value[]): string =>
    `[${values.map((v) => (v === null || v === undefined ? 'null' : Array.isArray(v) ? list(v) : json(v))).join(',')}]`
  return call((value) => list(value as readonly Value[]))
}
