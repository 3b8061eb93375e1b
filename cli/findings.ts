/** Findings of connectors as text. */
import type { Secrets } from '../config/secrets.js'
import type { Finding } from '../core/define.js'
import { oneLine } from './format.js'

/** `level  subject  message`, with what fixes it on lines of its own, ready to copy. */
export function findingLines(given: readonly Finding[], secrets: Secrets): string[] {
  const findings = given.map((finding) => {
    const { subject, message, ...rest } = secrets.redactFinding(finding)
    return { ...rest, subject: oneLine(subject), message: oneLine(message) }
  })
  const widths = {
    level: Math.max(0, ...findings.map((f) => f.level.length)),
    subject: Math.max(0, ...findings.map((f) => f.subject.length)),
  }
  return findings.flatMap(({ level, subject, message, fix }) => {
    const line = `${level.padEnd(widths.level)}  ${subject.padEnd(widths.subject)}  ${message}`
    return fix === undefined
      ? [line]
      : [line, ...fix.split('\n').map((text, i) => `${i === 0 ? '  fix: ' : '       '}${text}`)]
  })
}
