/** Encodes every event and drops it: for trying a source and for measuring. A checksum over the bytes shows on request that two runs wrote the same. */
import * as zlib from 'node:zlib'
import { z } from 'zod'
import { defineSink } from '../core/define.js'
import type { SinkSession } from '../core/sink.js'
import { createFormat } from './formats/format.js'
import { valueFormat } from './value-format.js'

const options = z.strictObject({
  'value.format': valueFormat,
  checksum: z
    .boolean()
    .default(false)
    .describe('Reports a CRC-32 over the bytes, which takes a tenth of the time that encoding them takes.'),
})
type BlackholeOptions = z.infer<typeof options>

/** Native from Node 20.15 and 22.2 on, which the engines field requires. */
const crc32 = (zlib as unknown as { crc32(data: Buffer, value: number): number }).crc32
// zlib looks for the processor's instructions when it first compresses something; crc32() alone goes on without them.
zlib.deflateRawSync(Buffer.alloc(0))

export const blackholeSink = defineSink<BlackholeOptions>({
  connector: 'blackhole',
  summary: 'Encodes every event and drops it; reports how many, and on request a checksum. Keeps no checkpoint.',
  options: options as never,
  create: (given, { pipeline }) => ({
    connector: 'blackhole',
    guarantee: 'none',
    completesMoves: false,
    async open({ note }) {
      const format = createFormat({ name: given['value.format'], logicalName: pipeline })
      let events = 0
      let total = 0
      let sum = 0
      const session: SinkSession = {
        checkpoint: null,
        async prepare() {},
        async write(batches) {
          return batches.map((batch) => {
            const encoded = format.encode(batch)
            events += encoded.events
            total += encoded.bytes.length
            if (given.checksum) sum = crc32(encoded.bytes, sum)
            return encoded.bytes.length
          })
        },
        async commit() {},
        async close() {
          const checksum = given.checksum ? `, crc32 ${sum.toString(16).padStart(8, '0')}` : ''
          note(`blackhole: ${events} events, ${total} bytes${checksum}`)
        },
      }
      return session
    },
  }),
  check: async () => [{ level: 'ok', subject: 'blackhole', message: 'events are encoded and dropped' }],
  readCheckpoint: async () => null,
  drop: async () => [],
})
