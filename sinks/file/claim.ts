/** I6: who owns a folder. The claim is the next number with the state of the last, so no older owner can publish any more. */
import { TidemarkError } from '../../core/errors.js'
import type { SinkOpenContext } from '../../core/sink.js'
import { step } from '../../core/steps.js'
import type { Folder, Manifest } from './folder.js'

/** Null: another owner claimed at the same time, or the number had been used and pruned before. */
export async function claim(
  folder: Folder,
  { pipeline, lastClaim }: SinkOpenContext,
): Promise<{ number: number; manifest: Manifest } | null> {
  const last = await folder.newest()
  if (last !== null && last.manifest.pipeline !== pipeline) {
    throw new TidemarkError('file.other_pipeline', {
      message: `folder ${folder.path} belongs to pipeline ${last.manifest.pipeline}`,
      fix: 'Give this pipeline a folder of its own.',
      at: 'sink.path',
    })
  }
  if (lastClaim !== undefined && `${last?.manifest.epoch}` !== lastClaim) throw fenced(folder.path, last?.number)
  const number = (last?.number ?? 0) + 1
  const state = last?.manifest ?? { version: 1 as const, pipeline, checkpoint: null, segments: [] }
  const manifest: Manifest = { ...state, epoch: number }
  const published = await folder.publish(number, manifest, `draft-${number}-claim-${process.pid}`)
  step('file.claimed')
  const numbers = await folder.numbers()
  if (!published || numbers.at(-1) !== number) return null
  await folder.sweep(number, new Set((await folder.segments(manifest)).map((s) => s.file)))
  return { number, manifest }
}

export function fenced(path: string, number: number | undefined): TidemarkError {
  return new TidemarkError('sink.fenced', {
    message: `another process owns folder ${path} now (manifest ${number})`,
    fix: 'Nothing of this run is lost: the other process goes on from the last checkpoint. Run one process per pipeline.',
  })
}
