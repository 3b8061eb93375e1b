/** What a source's chunks owe: a cut that says exactly what the rows show, the server's key order, and an early end on request. */
import assert from 'node:assert/strict'
import type { Bound, KeyOrder } from '../key.js'
import { LocatedOrder } from '../located-order.js'
import { keyOf, type Row } from '../model.js'
import type { ContractCase } from './contract.js'
import type { RowChange, SourceDatabase, SourceHarness } from './source-contract.js'
import { Model, NO_LIMIT, type Probe, sourceCase } from './source-probe.js'

const ROWS = 500

async function filled(db: SourceDatabase, count = ROWS): Promise<void> {
  await db.commit(...Array.from({ length: count }, (_, i): RowChange => ({ insert: i * 3, v: `v ${i}` })))
}

/** Rows under their cut and the log after it must give the table. */
async function merged(p: Probe, db: SourceDatabase, chunk: Awaited<ReturnType<Probe['chunk']>>): Promise<void> {
  await p.caughtUp()
  const model = new Model(p, chunk.rows)
  for (const logged of p.changes) {
    if (chunk.cut.cut.covers(logged.txn)) continue
    model.apply(logged, !(chunk.high?.covers(logged.txn) ?? false))
  }
  await model.equals(db)
}

export const CHUNK_CASES: readonly ContractCase<SourceHarness>[] = [
  sourceCase('rows under a cut and the log after it are the table', async (db, probe) => {
    await filled(db)
    const p = await probe()
    await p.begin()
    await db.commit({ update: 0, v: 'before the cut' }, { remove: 3 })
    const chunk = await p.chunk()
    await db.commit({ update: 0, v: 'after' }, { insert: 1, v: 'new' }, { remove: 6 })
    await merged(p, db, chunk)
    assert.equal(chunk.end.upTo, null, 'the whole range was read')
  }),
  sourceCase('a transaction that is open at the cut is not covered by it', async (db, probe) => {
    await filled(db)
    const p = await probe()
    await p.begin()
    if (db.begin === undefined) return
    const [late, lost] = [await db.begin(), await db.begin()]
    await late.write({ update: 0, v: 'late' }, { insert: 1, v: 'late' })
    await lost.write({ update: 9, v: 'never' })
    await db.commit({ update: 3, v: 'in time' })
    const chunk = await p.chunk()
    await late.commit()
    await lost.rollback()
    await db.commit({ update: 6, v: 'after' })
    await merged(p, db, chunk)
  }),
  sourceCase('cuts stay true under a writer', async (db, probe) => {
    await filled(db)
    const p = await probe()
    await p.begin()
    let writing = true
    const writer = (async () => {
      for (let i = 0; writing || i < 50; i++) {
        const id = (i * 7) % ROWS
        await db.commit({ update: id * 3, v: `w ${i}` }, { insert: 10_000 + i, v: 'x' })
        if (i % 3 === 0) await db.commit({ remove: 10_000 + i })
      }
    })()
    const chunks = [await p.chunk(), await p.chunk(), await p.chunk()]
    writing = false
    await writer
    for (const chunk of chunks) await merged(p, db, chunk)
  }),
  sourceCase('ranges planned by the source cover the table once, in key order', async (db, probe) => {
    await filled(db)
    const p = await probe()
    const keys = await p.source.plan(p.table, { lo: null, hi: null }, 100, 10, p)
    const bounds = keys.map((key): Bound => ({ key, side: 'after' }))
    const rows: Row[] = []
    for (let i = 0; i <= bounds.length; i++) {
      rows.push(...(await p.chunk({ lo: bounds[i - 1] ?? null, hi: bounds[i] ?? null })).rows)
    }
    assert.deepEqual(
      rows.map((row) => p.idOf(row)),
      Array.from({ length: ROWS }, (_, i) => i * 3),
    )
    await ordered(p, rows)
  }),
  sourceCase('bounds include or exclude their key by their side', async (db, probe) => {
    await filled(db, 10)
    const p = await probe()
    const { rows } = await p.chunk()
    const key = (i: number) => keyOf(p.table.schema, rows[i]!)
    const ids = async (lo: Bound | null, hi: Bound | null) =>
      (await p.chunk({ lo, hi })).rows.map((row) => p.idOf(row) / 3)
    assert.deepEqual(await ids({ key: key(2), side: 'before' }, { key: key(4), side: 'before' }), [2, 3])
    assert.deepEqual(await ids({ key: key(2), side: 'after' }, { key: key(4), side: 'after' }), [3, 4])
    assert.deepEqual(await ids(null, { key: key(1), side: 'after' }), [0, 1])
    assert.deepEqual(await ids({ key: key(8), side: 'before' }, null), [8, 9])
    assert.deepEqual(await ids({ key: key(5), side: 'before' }, { key: key(5), side: 'after' }), [5])
  }),
  sourceCase('a limit cuts a read short at a row, and the rest follows', async (db, probe) => {
    await filled(db)
    const p = await probe()
    const rows: Row[] = []
    let lo: Bound | null = null
    for (let reads = 0; reads < ROWS; reads++) {
      const chunk: Awaited<ReturnType<Probe['chunk']>> = await p.chunk({ lo, hi: null }, { ...NO_LIMIT, rowsMax: 64 })
      assert.ok(chunk.rows.length <= 64)
      rows.push(...chunk.rows)
      lo = chunk.end.upTo
      if (lo === null) break
      assert.deepEqual(lo.key, keyOf(p.table.schema, rows.at(-1)!), 'up to the last row')
    }
    assert.deepEqual(
      rows.map((row) => p.idOf(row)),
      Array.from({ length: ROWS }, (_, i) => i * 3),
    )
  }),
  sourceCase('single keys are read under the cut', async (db, probe) => {
    await filled(db, 10)
    const p = await probe()
    await p.begin()
    const { rows } = await p.chunk()
    const session = await p.source.session(p)
    await session.lock(p.table, p)
    const cut = await session.cut(p.table, p)
    await db.commit({ update: 3, v: 'later' })
    const wanted = [rows[1]!, rows[4]!].map((row) => keyOf(p.table.schema, row))
    const absent = keyOf(p.table.schema, rows[1]!).map((value) => (typeof value === 'string' ? '777' : value))
    const found = await session.keys(p.table, typeof absent[0] === 'string' ? [...wanted, absent] : wanted, p)
    await session.end()
    await session.close()
    const got = found.flatMap((batch) => batch.rows.map((row) => [p.idOf(row), p.vOf(row)] as const))
    assert.ok(cut !== null)
    assert.deepEqual(
      got.map(([id]) => id).sort((a, b) => a - b),
      [3, 12],
    )
    if (!cut.window) assert.equal(new Map(got).get(3), 'v 1', 'as the cut shows it')
  }),
  sourceCase('a row has the same value in a chunk and in the log', async (db, probe) => {
    const p = await probe()
    await p.begin()
    const texts = ['', 'plain', 'ü☃\u{1f600}', 'a\nb\tc\\d"e\'f', '\\N', null]
    await db.commit(...texts.map((v, i): RowChange => ({ insert: i, v })))
    await p.logged(texts.length)
    const { rows } = await p.chunk()
    assert.deepEqual(
      p.changes.map(({ change }) => change.after),
      rows,
    )
    assert.deepEqual(
      rows.map((row) => p.vOf(row)),
      texts,
    )
  }),
  sourceCase('a session is used again, and ends at any point', async (db, probe) => {
    await filled(db, 20)
    const p = await probe()
    const session = await p.source.session(p)
    await session.lock(p.table, p)
    await session.end()
    await session.end()
    await session.lock(p.table, p)
    await session.cut(p.table, p)
    const second = await session.cut(p.table, p)
    assert.ok(second !== null, 'a refused cut is followed by another')
    const read = session.rows(p.table, { lo: null, hi: null }, NO_LIMIT, p)
    read.stop()
    for await (const _ of read);
    await read.end
    await session.end()
    await session.close()
    assert.equal((await p.chunk()).rows.length, 20)
  }),
  sourceCase('what a snapshot shows now includes everything that was delivered', async (db, probe) => {
    const p = await probe()
    await p.begin()
    await db.commit({ insert: 1, v: 'x' })
    await p.logged(1)
    const visible = await p.source.visible(p)
    assert.ok(visible.covers(p.changes[0]!.txn))
  }),
]

/** The source's own order must agree with the order in which it reads. */
async function ordered(p: Probe, rows: readonly Row[]): Promise<void> {
  const order: KeyOrder = p.table.order
  const keys = rows.filter((_, i) => i % 50 === 0).map((row) => keyOf(p.table.schema, row))
  if (order instanceof LocatedOrder) order.learn(keys, keys, await p.source.locate(p.table, keys, keys, p))
  for (let i = 1; i < keys.length; i++) {
    assert.ok(order.compare(keys[i - 1]!, keys[i]!) < 0)
    assert.ok(order.compare(keys[i]!, keys[i - 1]!) > 0)
    assert.equal(order.compare(keys[i]!, keys[i]!), 0)
  }
}
