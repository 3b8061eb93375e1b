/** Random numbers that a failing test can be given again: TIDEMARK_SEED=n. */
import { randomInt } from 'node:crypto'

const SEED_MAX = 2 ** 31

export interface Random {
  readonly seed: number
  /** 0 <= n < 1. */
  next(): number
  /** 0 <= n < below, whole. */
  below(below: number): number
  chance(probability: number): boolean
  pick<T>(items: readonly T[]): T
  /** An independent sequence for a part of the work. */
  fork(): Random
}

/** The seed to use and to print: from the environment, else a new one. */
export function testSeed(): number {
  const given = process.env.TIDEMARK_SEED
  return given === undefined || given === '' ? randomInt(SEED_MAX) : Number(given)
}

/** mulberry32: small, fast, the same on every machine. */
export function random(seed: number): Random {
  let state = seed | 0
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    seed,
    next,
    below,
    chance: (probability) => next() < probability,
    pick: (items) => items[below(items.length)]!,
    fork: () => random(below(SEED_MAX)),
  }
}
