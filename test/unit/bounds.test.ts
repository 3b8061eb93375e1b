/** What a pipeline lets wait is bounded: chunk reads that the log has still to pass, and everything behind a sink that stands still. */
import t, { type Test } from 'tap'
import { positionCut } from '../../core/cut.js'
import type { Position, Row } from '../../core/model.js'
import { runPipeline } from '../../core/pipeline.js'
import type { Sink } from '../../core/sink.js'
import { UNRESOLVED_CUTS_MAX } from '../../core/snapshot.js'
import type { ChunkRead, LogBatch, Source, SourceTable } from '../../core/source.js'
import { column, columnType, table } from '../support/format-tables.js'
import { until } from '../support/until.js'

const READERS = 4
const CHUNKS = 1_500
/** Turns of the event loop in which whatever could go on would have. */
const TURNS = 500
const ROW_BYTES = 64 * 1024
/** All queues of one run between log and sink: those of run.ts and one batch of each producer. */
const QUEUED_BYTES_MAX = 1024 * 1024

const schema = { ...table('t', [column('id', columnType('int64', 'int8'))]), key: [0] }
const tableOf: SourceTable = {
  schema,
  order: { located: false, compare: (a, b) => Number(a[0]) - Number(b[0]) },
  estimatedRows: null,
  estimatedBytes: null,
}

async function turns(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await new Promise((resolve) => setImmediate(resolve))
}

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** Counts what is taken from it. */
interface Fake extends Source {
  chunksRead: number
  bytesGiven: number
}

function fakeSource(tail: (fake: Fake, signal: AbortSignal) => AsyncGenerator<LogBatch>, chunkBytes = 0): Fake {
  let planned = 0
  const fake: Fake = {
    connector: 'fake',
    chunksRead: 0,
    bytesGiven: 0,
    open: async () => ({ identity: {}, tables: [tableOf], server: 'fake' }),
    prepare: async () => {},
    createLog: async () => '0' as Position,
    resumeLog: async () => {},
    tail: (_, { signal }) => tail(fake, signal),
    release: () => {},
    session: async () => ({
      lock: async () => {},
      // Every cut lies beyond what the log has delivered.
      cut: async () => ({ cut: positionCut(100n), tsUs: 0n, at: 100n, xid: 0n }),
      rows: (_, range) => oneRow(fake, [`${(range.lo?.key[0] ?? 0) as string}`], chunkBytes),
      keys: async () => [],
      end: async () => {},
      close: async () => {},
    }),
    refresh: async () => tableOf,
    plan: async (_table, _range, _rows, count) =>
      Array.from({ length: Math.min(count, CHUNKS - 1 - planned) }, () => [`${++planned}`]),
    locate: async () => ({ below: [], notAbove: [] }),
    visible: async () => positionCut(0n),
    durable: async () => {},
    logEnd: async () => 0n,
    close: async () => {},
  }
  return fake
}

function oneRow(fake: Fake, row: Row, bytes: number): ChunkRead {
  return {
    end: Promise.resolve({ upTo: null }),
    stop: () => {},
    async *[Symbol.asyncIterator]() {
      fake.chunksRead++
      fake.bytesGiven += bytes
      yield { schema, rows: [row], bytes }
    },
  }
}

function sink(write: () => Promise<void>): Sink {
  return {
    connector: 'fake',
    guarantee: 'exactly-once',
    completesMoves: false,
    open: async () => ({
      checkpoint: null,
      prepare: async () => {},
      write,
      commit: async () => {},
      close: async () => {},
    }),
  }
}

function start(t: Test, source: Source, write: () => Promise<void>, options: { mode?: 'latest-offset' } = {}) {
  const end = new AbortController()
  t.teardown(() => end.abort())
  return runPipeline({
    name: 'p',
    source: () => source,
    sink: () => sink(write),
    until: options.mode ? 'forever' : 'once',
    readers: READERS,
    checkpointIntervalMs: 60_000,
    signal: end.signal,
    ...options,
  })
}

t.test('1.10 i chunk reading pauses while the log has 1,000 cuts to pass, and goes on when it has', async (t) => {
  const passes = gate()
  const source = fakeSource(async function* (_, signal) {
    await Promise.race([passes.opened, new Promise((resolve) => signal.addEventListener('abort', resolve))])
    yield { items: [], position: '100' as Position, ordinal: 100n, midTransaction: false, bytes: 0 }
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
  })
  const run = start(t, source, async () => {})
  await until(() => source.chunksRead >= UNRESOLVED_CUTS_MAX)
  await turns()
  t.ok(source.chunksRead <= UNRESOLVED_CUTS_MAX + READERS, `${source.chunksRead} chunks were read`)
  passes.open()
  t.equal((await run).outcome, 'done')
  t.equal(source.chunksRead, CHUNKS, 'all of them are read in the end')
})

for (const [what, mode] of [
  ['the log', 'latest-offset'],
  ['chunk readers', undefined],
] as const) {
  t.test(`I8 behind a sink that stands still, ${what} give no more than the queues hold`, async (t) => {
    const goesOn = gate()
    const source = fakeSource(async function* (fake, signal) {
      for (let n = 1n; mode !== undefined && n <= 1_000n; n++) {
        const txn = { ordinal: n, previous: n - 1n, tsUs: 0n }
        const changes = [{ op: 'c', before: null, after: [`${n}`], at: 0 } as const]
        const item = { kind: 'rows', txn, schema, changes, bytes: ROW_BYTES } as const
        fake.bytesGiven += ROW_BYTES
        yield { items: [item], position: `${n}` as Position, ordinal: n, midTransaction: false, bytes: ROW_BYTES }
      }
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
    }, ROW_BYTES)
    let written = 0
    const run = start(
      t,
      source,
      async () => {
        written++
        await goesOn.opened
      },
      mode ? { mode } : {},
    )
    run.catch(() => {})
    await until(() => written > 0)
    await turns()
    const { bytesGiven } = source
    t.ok(bytesGiven > 0 && bytesGiven <= QUEUED_BYTES_MAX, `${bytesGiven} bytes wait`)
    t.equal(written, 1, 'one write at a time')
    goesOn.open()
    await until(() => source.bytesGiven > 3 * QUEUED_BYTES_MAX)
  })
}

t.test('a transaction that stays open too long for the target is committed in parts, others are not', async (t) => {
  const committed: string[] = []
  const wrote: string[] = []
  const run = (name: string, commitMsMax: number | undefined) => {
    const end = new AbortController()
    t.teardown(() => end.abort())
    const source = fakeSource(async function* (_, signal) {
      const txn = { ordinal: 1n, previous: 0n, tsUs: 0n }
      const item = { kind: 'rows', txn, schema, changes: [{ op: 'c', before: null, after: ['1'], at: 0 }] } as const
      yield { items: [{ ...item, bytes: 1 }], position: '0+1' as Position, ordinal: 0n, midTransaction: true, bytes: 1 }
      // The rest of it does not come.
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
    })
    const open = async () => ({
      checkpoint: null,
      prepare: async () => {},
      write: async () => void wrote.push(name),
      commit: async (text: string) => {
        if (JSON.parse(text).position === '0+1') committed.push(name)
      },
      close: async () => {},
    })
    const trait = commitMsMax === undefined ? {} : { commitMsMax }
    void runPipeline({
      name,
      source: () => source,
      sink: () => ({ connector: 'fake', guarantee: 'exactly-once', completesMoves: false, ...trait, open }),
      mode: 'latest-offset',
      checkpointIntervalMs: 1,
      signal: end.signal,
    })
  }
  run('patient', undefined)
  await until(() => wrote.includes('patient'))
  run('hurried', 5)
  await until(() => committed.length > 0)
  await turns()
  t.same(committed, ['hurried'])
})
