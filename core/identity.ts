/** A checkpoint belongs to one pipeline and one source: another server, database or slot behind the same file stops it. */
import type { CheckpointState } from './checkpoint.js'
import { TidemarkError } from './errors.js'
import type { SourceOpen } from './source.js'

/** Differences that the source has judged itself (SourceOpen.accepted) are fine. */
export function requireSameSource(
  saved: CheckpointState,
  pipeline: string,
  connector: string,
  { identity, accepted }: Pick<SourceOpen, 'identity' | 'accepted'>,
): void {
  const fix = 'Point the pipeline back at it, or give this pipeline another pipeline.name.'
  if (saved.pipeline !== pipeline || saved.connector !== connector) {
    throw new TidemarkError('core.identity_changed', {
      message: `the checkpoint belongs to pipeline ${saved.pipeline} with a ${saved.connector} source, this is ${pipeline} with ${connector}`,
      fix,
    })
  }
  for (const [what, was] of Object.entries(saved.source)) {
    const now = identity[what]
    if (now === was || accepted?.includes(what)) continue
    throw new TidemarkError('core.identity_changed', {
      message: `the checkpoint of pipeline ${pipeline} was made with ${what} ${was}, the source now has ${what} ${now}`,
      fix,
      at: 'source',
    })
  }
}
