/**
 * What a file sink has committed, read without its code: of the highest manifest and the pages before it, the first
 * `bytes` of each segment, in order.
 */
import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

interface Segment {
  readonly file: string
  readonly bytes: number
  readonly events: number
}

interface Page {
  readonly segments: readonly Segment[]
  /** A page in index/ with the segments before these. */
  readonly previous?: string
}

/** The newest manifest's checkpoint; null when there is none. */
export function newestCheckpoint(folder: string): string | null {
  const manifest = newestManifest(folder)
  return manifest === null ? null : (JSON.parse(readFileSync(manifest, 'utf8')) as { checkpoint: string }).checkpoint
}

export function committedRows(folder: string): string {
  return committedSegments(folder)
    .map(({ path, bytes }) => readFileSync(path).subarray(0, bytes).toString('utf8'))
    .join('')
}

/** For more than fits into one string. */
export async function* committedLines(folder: string): AsyncGenerator<string> {
  for (const { path, bytes } of committedSegments(folder)) {
    if (bytes > 0) yield* createInterface({ input: createReadStream(path, { end: bytes - 1 }) })
  }
}

function committedSegments(folder: string): { path: string; bytes: number }[] {
  const newest = newestManifest(folder)
  const segments: Segment[] = []
  for (let file = newest; file !== null; ) {
    const page = JSON.parse(readFileSync(file, 'utf8')) as Page
    segments.unshift(...page.segments)
    file = page.previous === undefined ? null : join(folder, 'index', page.previous)
  }
  return segments.map(({ file, bytes }) => {
    const path = join(folder, 'data', file)
    const { size } = statSync(path)
    if (size < bytes) throw new Error(`${path} has ${size} bytes, its manifest says ${bytes}`)
    return { path, bytes }
  })
}

function newestManifest(folder: string): string | null {
  const name = readdirSync(join(folder, 'manifest'))
    .filter((name) => /^\d+\.json$/.test(name))
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
    .at(-1)
  return name === undefined ? null : join(folder, 'manifest', name)
}
