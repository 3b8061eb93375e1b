/**
 * The folder of a file sink:
 *
 *   manifest/000000000042.json   what is committed; the highest number counts, older ones are pruned
 *   index/...json                full pages of closed segments, chained by `previous`, so that a manifest stays small
 *   data/...ndjson               segments; only the first `bytes` of a named one count
 *
 * A manifest is published with link(2), which fails when its number exists: publishing number n+1 after having read n is
 * a compare-and-swap that rename(2) could not give (correctness.md 5.4). Manifests and pages never change.
 */
import { constants } from 'node:fs'
import { access, link, mkdir, open, readdir, readFile, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { TidemarkError } from '../../core/errors.js'

export interface Segment {
  readonly file: string
  /** Committed bytes; what lies behind them does not count. */
  readonly bytes: number
  readonly events: number
}

export interface Manifest {
  readonly version: 1
  readonly pipeline: string
  /** Number of the manifest with which the owner claimed the folder; segments carry it in their names. */
  readonly epoch: number
  readonly checkpoint: string | null
  readonly segments: readonly Segment[]
  /** Page with the segments before these. */
  readonly previous?: string
}

export interface Page {
  readonly segments: readonly Segment[]
  readonly previous?: string
}

export const FOLDER_FIX = 'Give a path that this user may create and write.'
/** Manifests that stay for readers who just listed them. */
const MANIFESTS_KEPT = 16
const NUMBER_DIGITS = 12

export class Folder {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  async make(): Promise<void> {
    try {
      for (const part of ['manifest', 'index', 'data']) await makeFolder(resolve(this.path, part))
      await access(this.path, constants.W_OK)
    } catch (cause) {
      throw new TidemarkError('file.folder', {
        message: `folder ${this.path} cannot be written: ${(cause as Error).message}`,
        fix: FOLDER_FIX,
        at: 'sink.path',
        cause,
      })
    }
  }

  /** Why the folder can be neither made nor written; null when it seems to be possible. */
  async obstacle(): Promise<string | null> {
    for (let at = resolve(this.path); ; at = dirname(at)) {
      try {
        if (!(await stat(at)).isDirectory()) return `${at} is not a folder`
        await access(at, constants.W_OK | constants.X_OK)
        return null
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(at) === at) return (error as Error).message
      }
    }
  }

  /** Manifest numbers, ascending. Empty when the folder does not exist. */
  async numbers(): Promise<number[]> {
    const names = await readdir(join(this.path, 'manifest')).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    return names
      .filter((name) => /^\d+\.json$/.test(name))
      .map((name) => Number.parseInt(name, 10))
      .sort((a, b) => a - b)
  }

  /** The highest manifest; null in a new folder. Tries again when its owner pruned it meanwhile. */
  async newest(): Promise<{ number: number; manifest: Manifest } | null> {
    for (;;) {
      const number = (await this.numbers()).at(-1)
      if (number === undefined) return null
      try {
        return { number, manifest: await this.#read<Manifest>(this.#manifest(number)) }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
  }

  page(name: string): Promise<Page> {
    return this.#read<Page>(join(this.path, 'index', name))
  }

  /** All segments of a manifest, oldest first. */
  async segments(manifest: Manifest): Promise<Segment[]> {
    const pages: (readonly Segment[])[] = [manifest.segments]
    for (let name = manifest.previous; name !== undefined; ) {
      const page = await this.page(name)
      pages.push(page.segments)
      name = page.previous
    }
    return pages.reverse().flat()
  }

  /** False: the number exists already. Durable when it resolves. `draft` is a name that only this owner uses. */
  async publish(number: number, manifest: Manifest, draft: string): Promise<boolean> {
    const temporary = join(this.path, 'manifest', draft)
    await writeDurably(temporary, JSON.stringify(manifest))
    try {
      await link(temporary, this.#manifest(number))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
      throw error
    } finally {
      await unlink(temporary)
    }
    await this.sync('manifest')
    return true
  }

  async writePage(name: string, page: Page): Promise<void> {
    await writeDurably(join(this.path, 'index', name), JSON.stringify(page))
    await this.sync('index')
  }

  /** Makes names created in a part of the folder durable. */
  async sync(part: 'manifest' | 'index' | 'data'): Promise<void> {
    const handle = await open(join(this.path, part))
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async prune(numbers: readonly number[]): Promise<void> {
    for (const number of numbers.slice(0, -MANIFESTS_KEPT)) await unlink(this.#manifest(number)).catch(gone)
  }

  /** Removes what dead owners left: segments that no manifest names and drafts, of claims before `epoch` only. */
  async sweep(epoch: number, named: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(join(this.path, 'data'))) {
      if (claimOf(name) < epoch && !named.has(name)) await unlink(join(this.path, 'data', name)).catch(gone)
    }
    for (const name of await readdir(join(this.path, 'manifest'))) {
      const draft = /^draft-(\d+)-/.exec(name)
      if (draft && Number(draft[1]) < epoch) await unlink(join(this.path, 'manifest', name)).catch(gone)
    }
  }

  #manifest(number: number): string {
    return join(this.path, 'manifest', `${String(number).padStart(NUMBER_DIGITS, '0')}.json`)
  }

  async #read<T>(file: string): Promise<T> {
    const text = await readFile(file, 'utf8')
    try {
      return JSON.parse(text) as T
    } catch (cause) {
      throw new TidemarkError('file.manifest', {
        message: `${file} is not a manifest: ${(cause as Error).message}`,
        fix: 'The folder was changed by something else. Restore the file, or give another path.',
        cause,
      })
    }
  }
}

export function segmentName(epoch: number, sequence: number): string {
  return `${String(epoch).padStart(NUMBER_DIGITS, '0')}-${String(sequence).padStart(6, '0')}.ndjson`
}

/** The claim a segment belongs to; Infinity for files that are none of ours. */
function claimOf(name: string): number {
  return /^\d{12}-\d{6}\.ndjson$/.test(name) ? Number.parseInt(name, 10) : Number.POSITIVE_INFINITY
}

/** Without `recursive`, which never ends in Node 20 where the system refuses a folder in one that exists, as below /proc. */
async function makeFolder(path: string): Promise<void> {
  const make = () =>
    mkdir(path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error
    })
  try {
    await make()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error
    await makeFolder(dirname(path))
    await make()
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, 'w')
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function gone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
