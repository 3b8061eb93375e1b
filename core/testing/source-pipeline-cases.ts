/** Whole pipelines over a source, under a writer: nothing lost, nothing twice, also across restarts. */
import assert from 'node:assert/strict'
import { runPipeline } from '../pipeline.js'
import type { ContractCase } from './contract.js'
import { MemoryTarget } from './memory-target.js'
import type { RowChange, SourceDatabase, SourceHarness } from './source-contract.js'
import { PIPELINE, sourceCase } from './source-probe.js'

const ROWS = 2_000
/** Stops of the pipeline in the middle of its work. */
const STOPS = 6

/** Changes rows until told to end; every change is valid when it is made. */
async function write(db: SourceDatabase, signal: AbortSignal): Promise<void> {
  const live = new Set(Array.from({ length: ROWS }, (_, i) => i * 2))
  let next = 1
  for (let i = 0; !signal.aborted; i++) {
    const ids = [...live]
    const some = ids[(i * 7919) % ids.length]!
    const other = ids[(i * 104_729 + 1) % ids.length]!
    const changes: RowChange[] = [{ update: some, v: `u ${i}` }]
    if (i % 2 === 0) {
      changes.push({ insert: next, v: `i ${i}` })
      live.add(next)
      next += 2
    }
    if (i % 5 === 0 && other !== some) {
      changes.push({ remove: other })
      live.delete(other)
    }
    await db.commit(...changes)
  }
}

async function filled(db: SourceDatabase): Promise<void> {
  await db.commit(...Array.from({ length: ROWS }, (_, i): RowChange => ({ insert: i * 2, v: `v ${i}` })))
}

async function equal(db: SourceDatabase, target: MemoryTarget): Promise<void> {
  assert.deepEqual(target.complaints, [])
  const texts = (rows: readonly (readonly (string | null)[])[]) => rows.map((row) => row.join(' = ')).sort()
  const source = (await db.rows()).map(({ id, v }) => [id, v] as const)
  const copy = target.rows(db.table).map((row) => [String(row[0]), row[1] === null ? null : String(row[1])])
  assert.deepEqual(texts(copy), texts(source))
}

const settings = (db: SourceDatabase, target: MemoryTarget) => ({
  name: PIPELINE,
  source: () => db.source(PIPELINE),
  sink: () => target.sink(),
  chunkRows: 100,
  readers: 3,
  checkpointIntervalMs: 20,
})

export const PIPELINE_CASES: readonly ContractCase<SourceHarness>[] = [
  sourceCase('a pipeline under a writer ends equal', async (db) => {
    await filled(db)
    const target = new MemoryTarget()
    const stop = new AbortController()
    const writing = write(db, stop.signal)
    try {
      await runPipeline({ ...settings(db, target), until: 'once', signal: new AbortController().signal })
    } finally {
      stop.abort()
      await writing
    }
    await runPipeline({ ...settings(db, target), until: 'caught-up', signal: new AbortController().signal })
    await equal(db, target)
  }),
  sourceCase('a pipeline that is stopped again and again ends equal', async (db) => {
    await filled(db)
    const target = new MemoryTarget()
    const stop = new AbortController()
    const writing = write(db, stop.signal)
    try {
      for (let i = 0; i < STOPS; i++) {
        const run = new AbortController()
        const commits = target.commits + 2 + i
        const progress = setInterval(() => {
          if (target.commits >= commits) run.abort()
        }, 1)
        await runPipeline({ ...settings(db, target), signal: run.signal }).finally(() => clearInterval(progress))
      }
    } finally {
      stop.abort()
      await writing
    }
    await runPipeline({ ...settings(db, target), until: 'caught-up', signal: new AbortController().signal })
    await equal(db, target)
  }),
  sourceCase('an empty table and a silent log end a pipeline', async (db) => {
    const target = new MemoryTarget()
    await runPipeline({ ...settings(db, target), until: 'once', signal: new AbortController().signal })
    await runPipeline({ ...settings(db, target), until: 'caught-up', signal: new AbortController().signal })
    await equal(db, target)
  }),
]
