/** The contracts on connectors without servers, and on broken ones: a suite that lets them pass is worth nothing. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { TableSchema } from '../../core/model.js'
import type { Sink, SinkSession } from '../../core/sink.js'
import type { Source } from '../../core/source.js'
import {
  type Contents,
  MemoryDatabase,
  MemoryTarget,
  type RowChange,
  type SinkHarness,
  type SourceDatabase,
  type SourceHarness,
  sinkContract,
  sourceContract,
  type TestFunction,
} from '../../core/testing/index.js'
import { ITEMS } from '../../core/testing/items.js'
import { blackholeSink } from '../../sinks/blackhole.js'
import { fileSink, readCommitted } from '../../sinks/file/index.js'
import { memorySink } from '../../sinks/memory.js'
import { column, columnType, table } from '../support/format-tables.js'

// ---- sinks

const rowsOf = (target: MemoryTarget): Contents => ({
  kind: 'rows',
  rows: target.rows(ITEMS.id).map((row) => row.map((value) => (value === null ? null : String(value)))),
})

function memoryTarget(wrap: (sink: Sink) => Sink = (sink) => sink): SinkHarness {
  return {
    guarantee: 'exactly-once',
    target: async () => {
      const target = new MemoryTarget()
      return { sink: () => wrap(target.sink()), contents: async () => rowsOf(target), close: async () => {} }
    },
  }
}

const without = (sink: Sink): SinkHarness => ({
  guarantee: 'none',
  target: async () => ({
    sink: () => sink,
    contents: async () => ({ kind: 'rows', rows: [] }),
    close: async () => {},
  }),
})

interface Line {
  readonly __op: 'r' | 'c' | 'u' | 'd' | 't'
  readonly [column: string]: string | number | null
}

const files: SinkHarness = {
  guarantee: 'exactly-once',
  target: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-contract-'))
    const path = join(folder, 'out')
    return {
      sink: (pipeline) => fileSink.create({ path, 'file.size.max': '64kb', 'value.format': 'row-json' }, { pipeline }),
      contents: (schema) => eventsIn(path, schema),
      close: async () => rmSync(folder, { recursive: true, force: true }),
    }
  },
}

/** Integers beyond doubles stand as digits in the line, so they are read as text. */
async function eventsIn(path: string, schema: TableSchema): Promise<Contents> {
  const pieces: Buffer[] = []
  for await (const piece of readCommitted(path)) pieces.push(piece)
  const lines = Buffer.concat(pieces).toString().split('\n').slice(0, -1)
  const events = lines.map((line) => {
    const event = JSON.parse(line.replace(/"id":(-?\d+)/, '"id":"$1"')) as Line
    const key = event.__op === 't' ? [] : [String(event.id)]
    const row = schema.columns.map(({ name }) => (name in event ? (event[name] as string | null) : undefined))
    return { op: event.__op, key, row: event.__op === 'd' || event.__op === 't' ? null : row }
  })
  return { kind: 'events', events }
}

t.test('memory target', async (t) => sinkContract((name, body) => t.test(name, body), memoryTarget()))
t.test('file sink', async (t) => sinkContract((name, body) => t.test(name, body), files))
t.test('blackhole', async (t) =>
  sinkContract(
    (name, body) => t.test(name, body),
    without(blackholeSink.create({ 'value.format': 'row-json', checksum: false }, { pipeline: 'p' })),
  ),
)
t.test('blackhole tells on request what it dropped', async (t) => {
  const schema = table('t', [column('id', columnType('int64', 'int8'))], { key: [0] })
  const origin = { kind: 'snapshot', at: 0n, position: '0' } as never
  const run = async (checksum: boolean, ids: readonly bigint[]): Promise<string[]> => {
    const notes: string[] = []
    const sink = blackholeSink.create({ 'value.format': 'row-json', checksum }, { pipeline: 'p' })
    const { signal } = new AbortController()
    const session = await sink.open({ pipeline: 'p', signal, note: (line) => notes.push(line) })
    const changes = ids.map((id) => ({ op: 'r' as const, before: null, after: [id], at: 0 }))
    await session.write([{ kind: 'rows', schema, origin, changes, bytes: 8 }], { signal })
    await session.close()
    return notes
  }
  const [told] = await run(true, [1n, 2n])
  t.match(told, /^blackhole: 2 events, \d+ bytes, crc32 [0-9a-f]{8}$/)
  t.same(await run(true, [1n, 2n]), [told])
  t.notSame(await run(true, [1n, 3n]), [told])
  t.match(await run(false, [1n, 2n]), [/^blackhole: 2 events, \d+ bytes$/])
})
t.test('memory', async (t) => sinkContract((name, body) => t.test(name, body), without(memorySink())))

// ---- sources

function memoryDatabase(wrap: (source: Source) => Source = (source) => source): SourceHarness {
  const schema = table('t', [column('id', columnType('int64', 'int8')), column('v', columnType('string', 'text'))], {
    key: [0],
  })
  return {
    database: async (): Promise<SourceDatabase> => {
      const db = new MemoryDatabase(schema)
      const v = (id: number) => db.rows.get(String(id))![1]
      const change = (c: RowChange) => {
        const at = 0
        if ('insert' in c) return { op: 'c', before: null, after: [String(c.insert), c.v], at } as const
        if ('update' in c) return { op: 'u', before: null, after: [String(c.update), c.v], at } as const
        if ('remove' in c) return { op: 'd', before: [String(c.remove), undefined], after: null, at } as const
        return { op: 'u', before: [String(c.move), undefined], after: [String(c.to), v(c.move)], at } as const
      }
      return {
        table: schema.id,
        source: (pipeline) => wrap(db.source(pipeline)),
        // Writers take turns with everything else.
        commit: async (...changes) => {
          db.commit(...changes.map(change))
          await new Promise((resolve) => setImmediate(resolve))
        },
        rows: async () => [...db.rows.values()].map(([id, value]) => ({ id: String(id), v: value as string | null })),
        drop: async (pipeline) => void db.feeds.delete(pipeline),
        close: async () => {},
      }
    },
  }
}

t.test('memory source', async (t) => sourceContract((name, body) => t.test(name, body), memoryDatabase()))

// ---- the suites themselves

/** Names of the cases that fail. */
async function failures(register: (test: TestFunction) => void): Promise<string[]> {
  const bodies: { name: string; body: () => Promise<void> }[] = []
  register((name, body) => bodies.push({ name, body }))
  const failed: string[] = []
  for (const { name, body } of bodies) await body().catch(() => failed.push(name))
  return failed
}

/** A sink whose sessions are changed by `change`. */
const sessions =
  (change: (session: SinkSession) => Partial<SinkSession>) =>
  (sink: Sink): Sink => ({
    ...sink,
    open: async (context) => {
      const session = await sink.open(context)
      return { ...session, ...change(session) }
    },
  })

const BROKEN_SINKS: Record<string, (sink: Sink) => Sink> = {
  'writes at once': sessions((s) => ({
    write: async (batches, options) => {
      await s.write(batches, options)
      await s.commit(s.checkpoint ?? '', options)
    },
  })),
  'forgets the checkpoint': sessions(() => ({ checkpoint: null })),
  'does not see that it was fenced': sessions((s) => ({
    commit: (c, o) => Promise.resolve(s.commit(c, o)).catch(() => {}),
  })),
  'turns batches around': sessions((s) => ({ write: (batches, o) => s.write([...batches].reverse(), o) })),
  'drops truncates': sessions((s) => ({
    write: (batches, o) =>
      s.write(
        batches.filter((b) => b.kind === 'rows'),
        o,
      ),
  })),
  rounds: sessions((s) => ({
    write: (batches, o) =>
      s.write(
        batches.map((b) =>
          b.kind === 'rows'
            ? {
                ...b,
                changes: b.changes.map((c) => ({
                  ...c,
                  after: c.after && [String(Number(c.after[0])), ...c.after.slice(1)],
                })),
              }
            : b,
        ),
        o,
      ),
  })),
}

t.test('broken sinks are caught', async (t) => {
  for (const [how, wrap] of Object.entries(BROKEN_SINKS)) {
    const failed = await failures((test) => sinkContract(test, memoryTarget(wrap)))
    t.ok(failed.length > 0, `${how}: ${failed.join('; ')}`)
  }
})

const BROKEN_SOURCES: Record<string, (source: Source) => Source> = {
  'skips a batch': (s) => ({
    ...s,
    async *tail(from, options) {
      let n = 0
      for await (const batch of s.tail(from, options)) if (++n !== 2) yield batch
    },
  }),
  'delivers again after a resume': (s) => ({
    ...s,
    tail: (from, o) => s.tail(`${Math.max(0, Number.parseInt(from, 10) - 1)}+0` as typeof from, o),
  }),
  'has cuts that cover too much': (s) => ({
    ...s,
    session: async (o) => {
      const session = await s.session(o)
      return {
        ...session,
        cut: async (table, options) => {
          const chunk = (await session.cut(table, options))!
          return { ...chunk, cut: { ...chunk.cut, covers: (txn) => txn.ordinal <= chunk.at + 1n } }
        },
      }
    },
  }),
  'reads one row too many': (s) => ({
    ...s,
    session: async (o) => {
      const session = await s.session(o)
      return {
        ...session,
        rows: (table, range, limit, options) =>
          session.rows(table, { lo: range.lo && { ...range.lo, side: 'before' }, hi: range.hi }, limit, options),
      }
    },
  }),
  'forgets at once': (s) => ({ ...s, resumeLog: async () => Promise.reject(new Error('gone')) }),
  'resumes what is gone': (s) => ({ ...s, resumeLog: async () => {} }),
}

t.test('broken sources are caught', async (t) => {
  for (const [how, wrap] of Object.entries(BROKEN_SOURCES)) {
    const failed = await failures((test) => sourceContract(test, memoryDatabase(wrap), { timeoutMs: 500 }))
    t.ok(failed.length > 0, `${how}: ${failed.join('; ')}`)
  }
})

t.test('a skip needs a reason, a case, and to be needed', async (t) => {
  const contract = (skip: Record<string, string>, wrap?: (sink: Sink) => Sink) =>
    failures((test) => sinkContract(test, memoryTarget(wrap), { skip }))
  const name = 'a truncate empties the table in its place'
  t.same(await contract({ [name]: 'stale' }), [`${name} (skipped: stale)`], 'it passes, so the skip is stale')
  t.same(await contract({ [name]: ' ' }, BROKEN_SINKS['drops truncates']), [`${name} (skipped:  )`])
  t.same(await contract({ 'no such case': 'x' }), ['no such case (skipped)'])
  t.same(await contract({ [name]: 'the target cannot' }, BROKEN_SINKS['drops truncates']), [])
})

t.test('every export of the package names a file that the build makes', async (t) => {
  const { exports } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    exports: Record<string, string | { default: string }>
  }
  t.ok('./testing' in exports)
  for (const target of Object.values(exports)) {
    if (typeof target === 'string') continue
    const source = target.default.replace('./dist/', '../../').replace(/\.js$/, '.ts')
    t.ok(existsSync(new URL(source, import.meta.url)), source)
  }
})
