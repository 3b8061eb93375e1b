/** Time as the core sees it, so that a simulator can own it. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Resolves after `ms`, or at once when the signal aborts (callers check the signal). */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve()
      const done = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal.addEventListener('abort', done, { once: true })
    }),
}

/** A flag that tasks wait on: set() wakes every waiter. */
export class Wake {
  #waiters: (() => void)[] = []

  set(): void {
    const waiting = this.#waiters
    this.#waiters = []
    for (const wake of waiting) wake()
  }

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve))
  }
}
