/**
 * Labels of an enum that the target lacks. A label that only the target has was renamed in the source, because labels
 * cannot be dropped: adding the new name beside it would leave old rows with the old one, and no log says so.
 */
import { quoteLiteral } from '../../drivers/postgres.js'
import type { Problem } from './judge.js'

export function labelProblems(name: string, want: readonly string[], have: readonly string[]): Problem[] {
  const absent = want.filter((label) => !have.includes(label))
  if (absent.length === 0) return []
  const message = `enum ${name} of the target lacks ${texts(absent)}`
  const extra = have.filter((label) => !want.includes(label))
  const renamed = renames(want, have)
  if (renamed === null) {
    return [
      {
        code: 'sink.type_missing',
        message: `${message}, and has ${texts(extra)}, which the source lacks`,
        fix: `If the source renamed ${extra.length === 1 ? 'it' : 'them'}: ALTER TYPE ${name} RENAME VALUE ${text(extra[0]!)} TO its new name. Add with ALTER TYPE ${name} ADD VALUE only labels that are new in the source.`,
      },
    ]
  }
  const fixes = absent.map((label) => {
    const former = renamed.get(label)
    return former === undefined
      ? `ALTER TYPE ${name} ADD VALUE ${text(label)}${before(label, want, have)};`
      : `ALTER TYPE ${name} RENAME VALUE ${text(former)} TO ${text(label)};`
  })
  return [{ code: 'sink.type_missing', message, fix: fixes.join(' ') }]
}

/**
 * The target's name of each renamed label. Labels that both have divide the lists into stretches; where a stretch has
 * as many labels of the one as of the other, they are the same ones. Null: some label's new name cannot be told.
 */
function renames(want: readonly string[], have: readonly string[]): ReadonlyMap<string, string> | null {
  const found = new Map<string, string>()
  const shared = want.filter((label) => have.includes(label))
  const ordered = have.filter((label) => want.includes(label)).every((label, i) => label === shared[i])
  if (!ordered) return have.length === shared.length ? found : null
  const ours = stretches(want, shared)
  for (const [i, theirs] of stretches(have, shared).entries()) {
    if (theirs.length === 0) continue
    if (theirs.length !== ours[i]!.length) return null
    for (const [n, label] of ours[i]!.entries()) found.set(label, theirs[n]!)
  }
  return found
}

/** What lies before the first shared label, between each two, and behind the last. */
function stretches(labels: readonly string[], shared: readonly string[]): string[][] {
  const found: string[][] = [[]]
  for (const label of labels) {
    if (shared.includes(label)) found.push([])
    else found.at(-1)!.push(label)
  }
  return found
}

/** New labels go where the source has them. */
function before(label: string, want: readonly string[], have: readonly string[]): string {
  const next = want.slice(want.indexOf(label) + 1).find((other) => have.includes(other))
  return next === undefined ? '' : ` BEFORE ${text(next)}`
}

const text = (label: string) => quoteLiteral(label).trim()
const texts = (labels: readonly string[]) => labels.map((label) => `'${label}'`).join(', ')
