/**
 * Every asynchronous call of the simulated source, sink and clock waits here until the seeded driver lets it happen. An
 * operation may be impossible for now (a lock is held); one of a dead process never happens, one of a sleeping process
 * not before it wakes.
 */
export interface Op {
  readonly name: string
  readonly owner: object
  /** False: not possible yet. */
  readonly ready: () => boolean
  readonly happen: () => void
}

export class Ops {
  readonly asleep = new Set<object>()
  #pending: Op[] = []

  /** Waits for the driver; `work` runs at that moment and its result is the answer. */
  wait<T>(name: string, owner: object, work: () => T, ready: () => boolean = () => true): Promise<T> {
    return new Promise((resolve, reject) => {
      const happen = () => {
        try {
          resolve(work())
        } catch (error) {
          reject(error)
        }
      }
      this.#pending.push({ name, owner, ready, happen })
    })
  }

  possible(): Op[] {
    return this.#pending.filter((op) => !this.asleep.has(op.owner) && op.ready())
  }

  take(op: Op): void {
    this.#pending.splice(this.#pending.indexOf(op), 1)
  }

  /** The process died: nothing of it happens any more. */
  kill(owner: object): void {
    this.#pending = this.#pending.filter((op) => op.owner !== owner)
  }
}
