/** The laws of the file sink, with two owners in one process: whatever a zombie does between any two steps counts for nothing. */
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ChangeBatch, TableSchema } from '../../core/model.js'
import { onStep, type StepName } from '../../core/steps.js'
import { fileSink, readCommitted } from '../../sinks/file/index.js'
import { SYNC_BYTES } from '../../sinks/file/session.js'
import { change, column, columnType, logOrigin, table } from '../support/format-tables.js'
import { until } from '../support/until.js'

const signal = new AbortController().signal
const schema: TableSchema = table('t', [column('id', columnType('int32', 'int4'))])

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'tidemark-file-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return join(path, 'out')
}

function sink(path: string, sizeMax: number | string = '128mb', pipeline = 'p') {
  return fileSink.create({ path, 'file.size.max': sizeMax, 'value.format': 'row-json' }, { pipeline })
}

const open = (path: string, sizeMax?: number | string, pipeline = 'p') =>
  sink(path, sizeMax, pipeline).open({ pipeline, signal, note: () => {} })

const batch = (...ids: (number | string)[]): ChangeBatch => ({
  kind: 'rows',
  schema,
  origin: logOrigin(0n),
  changes: ids.map((id) => change('c', null, [String(id)], 1)),
  bytes: 10,
})

async function committed(path: string): Promise<number[]> {
  let text = ''
  for await (const piece of readCommitted(path)) text += piece
  return text === ''
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { id: number }).id)
}

t.test('S1 S2 S9 only what was committed counts, and the checkpoint comes back exactly', async (t) => {
  const path = folder(t)
  const first = await open(path)
  t.equal(first.checkpoint, null)
  await first.write([batch(1, 2)], { signal })
  t.same(await committed(path), [], 'nothing before the commit')
  await first.commit('one', { signal })
  await first.write([batch(3)], { signal })
  await first.close()
  t.same(await committed(path), [1, 2])
  const second = await open(path)
  t.equal(second.checkpoint, 'one')
  await second.write([batch(3)], { signal })
  await second.commit('two', { signal })
  await second.close()
  t.same(await committed(path), [1, 2, 3])
})

t.test('a first run may be prepared again for a table that came up in its log', async (t) => {
  const path = folder(t)
  const session = await open(path, 10)
  const options = { first: new Set<typeof schema.id>(), source: { identity: {}, tables: [] }, signal }
  await session.prepare([schema], options)
  await session.write([batch(1), batch(2)], { signal })
  await session.commit('one', { signal })
  await session.prepare([schema], options)
  await session.write([batch(3)], { signal })
  await session.commit('two', { signal })
  await session.close()
  t.same(await committed(path), [1, 2, 3])
})

t.test('S2 bytes behind the committed ones are not read', async (t) => {
  const path = folder(t)
  const owner = await open(path)
  await owner.write([batch(1)], { signal })
  await owner.commit('one', { signal })
  const [name] = readdirSync(join(path, 'data'))
  appendFileSync(join(path, 'data', name!), '{"torn":')
  t.same(await committed(path), [1])
  await owner.close()
})

t.test('S3 a zombie is fenced wherever it slept', async (t) => {
  for (const sleeps of ['file.segment-synced', 'file.manifest-linked'] as const satisfies readonly StepName[]) {
    const path = folder(t)
    const zombie = await open(path)
    await zombie.write([batch(1)], { signal })
    await zombie.commit('one', { signal })
    await zombie.write([batch(2)], { signal })
    // The successor claims and commits while the zombie stands between two steps.
    let successor: Awaited<ReturnType<typeof open>> | null = null
    let slept: Promise<void> | null = null
    onStep((step) => {
      if (step !== sleeps || slept !== null) return
      slept = (async () => {
        successor = await open(path)
        await successor.write([batch(10)], { signal })
        await successor.commit('ten', { signal })
      })()
    })
    const outcome = await zombie.commit('two', { signal }).then(
      () => 'committed',
      (error: { code: string }) => error.code,
    )
    onStep(null)
    await slept
    const rows = await committed(path)
    // Its commit came first as a whole, or never: the successor read back exactly that.
    t.ok(outcome === 'sink.fenced' || outcome === 'committed', `${sleeps}: ${outcome}`)
    t.same(rows, rows.includes(2) ? [1, 2, 10] : [1, 10], sleeps)
    await t.rejects(
      zombie.write([batch(3)], { signal }).then(() => zombie.commit('three', { signal })),
      `${sleeps}: over for good`,
    )
    t.same(await committed(path), rows)
    await zombie.close()
  }
  const path = folder(t)
  const zombie = await open(path)
  await zombie.write([batch(1)], { signal })
  const successor = await open(path)
  await t.rejects(zombie.commit('late', { signal }), { code: 'sink.fenced' }, 'a claim fences at once')
  await successor.write([batch(10)], { signal })
  await successor.commit('ten', { signal })
  t.same(await committed(path), [10])
  await zombie.close()
  await successor.close()
})

/** Rows as commits of three batches each, from the first that is not in the checkpoint; every row closes its segment. */
async function deliver(path: string, commits: number): Promise<void> {
  const owner = await open(path, 1)
  try {
    for (let n = Number(owner.checkpoint ?? 0); n < commits; n++) {
      for (const i of [0, 1, 2]) await owner.write([batch(3 * n + i)], { signal })
      await owner.commit(`${n + 1}`, { signal })
    }
  } finally {
    await owner.close()
  }
}

t.test('S5 batches that come again after a crash at any step are there once', async (t) => {
  const steps: readonly StepName[] = ['file.claimed', 'file.segment-synced', 'file.manifest-linked', 'file.pruned']
  for (const crash of steps) {
    const path = folder(t)
    let commits = 0
    // Every run gets one commit further than the one before it and dies there.
    while (commits < 4) {
      let seen = 0
      onStep((step) => {
        if (step === crash && seen++ === (crash === 'file.claimed' ? 0 : 1)) throw new Error(`crashed at ${crash}`)
      })
      await deliver(path, ++commits).catch((error: Error) => t.match(error.message, 'crashed'))
      onStep(null)
      const rows = await committed(path)
      t.same(rows, [...rows.keys()], `${crash}: a whole number of commits, in order`)
      t.equal(rows.length % 3, 0)
    }
    await deliver(path, commits)
    t.same(await committed(path), [...Array(3 * commits).keys()], `${crash}: every row once`)
  }
})

t.test('S7 a table that changes in the middle of a commit: every row is written as it was read', async (t) => {
  const wider = table('t', [...schema.columns, column('name', columnType('string', 'text'))])
  const narrow = table('t', [column('name', columnType('string', 'text'))])
  const rows = (of: TableSchema, ...rows: string[][]): ChangeBatch => ({
    kind: 'rows',
    schema: of,
    origin: logOrigin(0n),
    bytes: 10,
    changes: rows.map((row) => change('c', null, row, 1)),
  })
  const path = folder(t)
  const first = await open(path)
  await first.write([rows(schema, ['1']), rows(wider, ['2', 'two']), rows(schema, ['3'])], { signal })
  await first.write([rows(wider, ['4', 'four'])], { signal })
  await first.commit('one', { signal })
  await first.write([rows(narrow, ['lost'])], { signal })
  await first.close()
  const second = await open(path)
  await second.write([rows(narrow, ['five']), rows(schema, ['6'])], { signal })
  await second.commit('two', { signal })
  await second.close()
  let text = ''
  for await (const piece of readCommitted(path)) text += piece
  t.same(
    text
      .trimEnd()
      .split('\n')
      .map((line) => {
        const { __op, __table, ...row } = JSON.parse(line) as Record<string, unknown>
        return row
      }),
    [{ id: 1 }, { id: 2, name: 'two' }, { id: 3 }, { id: 4, name: 'four' }, { name: 'five' }, { id: 6 }],
  )
})

t.test('rolled segments and pages keep every row, and a commit does not grow with history', async (t) => {
  const path = folder(t)
  const owner = await open(path, 100)
  const sizes: number[] = []
  const wanted: number[] = []
  for (let i = 0; i < 300; i++) {
    await owner.write([batch(i, i + 1_000)], { signal })
    wanted.push(i, i + 1_000)
    await owner.commit(`c${i}`, { signal })
    const name = readdirSync(join(path, 'manifest')).sort().at(-1)!
    sizes.push(statSync(join(path, 'manifest', name)).size)
  }
  t.same(await committed(path), wanted)
  t.ok(Math.max(...sizes.slice(200)) <= Math.max(...sizes.slice(0, 100)) * 1.1, 'manifests stay small')
  t.ok(readdirSync(join(path, 'manifest')).length <= 20, 'old manifests are pruned')
  t.ok(readdirSync(join(path, 'index')).length > 2, 'pages were made')
  await owner.close()
})

t.test('S10 another pipeline is refused, and a dropped one is not continued', async (t) => {
  const path = folder(t)
  const owner = await open(path)
  await owner.write([batch(1)], { signal })
  await owner.commit('one', { signal })
  await t.rejects(open(path, undefined, 'other'), { code: 'file.other_pipeline' })
  await fileSink.drop({ path, 'file.size.max': 1, 'value.format': 'row-json' }, { pipeline: 'p', signal })
  await t.rejects(owner.commit('two', { signal }), { code: 'sink.fenced' }, 'the old owner is fenced by the drop')
  t.same(await committed(path), [1], 'rows stay')
  const next = await open(path)
  t.equal(next.checkpoint, null)
  const options = { first: new Set<never>(), source: { identity: {}, tables: [] }, signal }
  await t.rejects(next.prepare([schema], options), { code: 'file.not_empty' })
  t.match(
    readFileSync(join(path, 'manifest', readdirSync(join(path, 'manifest')).sort().at(-1)!), 'utf8'),
    '"pipeline":"p"',
  )
})

t.test('a folder that cannot be made is one error at the start and a problem of check', async (t) => {
  const file = folder(t)
  appendFileSync(file, 'x')
  // Node's own recursive mkdir never ends there.
  const below = process.platform === 'linux' ? ['/proc/tidemark/out'] : []
  for (const path of [file, join(file, 'out'), ...below]) await t.rejects(open(path), { code: 'file.folder' }, path)
  const options = { path: join(file, 'out'), 'file.size.max': '1mb', 'value.format': 'row-json' } as const
  const checked = await fileSink.check(options, { pipeline: 'p', signal } as never)
  t.match(checked, [{ level: 'problem', message: /not a (folder|directory)/ }])
  const deep = join(folder(t), 'a', 'b')
  await (await open(deep)).close()
  t.same(readdirSync(deep).sort(), ['data', 'index', 'manifest'])
})

t.test('S2 a sync ahead of the commit that fails is not forgotten: the kernel tells it once', async (t) => {
  const path = folder(t)
  const session = await open(path)
  await session.write([batch(1)], { signal })
  await session.commit('1', { signal })
  const handle = await openFile(join(path, 'manifest', readdirSync(join(path, 'manifest'))[0]!))
  const prototype = Object.getPrototypeOf(handle) as { datasync: () => Promise<void> }
  await handle.close()
  const { datasync } = prototype
  t.teardown(() => {
    prototype.datasync = datasync
  })
  let calls = 0
  prototype.datasync = function (this: unknown) {
    return ++calls === 1 ? Promise.reject(new Error('EIO: the disk is gone')) : datasync.call(this)
  }
  for (let i = 0; i < 3; i++) await session.write([batch('2'.repeat(SYNC_BYTES))], { signal })
  await until(async () => calls > 0, { what: 'a sync before any commit' })
  await t.rejects(session.commit('2', { signal }), { code: 'file.write', message: /the disk is gone/ })
  await session.close()
  t.same(await committed(path), [1], 'what was not synced is not committed')
})
