/**
 * Repeating a request while the cluster is busy or a connection is lost: in milliseconds, because the commonest reason,
 * the markers of the last transaction, is over in a few. Each pause is a little longer than the one before.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Abortable } from '../core/source.js'
import { gaveUp, isConnectionLost } from './kafka-errors.js'

const PAUSE_MS_FIRST = 1
const PAUSE_MS_MAX = 100
const PAUSE_GROWTH = 1.4

export class Pauses {
  #next = PAUSE_MS_FIRST

  async pause(signal?: AbortSignal): Promise<void> {
    const ms = this.#next
    this.#next = Math.min(PAUSE_MS_MAX, this.#next * PAUSE_GROWTH)
    await sleep(ms, undefined, { signal })
  }
}

/** Ask again: the code that the cluster gave. */
export class Busy {
  constructor(readonly code: number) {}
}

/**
 * Calls `attempt` until it returns something else than Busy. Lost connections count as busy. After `retryMs` throws
 * `kafka.unavailable`, or what `late` makes of the last reason.
 */
export async function repeat<T>(
  what: string,
  { retryMs, signal, late = gaveUp }: Abortable & { retryMs: number; late?: typeof gaveUp },
  attempt: () => Promise<T | Busy>,
): Promise<T> {
  const deadline = performance.now() + retryMs
  const pauses = new Pauses()
  for (;;) {
    signal.throwIfAborted()
    let last: unknown
    try {
      const result = await attempt()
      if (!(result instanceof Busy)) return result
      last = result.code
    } catch (error) {
      signal.throwIfAborted()
      if (!isConnectionLost(error)) throw error
      last = error
    }
    if (performance.now() >= deadline) throw late(what, retryMs, last)
    await pauses.pause(signal)
  }
}

/** A request that nobody waits for any more goes on by itself. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  let stop = () => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop)
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
    aborted.catch(() => {})
  }
}
