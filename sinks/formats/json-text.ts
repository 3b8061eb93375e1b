/** Text to JSON text. Most values need no escape, so a regular expression decides and only the rest pay. */

/** What JSON requires to be escaped, and surrogates: a lone one has no UTF-8 form and must leave as an escape. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what JSON cannot hold as they are.
const NEEDS_ESCAPE = /["\\\u0000-\u001f\ud800-\udfff]/

/** The inside of a JSON string. */
export function escapeText(text: string): string {
  return NEEDS_ESCAPE.test(text) ? JSON.stringify(text).slice(1, -1) : text
}

/** A whole JSON string. */
export function quoteText(text: string): string {
  return `"${escapeText(text)}"`
}
