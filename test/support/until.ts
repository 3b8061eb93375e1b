/** Waits for a condition instead of sleeping. */

const POLL_MS = 20
const TIMEOUT_MS_DEFAULT = 30_000

export interface UntilOptions {
  readonly timeoutMs?: number
  /** Named in the error when the deadline passes. */
  readonly what?: string
  readonly signal?: AbortSignal
}

/** Resolves with the condition's first truthy value; a condition that throws fails at once. */
export async function until<T>(condition: () => T | Promise<T>, options: UntilOptions = {}): Promise<NonNullable<T>> {
  const { timeoutMs = TIMEOUT_MS_DEFAULT, what, signal } = options
  const deadline = performance.now() + timeoutMs
  for (;;) {
    signal?.throwIfAborted()
    const value = await condition()
    if (value) return value
    if (performance.now() > deadline) {
      throw new Error(`still not true after ${timeoutMs} ms: ${what ?? String(condition)}`)
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
