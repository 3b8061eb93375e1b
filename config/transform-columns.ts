/** Column rules of `transform`: include, exclude, mask, rename, in this order; several rules for a table add up. */
import { createHash } from 'node:crypto'
import { TidemarkError } from '../core/errors.js'
import type { Column, ColumnType, TableSchema, Value } from '../core/model.js'
import { either } from './problems.js'
import type { CompiledRule } from './transform.js'

export interface ColumnPlan {
  readonly columns: readonly Column[]
  readonly key: readonly number[]
  /** Target column -> position in the source row. */
  readonly from: readonly number[]
  /** Target column -> what happens to its values; null: nothing. */
  readonly masks: readonly (((value: Value) => Value) | null)[]
  /** True: rows are the same, only names differ. */
  readonly passThrough: boolean
  readonly hashed: number
}

interface Slot {
  column: Column
  readonly from: number
  mask: ((value: Value) => Value) | null
  hashed: boolean
}

/** Bytes that a hashed value may take more than the value did. */
export const HASH_BYTES = 64
const REDACTED = '***'

export function planColumns(source: TableSchema, rules: readonly CompiledRule[]): ColumnPlan | null {
  if (rules.length === 0) return null
  let slots: Slot[] = source.columns.map((column, from) => ({ column, from, mask: null, hashed: false }))
  for (const rule of rules) slots = applyRule(source, rule, slots)
  const positions = new Map(slots.map((slot, i) => [slot.from, i]))
  return {
    columns: slots.map((slot) => slot.column),
    key: source.key.map((from) => positions.get(from)!),
    from: slots.map((slot) => slot.from),
    masks: slots.map((slot) => slot.mask),
    passThrough: slots.length === source.columns.length && slots.every((slot) => slot.mask === null),
    hashed: slots.filter((slot) => slot.hashed).length,
  }
}

function applyRule(source: TableSchema, rule: CompiledRule, before: readonly Slot[]): Slot[] {
  const { entry, at, where } = rule
  const absent: Absent[] = []
  const choose = (names: readonly string[], option: string) =>
    new Set(names.flatMap((name) => find(before, name, option, absent)))
  const kept = entry.include ? choose(entry.include, 'include') : new Set(before)
  if (entry.exclude) for (const slot of choose(entry.exclude, 'exclude')) kept.delete(slot)
  const slots = before.filter((slot) => kept.has(slot)).map((slot) => ({ ...slot }))
  // What include misspelt would be reported again as missing from mask.
  const left = absent.length === 0 ? slots : before
  const masked = Object.entries(entry.mask ?? {}).flatMap(([name, kind]) =>
    find(left, name, 'mask', absent).map((slot) => ({ slot, kind })),
  )
  const renames = Object.entries(entry.rename ?? {}).flatMap(([name, to]) => {
    const slot = left.find(({ column }) => column.name === name)
    if (!slot) absent.push({ name, option: 'rename' })
    return slot ? [{ slot, to }] : []
  })
  if (absent.length > 0) throw noColumn(source, left, rule, absent)
  refuseLostKey(
    source,
    before.filter((slot) => !kept.has(slot)),
    rule,
  )
  for (const { slot, kind } of masked) mask(source, slot, kind, rule)
  for (const { slot, to } of renames) slot.column = { ...slot.column, name: to }
  refuseSameNames(source, slots, rule)
  if (slots.length === 0) {
    throw new TidemarkError('config.transform', {
      message: `${at} leaves no column of ${source.id}`,
      fix: 'Keep at least one column, or take the table out of source.tables.',
      at: where(),
    })
  }
  return slots
}

/** A plain name that the table lacks, in an option of the rule. */
interface Absent {
  readonly name: string
  readonly option: string
}

/** A plain name must exist; a pattern may match nothing, because a rule can cover many tables. */
function find(slots: readonly Slot[], name: string, option: string, absent: Absent[]): Slot[] {
  if (!/[*?]/.test(name)) {
    const slot = slots.find(({ column }) => column.name === name)
    if (!slot) absent.push({ name, option })
    return slot ? [slot] : []
  }
  const regex = new RegExp(
    `^${name
      .replace(/[\\^$.+()[\]{}|]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
    'su',
  )
  return slots.filter(({ column }) => regex.test(column.name))
}

function noColumn(
  source: TableSchema,
  slots: readonly Slot[],
  { where }: CompiledRule,
  absent: readonly Absent[],
): TidemarkError {
  const names = [...new Set(absent.map(({ name }) => `"${name}"`))]
  const [{ name }] = absent as [Absent]
  return new TidemarkError('config.transform', {
    message: `${source.id} has no column ${either(names)}; it has ${slots.map(({ column }) => column.name).join(', ')}`,
    fix: `Correct the ${names.length === 1 ? 'name' : 'names'}, or narrow source-table. Where only some tables have the column, write a pattern: "${name}*".`,
    at: [...new Set(absent.map((a) => where(a.option)))].join(', '),
  })
}

function refuseLostKey(source: TableSchema, dropped: readonly Slot[], { at, where }: CompiledRule): void {
  const lost = dropped.filter((slot) => source.key.includes(slot.from)).map(({ column }) => column.name)
  if (lost.length === 0) return
  throw new TidemarkError('config.transform', {
    message: `${at} leaves out the key column ${either(lost)} of ${source.id}, so its rows could not be told apart`,
    fix: `Keep ${either(lost)}; to hide its values, mask it with sha256.`,
    at: where(),
  })
}

function refuseSameNames(source: TableSchema, slots: readonly Slot[], { at, where }: CompiledRule): void {
  const seen = new Set<string>()
  for (const { column } of slots) {
    if (seen.has(column.name)) {
      throw new TidemarkError('config.transform', {
        message: `${at} gives ${source.id} two columns named "${column.name}"`,
        fix: 'Choose another name, or exclude one of them.',
        at: where('rename'),
      })
    }
    seen.add(column.name)
  }
}

function mask(source: TableSchema, slot: Slot, kind: 'sha256' | 'redact' | 'null', { at, where }: CompiledRule): void {
  const { column } = slot
  if (kind !== 'sha256' && source.key.includes(slot.from)) {
    throw new TidemarkError('config.transform', {
      message: `${at} masks the key column ${column.name} of ${source.id} with one value for all rows`,
      fix: 'Mask it with sha256, which keeps different keys different.',
      at: where('mask', column.name),
    })
  }
  const inner = slot.mask
  const chained = (outer: (value: Value) => Value) => (inner === null ? outer : (value: Value) => outer(inner(value)))
  const own = kind === 'null' ? nothing : kind === 'sha256' ? sha256 : redact
  // A default is a value of the column, as is what its old rows hold: they would show what the mask hides.
  const hidden = {
    ...column,
    generated: false,
    defaultValue: null,
    ...(column.filled === undefined ? {} : { filled: own(column.filled) as string | null }),
  }
  if (kind === 'null') {
    slot.mask = own
    slot.column = { ...hidden, nullable: true }
  } else {
    slot.mask = chained(own)
    slot.column = { ...hidden, type: TEXT }
    slot.hashed ||= kind === 'sha256'
  }
}

const TEXT: ColumnType = {
  kind: 'string',
  native: 'text',
  base: 'text',
  precision: null,
  scale: null,
  length: null,
  element: null,
  labels: null,
  domain: null,
}

function nothing(value: Value): Value {
  return value === undefined ? undefined : null
}

/** NULL stays NULL; a value that was not sent stays unsent. */
function sha256(value: Value): Value {
  if (value === null || value === undefined) return value
  return createHash('sha256').update(bytesOf(value)).digest('hex')
}

function redact(value: Value): Value {
  return value === null || value === undefined ? value : REDACTED
}

function bytesOf(value: Exclude<Value, null | undefined>): string | Uint8Array {
  if (typeof value === 'string' || value instanceof Uint8Array) return value
  if (typeof value !== 'object') return String(value)
  return JSON.stringify(value, (_, v: unknown) =>
    typeof v === 'bigint' ? String(v) : v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v,
  )
}
