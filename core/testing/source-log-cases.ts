/** What a source's log owes: every committed change once, in order, from any position it ever gave out. */
import assert from 'node:assert/strict'
import { TidemarkError } from '../errors.js'
import type { ContractCase } from './contract.js'
import type { RowChange, SourceHarness } from './source-contract.js'
import { Model, PIPELINE, sourceCase } from './source-probe.js'

const BIG = 5_000
const inserts = (from: number, count: number): RowChange[] =>
  Array.from({ length: count }, (_, i) => ({ insert: from + i, v: `v ${from + i}` }))

export const LOG_CASES: readonly ContractCase<SourceHarness>[] = [
  sourceCase('open describes the table, and again the same', async (_db, probe) => {
    const first = await probe()
    const { schema } = first.table
    assert.deepEqual(schema.columns.map((c) => c.name).slice(-1), ['v'])
    assert.equal(schema.key.length, 1)
    assert.ok(Object.keys(first.identity).length > 0, 'an identity that a resume can be compared with')
    const second = await probe()
    assert.equal(second.table.schema.fingerprint, schema.fingerprint)
    assert.deepEqual(second.identity, first.identity)
  }),
  sourceCase('the log holds every committed change, in commit order', async (db, probe) => {
    await db.commit({ insert: 1, v: 'before the log' })
    const p = await probe()
    await p.begin()
    await db.commit({ insert: 2, v: 'two' }, { insert: 3, v: null })
    await db.commit({ update: 2, v: 'TWO' })
    await db.commit({ update: 2, v: null }, { remove: 3 }, { insert: 3, v: 'again' })
    await db.commit({ remove: 1 })
    await p.logged(7)
    assert.equal(p.changes.map(({ change }) => change.op).join(''), 'ccuudcd')
    const model = new Model(p)
    model.rows.set(1, 'before the log')
    for (const change of p.changes) model.apply(change)
    await model.equals(db)
  }),
  sourceCase('a changed key says which row it was', async (db, probe) => {
    await db.commit({ insert: 1, v: 'one' }, { insert: 2, v: 'two' })
    const p = await probe()
    await p.begin()
    await db.commit({ move: 1, to: 10 }, { move: 2, to: 1 })
    await db.commit({ remove: 10 })
    await p.caughtUp()
    const model = new Model(p)
    model.rows.set(1, 'one').set(2, 'two')
    for (const change of p.changes) model.apply(change)
    await model.equals(db)
  }),
  sourceCase('ordinals grow from transaction to transaction', async (db, probe) => {
    const p = await probe()
    await p.begin()
    for (let i = 0; i < 20; i++) await db.commit({ insert: i, v: 'x' }, { update: i, v: 'y' })
    await p.logged(40)
    const txns = [...new Set(p.changes.map(({ txn }) => txn.ordinal))]
    assert.equal(txns.length, 20)
    assert.deepEqual(
      txns,
      [...txns].sort((a, b) => (a < b ? -1 : 1)),
    )
    const known = p.batches.map(({ ordinal }) => ordinal)
    assert.ok(
      known.every((ordinal, i) => i === 0 || ordinal >= known[i - 1]!),
      'what is known never goes back',
    )
  }),
  sourceCase('every position resumes exactly behind it', async (db, probe) => {
    const first = await probe()
    const start = await first.begin()
    await db.commit(...inserts(0, BIG))
    for (let i = 0; i < 10; i++) await db.commit({ update: i, v: 'new' }, { remove: BIG - 1 - i })
    const count = BIG + 20
    await first.logged(count)
    const all = first.changes.map(({ change }) => JSON.stringify([change.op, change.before, change.after]))
    assert.equal(all.length, count)
    const ends = first.batches.map(({ position }, i) => ({
      position,
      done: first.batches
        .slice(0, i + 1)
        .reduce((sum, { items }) => sum + items.reduce((n, x) => n + (x.kind === 'rows' ? x.changes.length : 0), 0), 0),
    }))
    await first.close()
    const some = ends.filter((_, i) => i % Math.ceil(ends.length / 5) === 0)
    for (const { position, done } of [{ position: start, done: 0 }, ...some]) {
      const again = await probe()
      await again.resume(position)
      await again.logged(count - done)
      assert.deepEqual(
        again.changes.map(({ change }) => JSON.stringify([change.op, change.before, change.after])),
        all.slice(done),
        `after ${position}`,
      )
      await again.close()
    }
  }),
  sourceCase('nothing is forgotten before it is released (I1)', async (db, probe) => {
    const first = await probe()
    const start = await first.begin()
    await db.commit({ insert: 1, v: 'a' })
    await db.commit({ insert: 2, v: 'b' })
    await first.logged(2)
    await first.close()
    const second = await probe()
    await second.resume(start)
    await second.logged(2)
    const released = second.batches.find(({ midTransaction }) => !midTransaction)!
    second.source.release(released.position)
    await second.close()
    const third = await probe()
    await third.resume(released.position)
    await db.commit({ insert: 3, v: 'c' })
    await third.caughtUp()
    assert.equal(first.changes.length, 2)
    assert.equal(third.idOf(third.changes.at(-1)!.change.after!), 3)
  }),
  sourceCase('the log reaches its end without further traffic', async (db, probe) => {
    const p = await probe()
    await p.begin()
    await db.commit({ insert: 1, v: 'x' })
    await p.caughtUp()
    assert.equal(p.changes.length, 1)
    await p.caughtUp()
  }),
  sourceCase('a log feed left by a start that died is replaced', async (db, probe) => {
    const dead = await probe()
    await dead.source.prepare(dead)
    await dead.source.createLog(dead)
    await dead.close()
    await db.commit({ insert: 1, v: 'x' })
    const p = await probe()
    await p.begin()
    await db.commit({ insert: 2, v: 'y' })
    await p.caughtUp()
    assert.deepEqual(
      p.changes.map(({ change }) => p.idOf(change.after!)),
      [2],
    )
  }),
  sourceCase('a lost log stops with one error, and is not tried again', async (db, probe) => {
    const first = await probe()
    const start = await first.begin()
    await first.close()
    await db.drop(PIPELINE)
    const second = await probe()
    await assert.rejects(second.resume(start), (error) => {
      assert.ok(error instanceof TidemarkError, String(error))
      assert.equal(error.retriable, false)
      assert.ok(error.fix, 'it says what to do')
      return true
    })
  }),
]
