/** What two tags of a table say of the time between them: whether what was copied is still what the source has. */
import { TidemarkError } from '../../core/errors.js'
import type { TableId } from '../../core/model.js'
import { sameFile } from './storage.js'
import { labelsTag, type SeenTable, type TableTag } from './table-tag.js'

export const ANEW =
  'Take the table out of `tables`, run once, empty its target, and put it back: it is then copied anew. Or `tidemark drop FILE`, empty the targets and start anew.'
export const IGNORE_ONCE = 'run once with --set source.table.rewrites=ignore'

/** Rows that were copied by one key cannot be found by another (1.10 h). The order of its columns does not matter. */
export function keyChange(id: TableId, before: TableTag, now: TableTag): TidemarkError | null {
  // Without a key updates and deletes are refused by the server itself.
  if (before.key == null || now.key == null || sorted(before.key) === sorted(now.key)) return null
  const named = ({ names }: TableTag, key: string) => key.split(' ').map((n) => names[n] ?? '?')
  return keyChanged(id, named({ ...before, names: { ...now.names, ...before.names } }, before.key), named(now, now.key))
}

function sorted(key: string): string {
  return key.split(' ').sort().join(' ')
}

export function keyChanged(id: TableId, was: readonly string[], now: readonly string[]): TidemarkError {
  return new TidemarkError('postgres.identity_changed', {
    message: `the key of ${id} was (${was.join(', ')}) when it was copied, and its changes now carry (${now.join(', ')}): its primary key or REPLICA IDENTITY was changed, or a column of it renamed`,
    fix: `Rows in the target cannot be found by another key. ${ANEW}`,
  })
}

/** A generated column that was left out and is an ordinary one now: its former values are in no log. */
export function nowPublishing(id: TableId, before: TableTag, now: TableTag): TidemarkError | null {
  const without = now.without?.split(' ') ?? []
  const place = before.without?.split(' ').find((n) => now.names[n] !== undefined && !without.includes(n))
  return place === undefined ? null : generatedBefore(id, now.names[place]!)
}

export function generatedBefore(id: TableId, column: string): TidemarkError {
  return new TidemarkError('postgres.generated_column', {
    message: `column ${column} of ${id} was a generated one, which the log left out, and is not any more (ALTER COLUMN ... DROP EXPRESSION, or generated.columns was changed): what rows held in it is in no log`,
    fix: ANEW,
  })
}

/** Changes made while the table was out of the publication are in no log. */
export function publicationChange(
  id: TableId,
  publication: string,
  before: TableTag,
  now: TableTag,
): TidemarkError | null {
  // A table that was just added had no place in it.
  if (before.published == null) return null
  const [made, ...places] = before.published.split(' ')
  const [madeNow, ...placesNow] = now.published?.split(' ') ?? []
  // Older tags have a schema's number only.
  const stayed = (place: string) => placesNow.some((now) => now === place || now.startsWith(`${place}.`))
  if (made === madeNow && places.some(stayed)) return null
  return new TidemarkError('postgres.publication', {
    message: `${id} had been taken out of publication ${publication}, or what that publishes was changed, since the table was looked at last: changes made meanwhile may be in no log`,
    fix: `${ANEW} If nothing was left out (only the owner of the publication changed, or nobody wrote meanwhile), ${IGNORE_ONCE}.`,
  })
}

/** A name that belonged to another column before: old rows of the target hold that one's values under it. */
export function nameChange(id: TableId, before: TableTag, now: TableTag): TidemarkError | null {
  for (const [place, name] of Object.entries(now.names)) {
    const was = Object.keys(before.names).find((n) => before.names[n] === name)
    if (was === undefined || was === place) continue
    const former = before.names[place]
    const how = former === undefined ? 'dropped and added again' : `another one, ${former}, was renamed to it`
    return rewritten(id, `column ${name} is not the one it was: ${how}`, ANEW)
  }
  return null
}

/** ALTER TYPE ... RENAME VALUE changes what every row with the label shows. */
export function labelsChange(id: TableId, before: TableTag, now: SeenTable): TidemarkError | null {
  for (const [oid, tag] of Object.entries(before.labels ?? {})) {
    const type = now.enums.get(oid)
    if (type === undefined || labelsTag(type.labels, Number.parseInt(tag, 10)) === tag) continue
    return rewritten(
      id,
      `a label of enum ${type.name} was renamed`,
      `Apply the same ALTER TYPE ... RENAME VALUE to the target and ${IGNORE_ONCE}. Where the target holds labels as text: ${ANEW}`,
    )
  }
  return null
}

/** Its storage and the definition of its columns are others: neither TRUNCATE nor VACUUM FULL does both. */
export function wasRewritten(before: TableTag, now: TableTag): boolean {
  return wasMoved(before, now) && before.columns !== now.columns
}

/** Its storage or that of a partition is another one. */
export function wasMoved(before: TableTag, now: TableTag): boolean {
  return Object.entries(before.files).some(
    ([leaf, file]) => now.files[leaf] !== undefined && !sameFile(leaf, file, now.files[leaf]),
  )
}

/** Numbers of the columns that were added since the table was copied: rows that were copied before have no value of theirs. */
export function addedColumns(before: TableTag, now: TableTag): string[] {
  const known = before.added?.split(' ') ?? []
  return Object.keys(now.names).filter((place) => before.names[place] === undefined || known.includes(place))
}

/** What happened to columns, for people; added ones come with the log. */
export function changedColumns(before: TableTag, now: TableTag): string[] {
  return Object.entries(before.names).flatMap(([place, name]) => {
    const to = now.names[place]
    if (to === undefined) return [`column ${name} was dropped; targets keep theirs`]
    return to === name ? [] : [`column ${name} was renamed to ${to}`]
  })
}

export function tableRecreated(id: TableId): TidemarkError {
  return new TidemarkError('postgres.table_recreated', {
    message: `table ${id} was dropped or renamed, and another one was made under its name: what was copied is of the old one`,
    fix: ANEW,
  })
}

/** VACUUM FULL and CLUSTER behind ADD COLUMN look the same, and take the default that old rows have out of the catalog. */
export function rewrittenError(id: TableId, before: TableTag, now: TableTag): TidemarkError {
  const added = Object.keys(now.names).filter((place) => before.names[place] === undefined)
  if (added.length === 0) {
    const fix = `${ANEW} If the values did not change (a wider type without USING), apply the same ALTER TABLE to the target and ${IGNORE_ONCE}.`
    return rewritten(id, 'ALTER TABLE rewrote its rows', fix)
  }
  const columns = added.map((place) => now.names[place]).join(', ')
  const change = `its rows were rewritten since ${columns} was added: by VACUUM FULL or CLUSTER after ADD COLUMN ... DEFAULT, or by ALTER TABLE itself`
  const fix = `If it was VACUUM FULL or CLUSTER, or the default was computed for each row but no row was written since: give the rows that the target had before the source's values of ${columns} (UPDATE ... SET ${columns} = the DEFAULT that it was added with, where it is null) and ${IGNORE_ONCE}. Otherwise: ${ANEW}`
  return rewritten(id, change, fix)
}

function rewritten(id: TableId, change: string, fix: string): TidemarkError {
  const message = `table ${id}: ${change}, which no log shows: rows that were copied may differ from what they are now`
  return new TidemarkError('postgres.rewritten', { message, fix })
}
