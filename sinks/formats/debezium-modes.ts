/** How Debezium's options let a consumer choose between representations of the same value. */

export const DECIMAL_MODES = ['precise', 'double', 'string'] as const
export const TIME_MODES = [
  'adaptive',
  'adaptive_time_microseconds',
  'connect',
  'isostring',
  'microseconds',
  'nanoseconds',
] as const
export const BINARY_MODES = ['bytes', 'base64', 'base64-url-safe', 'hex'] as const
export const INTERVAL_MODES = ['numeric', 'string'] as const
export const HSTORE_MODES = ['json', 'map'] as const

export interface DebeziumModes {
  readonly decimal: (typeof DECIMAL_MODES)[number]
  readonly time: (typeof TIME_MODES)[number]
  readonly binary: (typeof BINARY_MODES)[number]
  readonly interval: (typeof INTERVAL_MODES)[number]
  readonly hstore: (typeof HSTORE_MODES)[number]
  /** Digits after the point of `money`. */
  readonly moneyDigits: number
  /** Columns of types that Debezium does not know: as their text's bytes, or not at all. */
  readonly unknown: boolean
  /** Floating-point numbers as Java spells them, or as the source does. */
  readonly floats: 'java' | 'source'
}

export const DEFAULT_MODES: DebeziumModes = {
  decimal: 'precise',
  time: 'adaptive',
  binary: 'bytes',
  interval: 'numeric',
  hstore: 'json',
  moneyDigits: 2,
  unknown: false,
  floats: 'java',
}

/** What the line formats write. */
export const LINE_MODES: DebeziumModes = { ...DEFAULT_MODES, floats: 'source' }
