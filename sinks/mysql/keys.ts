/** When two keys are one key to the target, which folding a batch and the order of its rows need to know. */
import type { Column, Dialect, Row, Value } from '../../core/model.js'
import type { TargetColumn } from './catalog.js'

/** True: every two texts are two keys, if need be after a look at their trailing spaces. */
export function isBinaryCollation(collation: string): boolean {
  return collation.endsWith('_bin') || collation === 'binary'
}

/** True: texts are padded with spaces before they are compared. By name: older servers say it nowhere else. */
export function padsSpaces(collation: string): boolean {
  return !/_0900_|_nopad_|^binary$/.test(collation)
}

export interface KeyFolding {
  /** Equal for keys that the target holds for equal, as far as the source can send both. */
  readonly text: (row: Row) => string
  /** True: equal keys may differ in their text, so an update writes the key columns too. */
  readonly rewrites: boolean
}

type Normalise = (value: Value) => string

function normaliser({ base, collation }: TargetColumn, dialect: Dialect): { normalise: Normalise; same: boolean } {
  const exact = collation === null || (isBinaryCollation(collation) && !padsSpaces(collation))
  switch (base) {
    case 'decimal':
      return { normalise: (v) => unpadded(String(v)), same: false }
    case 'float':
    case 'double':
      return { normalise: (v) => (Object.is(v, -0) || v === '-0' ? '0' : String(v)), same: false }
    // A source whose times have fewer digits writes none of the others.
    default:
      return { normalise: textOf, same: exact || dialect !== 'mysql' }
  }
}

function unpadded(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

function textOf(value: Value): string {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1')
  return String(value)
}

/** `at`: where the key columns are in rows. */
export function keyFolding(columns: readonly TargetColumn[], at: readonly number[], dialect: Dialect): KeyFolding {
  const parts = columns.map((column) => normaliser(column, dialect))
  const rewrites = parts.some(({ same }) => !same)
  const one = (row: Row, i: number) => parts[i]!.normalise(row[at[i]!])
  if (parts.length === 1) return { text: (row) => one(row, 0), rewrites }
  // With its length in front no part can be taken for two.
  return {
    text: (row) =>
      parts
        .map((_, i) => {
          const text = one(row, i)
          return `${text.length}:${text}`
        })
        .join(','),
    rewrites,
  }
}

/** A source's key column as its own server compares it; null: nobody knows. */
export function sourceCollation({ type }: Column): string | null {
  return type.collation ?? null
}
