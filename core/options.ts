/** Kinds of options that several blocks share, so that one mistake gets one message wherever it is made. */
import { z } from 'zod'
import { parseDurationMs } from './duration.js'
import { TidemarkError } from './errors.js'
import { parseTablePatterns } from './table-pattern.js'

/** A length of time; the parsed option is its milliseconds. */
export const duration = (minMs: number, maxMs: number) =>
  z.union([z.string(), z.number()]).transform((text, context) => {
    const ms = parseDurationMs(text)
    if (ms !== null && ms >= minMs && ms <= maxMs) return ms
    const message =
      ms === null
        ? `"${text}" is not a length of time. Write for example 500ms, 1s or 2min.`
        : `must lie between ${durationText(minMs)} and ${durationText(maxMs)}.`
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  })

function durationText(ms: number): string {
  if (ms >= 60_000 && ms % 60_000 === 0) return `${ms / 60_000}min`
  return ms >= 1_000 && ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`
}

/** One text of table names and patterns. */
export const tablePatterns = () => z.string().min(1).superRefine(readable)

/** One such text, or a list of them. */
export const tableLists = () => z.union([tablePatterns(), z.array(tablePatterns()).min(1)])

function readable(text: string, context: z.RefinementCtx): void {
  if (text === '') return
  try {
    if (parseTablePatterns(text).length > 0) return
    context.addIssue({ code: 'custom', message: 'it names no table' })
  } catch (error) {
    if (!(error instanceof TidemarkError)) throw error
    context.addIssue({ code: 'custom', message: `${error.message}. ${error.fix}` })
  }
}
