/**
 * What must never be printed: values that came from an interpolation, options that hold passwords, and the password
 * inside a URL. Everything that the CLI writes as an error, a log line or a report goes through redact().
 * Options that only name things (hosts, tables...) are not secret even when they were interpolated: messages without
 * them would help nobody.
 */

import type { Finding } from '../core/define.js'

const SECRET_OPTION = /(^|[.\-_])(password|passphrase|passwd|token|secret|jaas\.config|keystore\.key)$/i
const NAMING_OPTIONS = new Set([
  ...['type', 'name', 'hostname', 'port', 'username', 'database', 'schema', 'path', 'state', 'parallelism'],
  ...['tables', 'tables.exclude', 'slot.name', 'source-table', 'sink-table', 'description', 'scan.startup.mode'],
])
/**
 * Shorter secrets are taken out of URLs and nowhere else: "1" stands in every address and number, and nobody could tell
 * that it is a secret.
 */
const BY_VALUE_CHARS_MIN = 4
/** Secrets up to this length are replaced only where they stand alone, and not as a part of a dotted name. */
const STANDS_ALONE_CHARS_MAX = 11
const MASK = '***'

export function isSecretOption(option: string): boolean {
  return SECRET_OPTION.test(option)
}

export class Secrets {
  #values = new Map<string, RegExp>()

  /** Call for every option's text; `interpolated` are the parts that came from outside the file. */
  learn(option: string, text: string, interpolated: readonly string[]): void {
    if (isSecretOption(option)) this.add(text)
    for (const password of [...urlPasswords(text), ...jaasPasswords(option, text)]) this.add(password)
    if (!NAMING_OPTIONS.has(option)) for (const part of interpolated) this.add(part)
  }

  add(secret: string): void {
    for (const form of [secret, secret.trim(), encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) {
      if (form.length >= BY_VALUE_CHARS_MIN && !this.#values.has(form)) this.#values.set(form, matcher(form))
    }
  }

  redact(text: string): string {
    let out = text
    const longestFirst = [...this.#values].sort(([a], [b]) => b.length - a.length)
    for (const [, regex] of longestFirst) out = out.replace(regex, MASK)
    return redactUrls(out)
  }

  /** Names and statements stay whole, whatever they happen to equal: a table may be called like a password. */
  redactFinding(finding: Finding): Finding {
    const { level, subject, message, fix } = finding
    return {
      level,
      subject: redactUrls(subject),
      message: this.redact(message),
      ...(fix === undefined ? {} : { fix: redactUrls(fix) }),
    }
  }

  /** Every text inside a value: redacted before it is encoded, because a secret may be a quote or a number. */
  redactDeep(value: unknown): unknown {
    if (typeof value === 'string') return this.redact(value)
    if (Array.isArray(value)) return value.map((item) => this.redactDeep(item))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.redactDeep(item)]))
  }
}

/** A URL that no option holds may still appear, e.g. in a driver's message; the form that our own advice shows stays. */
function redactUrls(text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*:)(?!password@host)[^\s@/]+@/gi, `$1${MASK}@`)
}

function matcher(secret: string): RegExp {
  const source = secret.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  const alone = secret.length <= STANDS_ALONE_CHARS_MAX
  return new RegExp(
    alone ? `(?<![\\p{L}\\p{N}_]|[\\p{L}\\p{N}_"]\\."?)${source}(?![\\p{L}\\p{N}_]|"?\\.[\\p{L}\\p{N}_"])` : source,
    'gu',
  )
}

/** The passwords of a URL as written and decoded: in the user part or in a query parameter. */
function urlPasswords(text: string): string[] {
  const found: string[] = []
  const user = /^[a-z][a-z0-9+.-]*:\/\/[^:/@]*:(.*)@/i.exec(text)
  if (user) found.push(user[1]!)
  for (const match of text.matchAll(/[?&](?:ssl)?password=([^&#]*)/gi)) found.push(match[1]!)
  return found.flatMap((password) => [password, decoded(password)])
}

/** The password inside a Java login: `...LoginModule required username="u" password="p";`. */
function jaasPasswords(option: string, text: string): string[] {
  if (!option.endsWith('jaas.config')) return []
  return [...text.matchAll(/password\s*=\s*(?:"((?:\\.|[^"\\])*)"|'([^']*)'|([^\s;]+))/gi)].map(
    ([, double, single, bare]) => double?.replace(/\\(.)/g, '$1') ?? single ?? bare ?? '',
  )
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
