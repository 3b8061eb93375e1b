/** A batch's changes as messages see them: a change of the key leaves as a delete of the old and an insert of the new. */
import { type Change, type ChangeBatch, keyText, type Row, type TableSchema } from '../../core/model.js'

type RowsBatch = Extract<ChangeBatch, { kind: 'rows' }>

export interface Events {
  readonly changes: readonly Change[]
  /** Positions in `changes` of deletes that a key change made; the insert follows. null: none. */
  readonly moved: ReadonlySet<number> | null
}

/** `key`: positions of the message key's columns. */
export function eventsOf({ changes, schema }: RowsBatch, key: readonly number[]): Events {
  if (changes.every(isPlain)) return { changes, moved: null }
  const moved = new Set<number>()
  const out: Change[] = []
  for (const change of changes) {
    if (isPlain(change)) {
      out.push(change)
      continue
    }
    const before = change.before!
    const after = filled(change.after!, before)
    if (sameKey(schema, key, before, after)) out.push({ ...change, after })
    else {
      moved.add(out.length)
      out.push({ op: 'd', before, after: null, at: change.at }, { op: 'c', before: null, after, at: change.at })
    }
  }
  return { changes: out, moved: moved.size === 0 ? null : moved }
}

function isPlain({ op, before }: Change): boolean {
  return op !== 'u' || before === null
}

/** Values that only the old row brought are the new row's as well: they did not change. */
export function filled(after: Row, before: Row): Row {
  if (!after.includes(undefined)) return after
  return after.map((value, i) => (value === undefined ? before[i] : value))
}

/** Identity is enough for text; values that are objects (plain dialect) need their content compared. */
export function sameKey({ dialect }: TableSchema, key: readonly number[], before: Row, after: Row): boolean {
  if (key.every((i) => before[i] === undefined || after[i] === before[i])) return true
  if (dialect !== 'plain') return false
  return keyText(key.map((i) => before[i])) === keyText(key.map((i) => after[i]))
}
