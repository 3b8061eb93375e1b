/** Mistakes in a pipeline file: collected, all of them, then thrown as one error that lists each with its place. */
import { nearest, suggest } from '../core/did-you-mean.js'
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
  brokers: 'properties.bootstrap.servers',
  'bootstrap.servers': 'properties.bootstrap.servers',
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

/** The option that was probably meant, or null. */
export function closest(word: string, candidates: readonly string[]): string | null {
  const other = OTHER_NAMES[word.toLowerCase()]
  if (other !== undefined && candidates.includes(other)) return other
  return nearest(word, candidates)
}

export function didYouMean(word: string, candidates: readonly string[]): string {
  return suggest(closest(word, candidates))
}

/** `a`, `a or b`, `a, b or c`. */
export function either(words: readonly string[]): string {
  if (words.length < 2) return words.join('')
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}
