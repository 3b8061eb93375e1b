/** Questions on a terminal. Ctrl-C and Ctrl-D are answers too: the command ends, and nothing has happened yet. */
import { createInterface } from 'node:readline/promises'
import type { Io } from './io.js'

/** The user left at a question. */
export class Left extends Error {}

export type Ask = (question: string) => Promise<string>

/** `questions` asks one after the other; throws Left when the user ends the input instead of answering. */
export async function asking<T>(io: Io, signal: AbortSignal, questions: (ask: Ask) => Promise<T>): Promise<T> {
  const lines = createInterface({ input: io.stdin, output: io.stderr })
  const left = new Promise<never>((_, reject) => {
    // In raw mode Ctrl-C is a character, so no signal arrives; what readline itself makes of it differs by version.
    for (const event of ['SIGINT', 'close'] as const) lines.once(event, () => reject(new Left()))
  })
  left.catch(() => {})
  const ask = async (question: string) => {
    const answer = lines.question(question, { signal })
    answer.catch(() => {})
    return (await Promise.race([answer, left])).trim()
  }
  try {
    return await questions(ask)
  } catch (error) {
    if (error instanceof Left) io.stderr.write('\n')
    throw error
  } finally {
    lines.close()
  }
}
