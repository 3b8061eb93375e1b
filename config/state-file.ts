/**
 * `pipeline.state`: the checkpoint of a sink that keeps none, in a file. A write replaces the file in one step, so a
 * crash leaves the old checkpoint or the new one.
 */
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TidemarkError } from '../core/errors.js'
import type { StateStore } from '../core/pipeline.js'

export function stateFile(path: string): StateStore {
  return {
    async read() {
      try {
        return await readFile(path, 'utf8')
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null
        throw failed(path, cause)
      }
    },
    async write(checkpoint) {
      try {
        const next = await open(`${path}.next`, 'w', 0o600)
        try {
          await next.writeFile(checkpoint)
          await next.sync()
        } finally {
          await next.close()
        }
        await rename(`${path}.next`, path)
        const folder = await open(dirname(path), 'r')
        await folder.sync().finally(() => folder.close())
      } catch (cause) {
        throw failed(path, cause)
      }
    },
  }
}

/** True when there was one. */
export async function removeStateFile(path: string): Promise<boolean> {
  const existed = (await stateFile(path).read()) !== null
  await rm(path, { force: true })
  await rm(`${path}.next`, { force: true })
  return existed
}

function failed(path: string, cause: unknown): TidemarkError {
  return new TidemarkError('config.state_file', {
    message: `the state file ${path} cannot be used (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`,
    fix: 'Give a path in a folder that exists and can be written to.',
    at: 'pipeline.state',
    cause,
  })
}
