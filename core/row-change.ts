/** What a change of one row says of its key, and what it leaves out. */
import { type Change, keyText, type Row, type TableSchema } from './model.js'

export function keyTypes({ columns, key }: TableSchema): string {
  return key.map((i) => [columns[i]!.type.native, columns[i]!.type.collation].filter(Boolean).join(' ')).join(', ')
}

export function keyMoved(schema: TableSchema, before: Row, after: Row): boolean {
  for (const i of schema.key) if (before[i] !== after[i] && keyText([before[i]]) !== keyText([after[i]])) return true
  return false
}

export function complete(row: Row): boolean {
  for (let i = 0; i < row.length; i++) if (row[i] === undefined) return false
  return true
}

/** The delete half of a move is stated by its key: the other old values went with the row. */
export function keyOnly(schema: TableSchema, row: Row): Row {
  return complete(row) ? row : row.map((value, i) => (schema.key.includes(i) ? value : undefined))
}

/** A key column stored out of line is unsent in the new row and sent in the old one. */
export function completeKey(schema: TableSchema, change: Change): Change {
  const { before, after } = change
  if (after === null || before === null || !schema.key.some((i) => after[i] === undefined)) return change
  return { ...change, after: after.map((v, i) => (v === undefined && schema.key.includes(i) ? before[i] : v)) }
}
