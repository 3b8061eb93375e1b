/** Options that name topics: what Kafka would not take, or nothing would fill in, is a mistake of the file. */
import { z } from 'zod'
import { nearest, suggest } from '../../core/did-you-mean.js'
import { legal } from './topics.js'

const PLACEHOLDERS = ['prefix', 'database', 'schema', 'table']

export const topicName = (about: string) =>
  z
    .string()
    .min(1)
    .superRefine((value, context) => {
      const message = illegalName(value)
      if (message !== null) context.addIssue({ code: 'custom', message })
    })
    .optional()
    .describe(about)

export const topicTemplate = (fallback: string, about: string) =>
  z
    .string()
    .min(1)
    .superRefine((value, context) => {
      for (const message of placeholderMistakes(value)) context.addIssue({ code: 'custom', message })
    })
    .default(fallback)
    .describe(about)

/** `a.b.c:topic;d.e.f:other`, as Flink CDC writes it. */
export const tableTopics = (about: string) =>
  z
    .string()
    .transform((value, context) => {
      const found = new Map<string, string>()
      for (const pair of value.split(';')) {
        if (pair.trim() === '') continue
        const at = pair.lastIndexOf(':')
        const table = pair.slice(0, at).trim()
        const topic = pair.slice(at + 1).trim()
        const message =
          at > 0 && table !== '' && topic !== ''
            ? illegalName(topic)
            : `"${pair}" is not understood; write schema.table:topic;...`
        if (message === null) found.set(table, topic)
        else context.addIssue({ code: 'custom', message })
      }
      return found as ReadonlyMap<string, string>
    })
    .optional()
    .describe(about)

export const regularExpression = (about: string) =>
  z
    .string()
    .min(1)
    .transform((value, context) => {
      try {
        return new RegExp(value)
      } catch (error) {
        context.addIssue({ code: 'custom', message: `is no regular expression: ${(error as Error).message}` })
        return z.NEVER
      }
    })
    .optional()
    .describe(about)

/** Why Kafka has no topic of this name; null: it can. */
function illegalName(name: string): string | null {
  if (legal(name) === name) return null
  const braces = name.includes('{') ? ' Placeholders belong into topic.template.' : ''
  return `"${name}" cannot name a topic: ${LEGAL}.${braces}`
}

const LEGAL = 'up to 249 letters, digits, ".", "_" and "-"'

function placeholderMistakes(template: string): string[] {
  const said = `It has ${PLACEHOLDERS.map((name) => `{${name}}`).join(', ')}.`
  const mistakes: string[] = []
  const rest = template.replace(/\$?\{([^{}]*)\}/g, (whole, name: string) => {
    if (!PLACEHOLDERS.includes(name)) {
      const meant = nearest(name, PLACEHOLDERS)
      mistakes.push(`nothing is called ${whole}.${suggest(meant && `{${meant}}`)} ${said}`)
    }
    return ''
  })
  if (/[{}]/.test(rest)) mistakes.push(`a brace has no other half. ${said}`)
  return mistakes
}

/** What the template writes itself and Kafka does not allow; null: nothing. Where `topic.regex` works on it, it may go. */
export function illegalTemplate(template: string): string | null {
  const written = template.replace(/\$?\{[^{}]*\}/g, 'x')
  return /[{}]/.test(written) || legal(written) === written ? null : `"${template}" cannot name topics: ${LEGAL}`
}

/** `$3` of an expression with two groups would be in the topic's name as it stands. */
export function replacementMistake(regex: RegExp, replacement: string): string | null {
  const groups = new RegExp(`${regex.source}|`).exec('')!.length - 1
  const lacking = [...replacement.matchAll(/\$(\d+)/g)].find(([, n]) => Number(n) === 0 || Number(n) > groups)
  if (lacking !== undefined) {
    return `${lacking[0]} is no group of topic.regex, which has ${groups === 0 ? 'none' : groups}`
  }
  const text = replacement.replace(/\$(\d+|&|<\w+>)/g, '')
  return text === '' || legal(`x${text}`) === `x${text}` ? null : `"${text}" cannot be in a topic's name: ${LEGAL}`
}
