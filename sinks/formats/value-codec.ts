/** How one column's values become JSON. */
import type { Value } from '../../core/model.js'

export type ValueCodec =
  /** The text is a JSON value already: digits. */
  | { readonly form: 'raw' }
  /** The text becomes a JSON string. */
  | { readonly form: 'text' }
  /** A function makes the JSON value. */
  | { readonly form: 'call'; readonly json: (value: NonNullable<Value>) => string }
  /** `put` writes text values of the usual form and answers -1 for others, which `json` does. */
  | { readonly form: 'put'; readonly put: PutText; readonly json: (value: NonNullable<Value>) => string }

/**
 * Writes a JSON value of at most PUT_BYTES_MAX bytes at `at` and returns where it ends, or -1 for a text whose form it
 * does not know. The text is the `length` bytes of `source` at `from`.
 */
export type PutText = (bytes: Buffer, at: number, source: Buffer, from: number, length: number) => number

export const PUT_BYTES_MAX = 64

export const text = (json: (value: string) => string): ValueCodec => ({
  form: 'call',
  json: (value) => json(value as string),
})
export const fast = (put: PutText, json: (value: string) => string): ValueCodec => ({
  form: 'put',
  put,
  json: (value) => json(value as string),
})
export const AS_IS: ValueCodec = { form: 'raw' }
export const AS_TEXT: ValueCodec = { form: 'text' }
