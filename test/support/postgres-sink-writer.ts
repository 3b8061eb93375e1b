/**
 * A process of its own that writes a fixed stream of changes through the postgres sink, to be killed or stopped at a
 * named step. Resumes from what the sink read back. Arguments: url, commits, pipeline, fence timeout in ms.
 * Commit n writes the changes of step n; a keyless table shows every change that is written twice or never.
 */
import type { Change } from '../../core/model.js'
import { batch, change, openSink, schemaOf, signal } from './postgres-sink.js'

export const CHUNK_ROWS = 300
const { r, c, u, d } = change

export const keyed = schemaOf('keyed', { id: 'bigint', name: 'text', body: 'text' }, ['id'], { fingerprint: 'keyed' })
export const appended = schemaOf('appended', { n: 'bigint', what: 'text' }, [], { fingerprint: 'appended' })

/** Step n: a chunk of snapshot rows, then updates of earlier rows, a move and a delete. */
export function changesOf(n: number): Change[] {
  const first = n * CHUNK_ROWS
  const chunk = Array.from({ length: CHUNK_ROWS }, (_, i) => r([String(first + i), `n${n}`, `body ${i}`]))
  const moved = String(1_000_000 + n)
  return [
    ...chunk,
    u([String(first + 1), 'updated', undefined]),
    u([moved, 'moved', undefined], [String(first + 2), undefined, undefined]),
    d([String(first + 3), undefined, undefined]),
    c([String(2_000_000 + n), 'inserted', null]),
  ]
}

const [url, commits, pipeline = 'p', fenceMs = '10000'] = process.argv.slice(2)
if (url !== undefined && import.meta.url.endsWith(process.argv[1]?.split('/').at(-1) ?? '-')) {
  const session = await openSink(url, [keyed, appended], { pipeline, 'fence.timeout': Number(fenceMs) })
  const done = Number((JSON.parse(session.checkpoint ?? '{"n":-1}') as { n: number }).n)
  try {
    for (let n = done + 1; n < Number(commits); n++) {
      const changes = changesOf(n)
      await session.write([batch(keyed, ...changes.slice(0, CHUNK_ROWS)), batch(appended, c([String(n), 'first']))], {
        signal,
      })
      await session.write([batch(keyed, ...changes.slice(CHUNK_ROWS)), batch(appended, c([String(n), 'second']))], {
        signal,
      })
      await session.commit(JSON.stringify({ n }), { signal })
      process.stderr.write(`committed ${n}\n`)
    }
    await session.close()
  } catch (error) {
    process.stderr.write(`failed ${(error as { code?: string }).code}: ${(error as Error).message}\n`)
    process.exit(1)
  }
}
