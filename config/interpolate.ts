/**
 * `${...}` in the values of a pipeline file. It is applied to parsed scalars only, never to the file's text, so that a
 * secret with a colon or a newline cannot change the file's meaning.
 *
 *   ${VAR}  ${env:VAR}          an environment variable; an error when it is not set
 *   ${VAR:-default}             the default when the variable is not set or empty; it may hold further ${...}
 *   ${file:/path}               a file's text without the last line break; relative to the pipeline file
 *   ${file:/path.properties:key}
 *   $${                         the two characters ${
 *
 * Inside a URL that the file spells out (`postgres://app:${PASSWORD}@...`) a value is percent-encoded, so that a
 * password stays one whatever it holds. A URL that comes as a whole (`${DATABASE_URL}`) stays as it is.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

export interface InterpolationScope {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Folder that relative paths start from. */
  readonly folder: string
}

export interface Interpolated {
  readonly text: string
  /** The parts that came from outside the file. */
  readonly parts: readonly string[]
  readonly problems: readonly string[]
}

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/
const FILE_BYTES_MAX = 64 * 1024

export function hasInterpolation(text: string): boolean {
  return text.includes('${')
}

export function interpolate(text: string, scope: InterpolationScope): Interpolated {
  const parts: string[] = []
  const problems: string[] = []
  let out = ''
  /** What the file itself says up to here. */
  let spelledOut = ''
  let i = 0
  while (i < text.length) {
    if (text.startsWith('$${', i)) {
      out += '${'
      i += 3
    } else if (text.startsWith('${', i)) {
      const end = closingBrace(text, i + 2)
      if (end === -1) {
        problems.push(`"\${" without "}". Write "$\${" for the two characters themselves`)
        break
      }
      const found = evaluate(text.slice(i + 2, end), scope)
      parts.push(...found.parts)
      problems.push(...found.problems)
      out += spelledOut.includes('://') ? encodeFor(spelledOut, text.slice(end + 1), found.text) : found.text
      i = end + 1
    } else {
      spelledOut += text[i]
      out += text[i++]
    }
  }
  return { text: out, parts, problems }
}

/** A host keeps what an address is made of (`[::1]`, `db:5432`); everything else is one name, word or password. */
function encodeFor(before: string, after: string, value: string): string {
  const authority = before.slice(before.indexOf('://') + 3)
  const isUser = !authority.includes('@') && /^[^/?#]*@/.test(after.replace(/\$\{[^}]*\}/g, ''))
  const isHost = !isUser && !/[/?#]/.test(authority)
  const encoded = encodeURIComponent(value)
  return isHost ? encoded.replace(/%(3A|5B|5D)/g, decodeURIComponent) : encoded
}

function closingBrace(text: string, from: number): number {
  let depth = 1
  for (let i = from; i < text.length; i++) {
    if (text.startsWith('${', i)) depth++
    else if (text[i] === '}' && --depth === 0) return i
  }
  return -1
}

function evaluate(expression: string, scope: InterpolationScope): Interpolated {
  if (expression.startsWith('file:')) return fromFile(expression.slice('file:'.length), scope)
  const body = expression.startsWith('env:') ? expression.slice('env:'.length) : expression
  const split = body.indexOf(':-')
  const name = split === -1 ? body : body.slice(0, split)
  if (!VARIABLE.test(name)) {
    const known = ['VAR', 'VAR:-default', 'env:VAR', 'file:/path', 'file:/path.properties:key'].map(
      (form) => `\${${form}}`,
    )
    return problem(`"\${${expression}}" is not understood. Known are ${known.join(', ')}; "$\${" stands for "\${"`)
  }
  const value = scope.env[name]
  if (split !== -1 && (value === undefined || value === '')) return interpolate(body.slice(split + 2), scope)
  if (value === undefined) {
    return problem(`the environment variable ${name} is not set. Set it, or give a default: \${${name}:-...}`)
  }
  return { text: value, parts: value === '' ? [] : [value], problems: [] }
}

function fromFile(reference: string, scope: InterpolationScope): Interpolated {
  const split = reference.lastIndexOf(':')
  const path = split > 0 ? reference.slice(0, split) : reference
  const key = split > 0 ? reference.slice(split + 1) : null
  let text: string
  try {
    const bytes = readFileSync(resolve(scope.folder, path))
    if (bytes.length > FILE_BYTES_MAX) return problem(`the file ${path} is larger than ${FILE_BYTES_MAX} bytes`)
    text = bytes.toString('utf8')
  } catch (error) {
    return problem(`the file ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`)
  }
  if (key === null) {
    const value = text.replace(/\r?\n$/, '')
    return { text: value, parts: value === '' ? [] : [value], problems: [] }
  }
  const value = readProperties(text).get(key)
  if (value === undefined) return problem(`the file ${path} has no property "${key}"`)
  return { text: value, parts: value === '' ? [] : [value], problems: [] }
}

function problem(text: string): Interpolated {
  return { text: '', parts: [], problems: [text] }
}

/** Java's properties format: comments, continued lines and backslash escapes. */
export function readProperties(text: string): Map<string, string> {
  const found = new Map<string, string>()
  const joined = text.replace(/(?<!\\)((?:\\\\)*)\\\r?\n[ \t\f]*/g, '$1')
  for (const line of joined.split(/\r?\n/)) {
    const match = /^\s*((?:\\.|[^\\\s=:#!])(?:\\.|[^\\\s=:])*)\s*[=:\s]?\s*(.*)$/s.exec(line)
    if (match) found.set(unescapeProperty(match[1]!), unescapeProperty(match[2]!))
  }
  return found
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', f: '\f' }

function unescapeProperty(text: string): string {
  return text.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/gs, (_, hex: string | undefined, char: string) =>
    hex === undefined ? (ESCAPES[char] ?? char) : String.fromCharCode(Number.parseInt(hex, 16)),
  )
}
