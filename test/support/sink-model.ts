/** Random changes that a source could send, and a model that applies them the plain way. */
import type { Change, ChangeBatch, Row, TableSchema } from '../../core/model.js'
import { batch, change, type typeOf } from './postgres-sink.js'
import type { Random } from './seed.js'

const KEYS = 12
const { r, c, u, d } = change
const U = undefined

export interface Kind {
  readonly name: string
  /** One of the texts of key number n. */
  text(n: number, random: Random): string
  readonly type: ReturnType<typeof typeOf>
}

/** Applies changes the plain way and makes only what a source can send. */
export class Model {
  readonly rows = new Map<number, Row>()
  readonly #kind: Kind
  readonly #random: Random
  #value = 0

  constructor(kind: Kind, random: Random) {
    this.#kind = kind
    this.#random = random
  }

  next(): Change[] {
    const random = this.#random
    const n = random.below(KEYS)
    const row = this.rows.get(n)
    if (row === undefined) return [this.#insert(n)]
    switch (random.below(7)) {
      case 0:
        this.rows.delete(n)
        return [d(keyOnly(row))]
      case 1:
        return [this.#update(n, row, false)]
      case 2:
      case 3:
        return [this.#update(n, row, true)]
      case 4:
        return this.#move(n, random.below(KEYS), random.chance(0.7))
      case 5:
        return this.#swap(n, random.below(KEYS))
      default:
        this.rows.delete(n)
        return [d(random.chance(0.5) ? row : keyOnly(row)), this.#insert(n)]
    }
  }

  #insert(n: number): Change {
    const row = [this.#kind.text(n, this.#random), this.#fresh(), this.#fresh()]
    this.rows.set(n, row)
    return this.#random.chance(0.2) ? r(row) : c(row)
  }

  #fresh(): string | null {
    return this.#random.chance(0.1) ? null : `v${++this.#value}`
  }

  #update(n: number, row: Row, partial: boolean): Change {
    const sent = partial ? this.#random.pick([[1], [2], []]) : [1, 2]
    const after = row.map((v, i) => (i === 0 ? v : sent.includes(i) ? this.#fresh() : U))
    this.rows.set(n, merged(row, after))
    return u(after, this.#random.chance(0.3) ? row : null)
  }

  /** As the merger sends it: whole rows as delete and insert, others in one change. */
  #move(from: number, to: number, partial: boolean): Change[] {
    const row = this.rows.get(from)!
    if (from !== to && this.rows.has(to)) return []
    const key = this.#kind.text(to, this.#random)
    const after = [key, this.#random.chance(0.5) ? this.#fresh() : U, partial ? U : this.#fresh()]
    const whole = merged(row, after)
    this.rows.delete(from)
    this.rows.set(to, whole)
    if (!partial && this.#random.chance(0.5)) return [d(keyOnly(row)), c(whole)]
    return key === row[0] ? [u(after)] : [u(after, this.#random.chance(0.3) ? row : keyOnly(row))]
  }

  #swap(a: number, b: number): Change[] {
    const spare = KEYS - 1
    if (a === b || a === spare || b === spare || !this.rows.has(b) || this.rows.has(spare)) return []
    return [...this.#move(a, spare, true), ...this.#move(b, a, true), ...this.#move(spare, b, true)]
  }
}

function merged(row: Row, after: Row): Row {
  return after.map((v, i) => (v === U ? row[i] : v))
}

function keyOnly(row: Row): Row {
  return row.map((v, i) => (i === 0 ? v : U))
}

/** Cuts changes into batches and writes at random places. */
export function* writes(table: TableSchema, changes: readonly Change[], random: Random): Generator<ChangeBatch[]> {
  let batches: ChangeBatch[] = []
  for (let i = 0; i < changes.length; ) {
    const size = 1 + random.below(random.chance(0.3) ? 40 : 4)
    batches.push(batch(table, ...changes.slice(i, i + size)))
    i += size
    if (random.chance(0.3)) {
      yield batches
      batches = []
    }
  }
  if (batches.length > 0) yield batches
}

export function sortedText(rows: readonly Row[]): string {
  return rows
    .map((row) => JSON.stringify(row))
    .sort()
    .join('\n')
}
