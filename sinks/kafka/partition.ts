/**
 * Which partition a message goes to. Equal keys must meet in one partition whoever wrote them, so the hash is the one of
 * Java's default partitioner: murmur2 over the key's bytes.
 */
import type { TableId } from '../../core/model.js'

export const PARTITION_STRATEGIES = ['hash-by-key', 'by-table', 'all-to-zero', 'round-robin'] as const
export type PartitionStrategy = (typeof PARTITION_STRATEGIES)[number]

const SEED = 0x9747b28c
const MULTIPLIER = 0x5bd1e995
const POSITIVE = 0x7fffffff

/** murmur2 of `bytes[from..to)` as Kafka's clients compute it; a signed 32-bit number. */
export function murmur2(bytes: Uint8Array, from: number, to: number): number {
  let hash = SEED ^ (to - from)
  let i = from
  for (; i + 4 <= to; i += 4) {
    let word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    word = Math.imul(word, MULTIPLIER)
    word ^= word >>> 24
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(word, MULTIPLIER)
  }
  if (i < to) {
    for (let rest = to - i - 1; rest >= 0; rest--) hash ^= bytes[i + rest]! << (8 * rest)
    hash = Math.imul(hash, MULTIPLIER)
  }
  hash ^= hash >>> 13
  hash = Math.imul(hash, MULTIPLIER)
  return hash ^ (hash >>> 15)
}

function partitionOf(hash: number, partitions: number): number {
  return (hash & POSITIVE) % partitions
}

/** Partitions of one table's messages; `keyFrom` -1 stands for a message without a key. */
export interface Partitioner {
  of(keys: Uint8Array, keyFrom: number, keyTo: number): number
}

/** `partitions`: how many the strategy may use, which can be fewer than the topic has. */
export function createPartitioner(strategy: PartitionStrategy, table: TableId, partitions: number): Partitioner {
  const name = Buffer.from(table)
  const own = partitionOf(murmur2(name, 0, name.length), partitions)
  switch (strategy) {
    case 'all-to-zero':
      return { of: () => 0 }
    case 'by-table':
      return { of: () => own }
    case 'round-robin': {
      let next = 0
      return {
        of() {
          const chosen = next
          next = next + 1 === partitions ? 0 : next + 1
          return chosen
        },
      }
    }
    case 'hash-by-key':
      // Without a key all messages of a table keep one order.
      return { of: (keys, from, to) => (from < 0 ? own : partitionOf(murmur2(keys, from, to), partitions)) }
  }
}
