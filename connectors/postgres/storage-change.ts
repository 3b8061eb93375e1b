/**
 * What two tags say of the storage of a table and its partitions. Rows that came or went with a partition, by ATTACH,
 * DETACH, DROP or TRUNCATE of it alone, are in no log, nor is what is written while storage is UNLOGGED. Catalogs cannot
 * tell VACUUM FULL from TRUNCATE or a full partition from a new one: such doubts are asked of the rows (old-rows.ts).
 */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import { type Leaf, leafOf } from './storage.js'
import { ANEW, IGNORE_ONCE } from './table-change.js'
import type { SeenTable, TableTag } from './table-tag.js'

/** Partitions that one message names. */
const NAMED_MAX = 3
/** Row versions carry the low half of a transaction's number. */
const XID_SPAN = 1n << 32n

/** What rows answer. created: the partition was made as one. The last four are of those that could not be asked. */
export type Answer = 'created' | 'old' | 'newer' | 'empty' | 'exists' | 'gone' | 'slow' | 'busy' | 'denied'

/** `since`: whether it has rows from before this transaction; null: from before it was attached. */
export interface Doubt {
  readonly leaf: string
  readonly about: 'storage' | 'attached' | 'gone'
  readonly since: string | null
}

/** What must be asked before the change can be judged. */
export function doubts(before: TableTag, now: TableTag): Doubt[] {
  const { at, truncated } = before
  if (at === undefined || now.at === undefined) return []
  const found: Doubt[] = []
  for (const [leaf, text] of Object.entries(now.files)) {
    const was = before.files[leaf] === undefined ? null : leafOf(leaf, before.files[leaf], '')
    const is = leafOf(leaf, text, '')
    if (was === null) {
      if (is.joined !== undefined && is.outside === null) found.push({ leaf, about: 'attached', since: null })
    } else if (truncated === undefined && was.file !== is.file && !was.empty && !rewritten(was, is)) {
      // TRUNCATE of a whole table is in the log.
      if (is.joined === undefined && is.toast !== '') continue
      found.push({ leaf, about: 'storage', since: at })
    }
  }
  const gone = Object.keys(before.files).filter((leaf) => now.files[leaf] === undefined)
  return [...found, ...gone.map((leaf): Doubt => ({ leaf, about: 'gone', since: null }))]
}

/** The tag to compare with next. What could not be asked stays as it was known, to be asked again. */
export function settled(before: TableTag, { tag, answers }: SeenTable): TableTag {
  if (before.at === undefined || tag.at === undefined) return tag
  const files = { ...tag.files }
  let open = false
  for (const { leaf } of doubts(before, tag)) {
    const answer = answers?.get(leaf)
    if (answer !== undefined && answer !== 'busy') continue
    open = true
    if (before.files[leaf] === undefined) delete files[leaf]
    else files[leaf] = before.files[leaf]
  }
  const { truncated } = before
  const unseen = truncated !== undefined && BigInt(truncated) >= BigInt(tag.at)
  return { ...tag, files, ...(open ? { at: before.at } : {}), ...(unseen ? { truncated } : {}) }
}

function rewritten(was: Leaf, is: Leaf): boolean {
  return Boolean(was.toast) && Boolean(is.toast) && was.toast !== is.toast
}

export interface PartitionChanges {
  readonly error: TidemarkError | null
  readonly notes: readonly string[]
}

/** What happened to partitions that no log shows (1.10 f). */
export function partitionChanges(id: TableId, before: TableTag, seen: SeenTable, user: string): PartitionChanges {
  const root = id.slice(id.indexOf('.') + 1)
  const asked = new Set(doubts(before, seen.tag).map(({ leaf }) => leaf))
  const happened: string[] = []
  const fixes = new Set<string>()
  const notes: string[] = []
  for (const leaf of new Set([...Object.keys(before.files), ...Object.keys(seen.tag.files)])) {
    const [was, is] = [before.files[leaf], seen.tag.files[leaf]].map(
      (text) => text && leafOf(leaf, text, root),
    ) as Leaf[]
    const { joined, name } = (is ?? was)!
    if (joined === undefined || before.at === undefined) continue
    const answer = asked.has(leaf) ? (seen.answers?.get(leaf) ?? 'busy') : undefined
    if (answer === 'denied') fixes.add(`To find out: GRANT SELECT ON ${name} TO ${user}; and start again.`)
    if (is?.outside === 'UNLOGGED' && was?.outside == null) fixes.add(`ALTER TABLE ${name} SET LOGGED;`)
    const what = happening(was, is, answer, before.truncated !== undefined)
    if (what !== null) happened.push(`partition ${name} ${what}`)
    if (answer === 'slow' && was === undefined)
      notes.push(
        `partition ${name} is too large to make sure that it was attached without rows; none was found at its beginning`,
      )
  }
  if (happened.length === 0) return { error: null, notes }
  const more = happened.length > NAMED_MAX ? [`and ${happened.length - NAMED_MAX} more`] : []
  const error = new TidemarkError('postgres.partitions', {
    message: `table ${id}: ${[...happened.slice(0, NAMED_MAX), ...more].join('; ')}; what came or went with that is in no log`,
    fix: `${[...fixes].map((fix) => `${fix} `).join('')}${ANEW} If the targets need nothing of it: run once with --set source.table.partitions=ignore, or set table.partitions: ignore where it happens every day.`,
  })
  return { error, notes }
}

function happening(
  was: Leaf | undefined,
  is: Leaf | undefined,
  answer: Answer | undefined,
  truncated: boolean,
): string | null {
  if (is === undefined) {
    if (answer === 'busy') return null
    return answer === 'exists' ? 'was detached' : 'was dropped'
  }
  if (is.outside !== null && is.outside !== was?.outside) return `is ${is.outside}`
  if (was === undefined) {
    if (answer === 'denied') return 'was attached, and this user may not see whether with rows in it'
    return answer === 'old' ? 'was attached with rows in it' : null
  }
  if (was.joined === undefined) return null
  if (was.joined !== is.joined) return 'was detached and attached again'
  if (was.file === is.file) return null
  if (rewritten(was, is) && !(was.empty && is.empty)) {
    return truncated ? null : 'was rewritten (SET UNLOGGED and SET LOGGED, or SET ACCESS METHOD)'
  }
  if (answer === 'denied') return 'has other storage (TRUNCATE or VACUUM FULL), and this user may not see its rows'
  return answer === 'newer' || answer === 'empty' || answer === 'slow'
    ? 'was truncated or rewritten: no row of before is left'
    : null
}

/** A table that is published by a rule, which keeps nobody from making it UNLOGGED for a while. */
export function unloggedChange(id: TableId, before: TableTag, { tag, answers }: SeenTable): TidemarkError | null {
  const [leaf, text] = Object.entries(tag.files)[0] ?? []
  const known = leaf === undefined ? undefined : before.files[leaf]
  if (leaf === undefined || known === undefined || before.at === undefined || tag.at === undefined) return null
  const [was, is] = [leafOf(leaf, known, ''), leafOf(leaf, text!, '')]
  if (is.joined !== undefined || is.toast === undefined) return null
  if (is.outside !== null && was.outside === null) return unpublished(id, 'is UNLOGGED')
  if (was.file === is.file || before.truncated !== undefined) return null
  const moved = rewritten(was, is) || (!is.toast && answers?.get(leaf) === 'newer')
  return moved ? unpublished(id, 'was rewritten, as SET UNLOGGED and SET LOGGED do') : null
}

/** One that was a partition for a while: its changes left under another table's name. */
export function attachedChange(id: TableId, before: TableTag, now: TableTag): TidemarkError | null {
  const { at } = before
  const { redefined } = now
  if (at === undefined || redefined === undefined || redefined === before.redefined) return null
  if (redefined === 'partition') return unpublished(id, 'was attached to another table as its partition')
  const age = (BigInt(Number.parseInt(redefined, 10)) - BigInt(at)) & (XID_SPAN - 1n)
  if (age >= XID_SPAN / 2n) return null
  return unpublished(id, 'seems to have been the partition of another table: all its columns were redefined at once')
}

function unpublished(id: TableId, what: string): TidemarkError {
  return new TidemarkError('postgres.publication', {
    message: `${id} ${what}: a publication of all tables or of a schema leaves out its changes then`,
    fix: `${ANEW} If nobody wrote to it meanwhile, ${IGNORE_ONCE}.`,
  })
}
