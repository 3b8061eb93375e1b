/** Mistakes in a pipeline file: collected, all of them, then thrown as one error that lists each with its place. */
import { TidemarkError } from '../core/errors.js'

export interface Problem {
  /** `file:line:column` or `--set source.xyz`. */
  readonly where: string
  readonly message: string
  /** Order in the file; --set options come last. */
  readonly offset: number
}

export class ConfigError extends TidemarkError {
  readonly problems: readonly Problem[]
  readonly file: string
  /** The pipeline's name as far as it is known. */
  readonly pipeline: string

  constructor(file: string, problems: readonly Problem[], pipeline: string) {
    const sorted = [...problems].sort((a, b) => a.offset - b.offset)
    const count = sorted.length === 1 ? 'a mistake' : `${sorted.length} mistakes`
    super('config.invalid', {
      message: `${file} has ${count}\n${sorted.map((p) => `  ${p.where}  ${p.message}`).join('\n')}`,
    })
    this.file = file
    this.pipeline = pipeline
    this.problems = sorted
  }
}

/** Words that people use for an option that has another name here. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  host: 'hostname',
  user: 'username',
  pass: 'password',
  db: 'database',
  dbname: 'database',
  table: 'tables',
  uri: 'url',
  slot: 'slot.name',
  columns: 'include',
  connector: 'type',
}

/** The candidate that was probably meant, or null. */
export function closest(word: string, candidates: readonly string[]): string | null {
  const other = OTHER_NAMES[word.toLowerCase()]
  if (other !== undefined && candidates.includes(other)) return other
  const plain = (text: string) => text.replace(/[^\p{L}\p{N}]/gu, '').toLowerCase()
  const same = candidates.find((candidate) => plain(candidate) === plain(word))
  if (same !== undefined) return same
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      row[j] = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j]!, before[j - 2]! + 1)
      }
    }
    before = previous
    previous = row
  }
  return previous[b.length]!
}

export function didYouMean(word: string, candidates: readonly string[]): string {
  const found = closest(word, candidates)
  return found === null ? '' : ` Did you mean "${found}"?`
}

/** `a`, `a or b`, `a, b or c`. */
export function either(words: readonly string[]): string {
  if (words.length < 2) return words.join('')
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}
