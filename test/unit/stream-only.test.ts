/** A source that is only a log: its tables come up in it, nothing is copied beside it, and what has no row to be read leaves as it is. */
import t from 'tap'
import { readCheckpoint } from '../../core/checkpoint.js'
import { Merger } from '../../core/merger.js'
import type { ChangeBatch, Position, TableId } from '../../core/model.js'
import { runPipeline } from '../../core/pipeline.js'
import type { Sink } from '../../core/sink.js'
import type { LogBatch, LogItem, OpenContext, Source, SourceTable } from '../../core/source.js'
import { ITEMS } from '../../core/testing/items.js'

const tableOf = (name: string): SourceTable => ({
  schema: { ...ITEMS, id: `public.${name}` as TableId, name, fingerprint: name },
  order: { located: false, compare: () => 0 },
  estimatedRows: null,
  estimatedBytes: null,
})

const rows = (name: string, ordinal: number, ...keys: number[]): LogItem => ({
  kind: 'rows',
  txn: { ordinal: BigInt(ordinal), previous: 0n, tsUs: 1n },
  schema: tableOf(name).schema,
  changes: keys.map((id) => ({ op: 'c', before: null, after: ITEMS.columns.map(() => String(id)), at: ordinal })),
  bytes: 10,
})

const batchOf = (ordinal: number, ...items: LogItem[]): LogBatch => {
  const position = String(ordinal) as Position
  return { items, position, ordinal: BigInt(ordinal), midTransaction: false, bytes: 10 }
}

const never = async (): Promise<never> => {
  throw new Error('there is no row to read')
}

function logOnly(log: readonly LogBatch[], contexts: OpenContext[]): Source {
  return {
    connector: 'log',
    streamOnly: true,
    async open(context) {
      contexts.push(context)
      const tables = [...context.known.keys()].map((id) => tableOf(id.replace('public.', '')))
      return { identity: { log: 'one' }, tables, server: 'a log' }
    },
    async prepare() {},
    createLog: async () => '0' as Position,
    async resumeLog() {},
    async *tail(position, { signal }) {
      for (const batch of log) if (batch.ordinal > BigInt(position)) yield batch
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
    },
    tag: (id) => `tag of ${id}`,
    release() {},
    refresh: async (id) => tableOf(id.replace('public.', '')),
    logEnd: async () => log.at(-1)!.ordinal,
    session: never,
    plan: never,
    locate: never,
    visible: never,
    durable: never,
    async close() {},
  }
}

function recordingSink(calls: string[], checkpoint: { text: string | null }): Sink {
  return {
    connector: 'recording',
    guarantee: 'exactly-once',
    completesMoves: true,
    open: async () => ({
      checkpoint: checkpoint.text,
      async prepare(tables, { first }) {
        calls.push(
          `prepare ${tables.map(({ name }) => name)} first ${[...first].map((id) => id.replace('public.', ''))}`,
        )
      },
      async write(batches) {
        for (const { schema } of batches) calls.push(`write ${schema.name}`)
      },
      async commit(text) {
        checkpoint.text = text
        const state = readCheckpoint(text)
        calls.push(
          `commit ${state.position || 'intent'} of ${Object.keys(state.tables).map((id) => id.replace('public.', ''))}`,
        )
      },
      async close() {},
    }),
  }
}

t.test('a table that comes up is prepared behind a commit of everything before it', async (t) => {
  const log = [
    batchOf(0),
    batchOf(1, rows('a', 1, 1)),
    batchOf(3, rows('a', 2, 2), rows('b', 3, 1)),
    batchOf(4, rows('b', 4, 2)),
  ]
  const [calls, contexts]: [string[], OpenContext[]] = [[], []]
  const checkpoint = { text: null as string | null }
  const run = () =>
    runPipeline({
      name: 'p',
      source: () => logOnly(log, contexts),
      sink: () => recordingSink(calls, checkpoint),
      transform: { start: never, apply: (schema) => schema, batch: (batch) => batch },
      until: 'once',
      signal: new AbortController().signal,
    })
  const result = await run()
  t.equal(result.outcome, 'done', '--once ends where the log ended')
  t.same(
    result.tables.map(({ table, events }) => [table, events]),
    [
      ['public.a', 2],
      ['public.b', 2],
    ],
  )
  const at = (call: string) => calls.indexOf(call)
  t.ok(at('prepare a first a') < at('write a'), calls.join('; '))
  t.ok(at('prepare a,b first b') < at('write b'), calls.join('; '))
  for (const [i, call] of calls.entries()) if (/^prepare .* first ./.test(call)) t.match(calls[i - 1], /^commit/, call)
  t.equal(calls.at(-1), 'commit 4 of a,b')

  calls.length = 0
  log.push(batchOf(5, rows('a', 5, 3)))
  t.equal((await run()).outcome, 'done')
  t.same(
    [...contexts[1]!.known],
    [
      ['public.a', 'tag of public.a'],
      ['public.b', 'tag of public.b'],
    ],
  )
  t.same(
    calls.filter((call) => !call.startsWith('commit')),
    ['prepare a,b first ', 'write a'],
  )
})

t.test('a row that comes with unsent values leaves with them: nothing could be read', async (t) => {
  for (const completesMoves of [true, false]) {
    const out: ChangeBatch[] = []
    const merger = new Merger({
      tables: [tableOf('a')],
      added: new Set(),
      state: null,
      position: '0' as Position,
      snapshot: false,
      streamOnly: true,
      completesMoves,
      emit: (batch) => out.push(batch),
    })
    const item = rows('a', 1) as LogItem & { kind: 'rows' }
    const whole = ITEMS.columns.map(() => '1')
    const partial = ITEMS.columns.map((_, i) => (ITEMS.key.includes(i) ? '2' : undefined))
    merger.log(
      batchOf(1, {
        ...item,
        changes: [
          { op: 'u', before: null, after: partial, at: 1 },
          { op: 'u', before: whole, after: partial, at: 1 },
        ],
      }),
    )
    t.equal(merger.chunksFinished, true, 'no row waits to be read')
    const ops = out.flatMap((batch) => (batch.kind === 'rows' ? batch.changes.map(({ op }) => op) : []))
    t.same(ops, completesMoves ? ['u', 'u'] : ['u', 'd', 'c'])
  }
})
