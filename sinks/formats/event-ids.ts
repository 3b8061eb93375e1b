/**
 * Tells events apart that have the same place in the log: rows of one record of many inserts, both halves of a key
 * change, all rows of a chunk. CloudEvents takes events with equal ids for repetitions.
 */
export class EventIds {
  readonly #run: string
  #place: number | bigint = -1
  #repeated = 0
  #rows = 0

  constructor(run: string) {
    this.#run = run
  }

  /** What makes the id of a streamed event unique; equal when the same transaction is read again. */
  streamed(place: number | bigint): string {
    this.#repeated = place === this.#place ? this.#repeated + 1 : 0
    this.#place = place
    return this.#repeated === 0 ? '' : `;row:${this.#repeated}`
  }

  /** The same for a row of a snapshot. */
  read(): string {
    return `;row:${this.#run}-${++this.#rows}`
  }
}
