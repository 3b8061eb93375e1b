/** Batches in memory, for tests and for programs that look at them. Bounded: beyond the limit it fails instead of growing. */
import { z } from 'zod'
import { defineSink } from '../core/define.js'
import { TidemarkError } from '../core/errors.js'
import type { ChangeBatch } from '../core/model.js'
import type { Sink } from '../core/sink.js'

const BYTES_MAX_DEFAULT = 256 * 1024 * 1024

export interface MemorySink extends Sink {
  /** Committed batches in order. */
  readonly batches: ChangeBatch[]
}

export function memorySink(bytesMax = BYTES_MAX_DEFAULT): MemorySink {
  const batches: ChangeBatch[] = []
  let bytes = 0
  return {
    connector: 'memory',
    guarantee: 'none',
    completesMoves: false,
    batches,
    async open() {
      let pending: ChangeBatch[] = []
      return {
        checkpoint: null,
        async prepare() {},
        async write(more) {
          pending.push(...more)
          for (const batch of more) bytes += batch.bytes
          if (bytes <= bytesMax) return
          throw new TidemarkError('sink.memory_full', {
            message: `the memory sink holds more than ${bytesMax} bytes`,
            fix: 'Capture fewer rows, or use another sink.',
          })
        },
        async commit() {
          batches.push(...pending)
          pending = []
        },
        async close() {},
      }
    },
  }
}

const options = z.strictObject({
  'bytes.max': z
    .number()
    .int()
    .positive()
    .default(BYTES_MAX_DEFAULT)
    .describe('Bytes of rows after which the sink fails.'),
})

export const memorySinkDefinition = defineSink<z.infer<typeof options>>({
  connector: 'memory',
  summary: 'Keeps events in memory, for tests. Keeps no checkpoint.',
  options: options as never,
  create: (given) => memorySink(given['bytes.max']),
  check: async () => [{ level: 'ok', subject: 'memory', message: 'events are kept in memory and gone at the end' }],
  readCheckpoint: async () => null,
  drop: async () => [],
})
