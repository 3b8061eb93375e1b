/** The file sink: newline-delimited events in a folder, exactly-once. */
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { defineSink } from '../../core/define.js'
import { TidemarkError } from '../../core/errors.js'
import type { Sink } from '../../core/sink.js'
import { createFormat } from '../formats/format.js'
import { valueFormat } from '../value-format.js'
import { FOLDER_FIX, Folder } from './folder.js'
import { FileSession } from './session.js'

const SIZE_DEFAULT = '128mb'
const UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }

/** Bytes of a size like `64mb`; null when it is none. */
function parseSize(text: string | number): number | null {
  if (typeof text === 'number') return text
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)\s*$/i.exec(text)
  const unit = match && UNITS[match[2]!.toLowerCase().replace('i', '')]
  return match && unit ? Number(match[1]) * unit : null
}

const options = z.strictObject({
  path: z.string().min(1).describe('Folder for segments and manifests; made when absent. One pipeline per folder.'),
  'file.size.max': z
    .union([z.string(), z.number().int().positive()])
    .default(SIZE_DEFAULT)
    .refine((value) => (parseSize(value) ?? 0) > 0, { message: 'is not a size; write 64mb or 1gb' })
    .describe('A segment is closed when it has reached this size.'),
  'value.format': valueFormat,
})

export type FileOptions = z.infer<typeof options>

export const fileSink = defineSink<FileOptions>({
  connector: 'file',
  summary:
    'Newline-delimited JSON in a folder, exactly-once: a manifest names the committed bytes and holds the checkpoint.',
  options: options as never,

  create(given, { pipeline }): Sink {
    const sizeMax = parseSize(given['file.size.max'])!
    return {
      connector: 'file',
      guarantee: 'exactly-once',
      completesMoves: false,
      open: (context) =>
        FileSession.open(
          given.path,
          createFormat({ name: given['value.format'], logicalName: pipeline }),
          sizeMax,
          context,
        ),
    }
  },

  async check({ path }, { pipeline }) {
    const folder = new Folder(path)
    const obstacle = await folder.obstacle()
    if (obstacle !== null)
      return [{ level: 'problem', subject: path, message: `cannot be written: ${obstacle}`, fix: FOLDER_FIX }]
    const newest = await folder.newest()
    if (newest === null) return [{ level: 'ok', subject: path, message: 'will be made at the first start' }]
    const { manifest, number } = newest
    if (manifest.pipeline !== pipeline) {
      const message = `belongs to pipeline ${manifest.pipeline}`
      return [{ level: 'problem', subject: path, message, fix: 'Give this pipeline a folder of its own: sink.path.' }]
    }
    return [{ level: 'ok', subject: path, message: `continues after manifest ${number}` }]
  },

  async readCheckpoint({ path }, { pipeline }) {
    const newest = await new Folder(path).newest()
    return newest === null || newest.manifest.pipeline !== pipeline ? null : newest.manifest.checkpoint
  },

  /** The checkpoint goes, rows and numbering stay: a forgotten process of this pipeline is fenced as by any successor. */
  async drop({ path }, { pipeline }) {
    const folder = new Folder(path)
    const newest = await folder.newest()
    if (newest === null || newest.manifest.pipeline !== pipeline || newest.manifest.checkpoint === null) return []
    const number = newest.number + 1
    const dropped = { ...newest.manifest, epoch: number, checkpoint: null }
    if (!(await folder.publish(number, dropped, `draft-${number}-drop-${process.pid}`))) {
      throw new TidemarkError('sink.fenced', {
        message: `a process is still writing into ${path}`,
        fix: 'Stop it first.',
      })
    }
    return [`checkpoint in ${path} (its rows were left)`]
  },
})

/** The committed bytes of a folder, oldest first; what is beyond them is not read. */
export async function* readCommitted(path: string): AsyncGenerator<Buffer> {
  const folder = new Folder(path)
  const newest = await folder.newest()
  if (newest === null) return
  for (const { file, bytes } of await folder.segments(newest.manifest)) {
    if (bytes > 0) yield* createReadStream(join(path, 'data', file), { end: bytes - 1 }) as AsyncIterable<Buffer>
  }
}
