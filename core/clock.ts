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

/** Keeps others waiting while somebody must not be overtaken. Several may hold it at once. */
export class Gate {
  readonly #opened = new Wake()
  #holders = 0

  /** Returns the release; call it once. */
  hold(): () => void {
    this.#holders++
    return () => {
      if (--this.#holders === 0) this.#opened.set()
    }
  }

  /** Undefined: nobody holds it. Somebody may hold it again when the promise resolves, so look again. */
  wait(): Promise<void> | undefined {
    return this.#holders === 0 ? undefined : this.#opened.wait()
  }
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
