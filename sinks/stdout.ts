/** Events on standard output, one a line: data only. Keeps no checkpoint; a run that fails starts anew. */
import { z } from 'zod'
import { defineSink } from '../core/define.js'
import { TidemarkError } from '../core/errors.js'
import type { SinkSession } from '../core/sink.js'
import { createFormat } from './formats/format.js'
import { valueFormat } from './value-format.js'

const options = z.strictObject({ 'value.format': valueFormat })
type StdoutOptions = z.infer<typeof options>

export const stdoutSink = defineSink<StdoutOptions>({
  connector: 'stdout',
  summary: 'Newline-delimited JSON on standard output; keeps no checkpoint unless pipeline.state is given.',
  options: options as never,
  create: (given, { pipeline }) => ({
    connector: 'stdout',
    guarantee: 'none',
    completesMoves: false,
    async open() {
      const format = createFormat({ name: given['value.format'], logicalName: pipeline })
      const session: SinkSession = {
        checkpoint: null,
        async prepare() {},
        async write(batches) {
          const sizes: number[] = []
          // The format reuses its buffer, so a line is out before the next batch is encoded.
          for (const batch of batches) {
            const { bytes } = format.encode(batch)
            sizes.push(bytes.length)
            await written(process.stdout, bytes)
          }
          return sizes
        },
        async commit() {},
        async close() {},
      }
      return session
    },
  }),
  check: async () => [{ level: 'ok', subject: 'stdout', message: 'data goes to standard output' }],
  readCheckpoint: async () => null,
  drop: async () => [],
})

function written(stream: NodeJS.WriteStream, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const taken = (error?: Error | null) => {
      if (!error) return resolve()
      const closed =
        (error as NodeJS.ErrnoException).code === 'EPIPE' ||
        (error as NodeJS.ErrnoException).code === 'ERR_STREAM_DESTROYED'
      reject(
        closed
          ? new TidemarkError('sink.stdout_closed', { message: 'standard output was closed', cause: error })
          : new TidemarkError('sink.stdout_failed', {
              message: `standard output takes no more (${(error as NodeJS.ErrnoException).code ?? error.message})`,
              fix: 'Make room on its disk, or send it elsewhere.',
              cause: error,
            }),
      )
    }
    try {
      stream.write(bytes, taken)
    } catch (error) {
      // A write to a file fails at once.
      taken(error as Error)
    }
  })
}
