/** Lengths of time in options: `500ms`, `1s`, `2 min`, `1h`; a bare number is milliseconds. */

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  sec: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Milliseconds, or null when the text is no length of time. */
export function parseDurationMs(text: string | number): number | null {
  if (typeof text === 'number') return Number.isFinite(text) && text >= 0 ? text : null
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text)
  if (!match) return null
  const unit = UNITS_MS[match[2] === '' ? 'ms' : match[2]!.toLowerCase()]
  return unit === undefined ? null : Number(match[1]) * unit
}
