/**
 * What all connection URLs share. A password with a character that means something in a URL moves the borders between its
 * parts, so that a piece of it becomes host or parameter: such a URL is refused before anything is looked up, and what is
 * said about it repeats only parts that cannot hold a piece of the password.
 */
const ENCODE = 'In a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25'

export interface UrlShape {
  readonly schemes: RegExp
  /** `Write mysql://...`, for messages. */
  readonly form: string
  readonly port: number
}

/** What would make the parts begin or end in the wrong place; null: nothing. */
export function wrongBorders(text: string, { schemes, form, port }: UrlShape): string | null {
  const scheme = /^\s*([a-z][a-z0-9+.-]*):\/\//i.exec(text)
  if (scheme === null) return `is not a URL. ${form}`
  if (!schemes.test(scheme[1]!)) return `has the scheme ${scheme[1]}. ${form}`
  const rest = text.trim().slice(text.trim().indexOf('://') + 3)
  // URL() drops line breaks and tabs without a word.
  if (/\p{Cc}/u.test(rest)) return 'holds a line break or another control character'
  if (rest.includes('#')) return `holds a "#". ${ENCODE}`
  if (/%(?![0-9a-f]{2})/i.test(rest)) return `holds a "%" that two hexadecimal digits do not follow. ${ENCODE}`
  const authority = /^[^/?]*/.exec(rest)![0]
  if (rest.slice(authority.length).includes('@')) return `holds an "@" after its host. ${ENCODE}`
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  if (/^(:|$)/.test(host)) return `names no host. ${form}`
  if (/^(\[[^\]]*\]|[^:]*)(:\d+)?$/.test(host)) return null
  return `has a port that is not a number. Put an IPv6 address in brackets: [::1]:${port}`
}

/** null: a percent sequence is no UTF-8 text. */
export function decodedPart(part: string): string | null {
  try {
    return decodeURIComponent(part)
  } catch {
    return null
  }
}

export function unknownParameter(given: URLSearchParams, known: readonly string[]): string | null {
  for (const name of given.keys()) {
    if (!known.includes(name)) return `has an unknown parameter ${name}; known are ${known.join(', ')}`
  }
  return null
}
