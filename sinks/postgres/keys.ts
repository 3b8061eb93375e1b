/**
 * When two keys are one key to the target. Folding a batch needs that answer here, so it is given only for types
 * whose equality this file reproduces exactly; tables with any other key are written event by event.
 */
import type { TargetColumn } from './catalog.js'
import type { SqlRow } from './values.js'

/** Types with one text per value: equal values, equal text. */
const ONE_TEXT = new Set([
  'int2',
  'int4',
  'int8',
  'oid',
  'bool',
  'text',
  'varchar',
  'name',
  'char',
  'uuid',
  'bytea',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'inet',
  'cidr',
  'macaddr',
  'macaddr8',
  'bit',
  'varbit',
])

type Normalise = (text: string) => string

function normaliser({ base, isEnum, deterministic }: TargetColumn): Normalise | 'same' | null {
  if (!deterministic) return null
  if (isEnum || ONE_TEXT.has(base)) return 'same'
  if (base === 'numeric') return (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text)
  if (base === 'float4' || base === 'float8') return (text) => (text === '-0' ? '0' : text)
  if (base === 'bpchar') return (text) => text.replace(/ +$/, '')
  return null
}

export interface KeyFolding {
  /** Text that is equal exactly for keys that the target holds for equal; null: only the server can tell. */
  readonly text: ((row: SqlRow) => string) | null
  /** True: equal keys may differ in their text, so an update writes the key columns too. */
  readonly rewrites: boolean
}

/** `at`: where the key columns are in rows. */
export function keyFolding(columns: readonly TargetColumn[], at: readonly number[]): KeyFolding {
  const normalisers = columns.map(normaliser)
  const rewrites = normalisers.some((n) => n !== 'same')
  if (normalisers.some((n) => n === null)) return { text: null, rewrites }
  const parts = normalisers as (Normalise | 'same')[]
  const one = (row: SqlRow, i: number) => {
    const text = row[at[i]!]!
    const normalise = parts[i]!
    return normalise === 'same' ? text : normalise(text)
  }
  if (parts.length === 1) return { text: (row) => one(row, 0), rewrites }
  // No text of PostgreSQL contains U+0000.
  return { text: (row) => parts.map((_, i) => one(row, i)).join('\u0000'), rewrites }
}
