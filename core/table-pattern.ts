/**
 * Names of tables in pipeline files. A pattern that contains `\.` is Flink's syntax: `.` separates the parts, `\.` is
 * the regular expression's dot and each part is a regular expression. Anything else is a glob: `*` is any run of
 * characters, `?` is one, and a part in double quotes is taken literally. Three parts are database.schema.table, two
 * schema.table. Lists are separated by commas.
 */
import { TidemarkError } from './errors.js'

/** What a pattern is matched against; names are unquoted. */
export interface NamedTable {
  readonly database: string
  readonly namespace: string
  readonly name: string
}

export interface TablePattern {
  /** As written. */
  readonly text: string
  /** True: it names one table, so a table that does not exist is a mistake. */
  readonly exact: boolean
  /** The one database that it can match; null: any, or several. */
  readonly database: string | null
  /** What $1, $2... may stand for. */
  readonly groups: number
  matches(table: NamedTable): boolean
  /** Replaces $1, $2... in `text` by what the groups (or the glob's wildcards) matched; null when it does not match. */
  expand(table: NamedTable, text: string): string | null
}

/** Between the parts of a name while matching: no database allows it inside a name. */
const PART_SEPARATOR = '\u0000'
const GLOB_LITERAL = /[\p{L}\p{N}_$#@ -]/u

/** One text with commas, or a list of such texts. Throws `config.table_pattern`. */
export function parseTablePatterns(patterns: string | readonly string[]): TablePattern[] {
  const texts = typeof patterns === 'string' ? [patterns] : patterns
  const found = texts.flatMap((text) => splitOutside(text, ',')).map((text) => text.trim())
  return found.filter((text) => text !== '').map(parseTablePattern)
}

export function parseTablePattern(text: string): TablePattern {
  const flink = text.includes('\\.')
  const parts = splitOutside(text, '.').map((part) => part.trim())
  if (parts.length < 2) {
    throw invalid(
      `table pattern "${text}" has one part`,
      `Write schema.table or database.schema.table, for example "public.${text}".`,
    )
  }
  if (parts.length > 3) {
    const hint = 'Write schema.table or database.schema.table; a name that holds a dot goes in double quotes.'
    throw invalid(`table pattern "${text}" has ${parts.length} parts`, hint)
  }
  if (parts.includes('')) throw invalid(`table pattern "${text}" has an empty part`, 'Write schema.table.')
  const sources = parts.map((part) => (flink ? flinkPart(part, text) : globPart(part, text)))
  const exact = parts.every((part) => isLiteral(part, flink))
  const [first = ''] = parts
  const database = parts.length === 3 && isLiteral(first, flink) ? (unquoted(first) ?? first) : null
  return compile(text, { exact, database }, sources)
}

/** One to three unquoted parts of a table's name, or null. */
export function splitTableName(text: string): string[] | null {
  const parts = splitOutside(text, '.').map((part) => unquoted(part.trim()) ?? part.trim())
  return parts.length > 3 || parts.includes('') ? null : parts
}

type Named = Pick<TablePattern, 'exact' | 'database'>

function compile(text: string, named: Named, sources: readonly string[]): TablePattern {
  const regex = new RegExp(`^${sources.map((s) => `(?:${s})`).join(PART_SEPARATOR)}$`, 's')
  const withDatabase = sources.length === 3
  const subject = ({ database, namespace, name }: NamedTable) =>
    (withDatabase ? [database, namespace, name] : [namespace, name]).join(PART_SEPARATOR)
  return {
    text,
    ...named,
    // An empty alternative always matches, so the result has a place for every group.
    groups: new RegExp(`${regex.source}|`, 's').exec('')!.length - 1,
    matches: (table) => regex.test(subject(table)),
    expand(table, template) {
      const match = regex.exec(subject(table))
      return match && template.replace(/\$(\d)/g, (_, digit: string) => match[Number(digit)] ?? '')
    },
  }
}

/** Splits at a separator that is not escaped and not inside quotes or brackets. */
function splitOutside(text: string, separator: string): string[] {
  const parts = ['']
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!
    if (char === '"') quoted = !quoted
    else if (!quoted && char === '\\' && i + 1 < text.length) {
      parts[parts.length - 1] += char + text[++i]!
      continue
    } else if (!quoted && '([{'.includes(char)) depth++
    else if (!quoted && ')]}'.includes(char)) depth--
    if (char === separator && !quoted && depth <= 0) parts.push('')
    else parts[parts.length - 1] += char
  }
  return parts
}

function isLiteral(part: string, flink: boolean): boolean {
  if (unquoted(part) !== null) return true
  return flink ? /^[\w$-]+$/.test(part) : !/[*?]/.test(part)
}

/** The name inside double quotes, or null. */
function unquoted(part: string): string | null {
  return /^"(?:[^"]|"")+"$/.test(part) ? part.slice(1, -1).replaceAll('""', '"') : null
}

function flinkPart(part: string, text: string): string {
  const name = unquoted(part)
  if (name !== null) return escapeRegex(name)
  const source = part.replaceAll('\\.', '.').replaceAll('\\,', ',')
  try {
    new RegExp(source, 's')
  } catch (cause) {
    throw invalid(`table pattern "${text}": "${part}" is not a regular expression`, String((cause as Error).message))
  }
  return source
}

function globPart(part: string, text: string): string {
  const name = unquoted(part)
  if (name !== null) return escapeRegex(name)
  let source = ''
  for (const char of part) {
    if (char === '*') source += '(.*)'
    else if (char === '?') source += '(.)'
    else if (GLOB_LITERAL.test(char)) source += escapeRegex(char)
    else {
      throw invalid(
        `table pattern "${text}": "${char}" has no meaning here`,
        `Globs know * and ?. Put an odd name in double quotes, or use Flink's syntax, where \\. is any character: "public.user_\\.*".`,
      )
    }
  }
  return source
}

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, (char) => `\\${char}`)
}

function invalid(message: string, fix: string): TidemarkError {
  return new TidemarkError('config.table_pattern', { message, fix })
}
