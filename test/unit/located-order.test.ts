/** Orders that only the server knows: answers agree with the order they came from, and forgetting loses none that is needed. */
import t from 'tap'
import { ask, finishQuestions, LOCATED_MAX, located, logQuestions, settleQuestions } from '../../core/locate.js'
import { LocatedOrder, type Places } from '../../core/located-order.js'
import { Merger } from '../../core/merger.js'
import type { Key, Position, TableId, TxnRef } from '../../core/model.js'
import type { LogBatch, Source } from '../../core/source.js'
import { column, columnType, table } from '../support/format-tables.js'
import { random, testSeed } from '../support/seed.js'

/** A server that orders texts by their length and holds texts of one length for equal. */
function locate(keys: readonly Key[], bounds: readonly Key[]): Places {
  const size = (key: Key) => (key[0] as string).length
  const all = [...keys, ...bounds].map(size)
  const sizes = bounds.map(size)
  return {
    below: all.map((n) => sizes.filter((b) => b < n).length),
    notAbove: all.map((n) => sizes.filter((b) => b <= n).length),
  }
}

t.test('places answer as the order does, equal keys included', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const numbers = random(seed)
  const key = (): Key => ['x'.repeat(numbers.below(30)) + String.fromCharCode(97 + numbers.below(3))]
  let wrong = 0
  for (let round = 0; round < 200; round++) {
    const order = new LocatedOrder()
    const bounds = Array.from({ length: 1 + numbers.below(8) }, key)
    const keys = Array.from({ length: 20 }, key)
    order.learn(keys, bounds, locate(keys, bounds))
    for (const k of keys) {
      for (const b of bounds) {
        const sign = Math.sign((k[0] as string).length - (b[0] as string).length)
        if (Math.sign(order.compare(k, b)) !== sign || Math.sign(order.compare(b, k)) !== -sign) wrong++
      }
    }
  }
  t.equal(wrong, 0)
  const order = new LocatedOrder()
  t.throws(() => order.compare(['a'], ['bb']), /before the server was asked/)
  order.learn([['a']], [['bb']], locate([['a']], [['bb']]))
  t.same(order.missing([['a'], ['ccc']], [['bb']]), [['ccc']])
  t.same(order.missing([['a']], [['bb'], ['dddd']]), [['a']], 'a new bound is a new question')
})

t.test('answers are forgotten when there are too many, and asked for again where they are needed', async (t) => {
  const schema = { ...table('t', [column('id', columnType('string', 'text'))]), key: [0] }
  const order = new LocatedOrder()
  const merger = new Merger({
    tables: [{ schema, order, estimatedRows: null, estimatedBytes: null }],
    added: new Set<TableId>(),
    state: null,
    position: '0' as Position,
    snapshot: true,
    completesMoves: true,
    emit: () => {},
  })
  const one = merger.table(schema.id)
  const source = { locate: async (_: unknown, keys: Key[], bounds: Key[]) => locate(keys, bounds) } as unknown as Source
  const { signal } = new AbortController()
  order.learn([['mmmmm']], [['mmmmm']], locate([['mmmmm']], [['mmmmm']]))
  one.split(one.ranges[0]!.id, [['mmmmm']])
  const { id } = one.ranges[0]!
  one.open(id)
  const nothing = { covers: () => false, resolvedAfter: 0n, toJSON: () => ({ kind: 'position', high: '0' }) as const }
  one.cut(id, { cut: nothing, tsUs: 0n, at: 0n, xid: 0n })
  const txn: TxnRef = { ordinal: 1n, previous: 0n, tsUs: 0n }
  let most = 0
  const take = async (keys: readonly string[]) => {
    const changes = keys.map((key) => ({ op: 'c', before: null, after: [key], at: 0 }) as const)
    const batch: LogBatch = {
      items: [{ kind: 'rows', txn, schema, changes, bytes: keys.length }],
      position: '1' as Position,
      ordinal: 1n,
      midTransaction: false,
      bytes: keys.length,
    }
    for (let open = logQuestions(merger, batch); open.length > 0; open = logQuestions(merger, batch)) {
      await ask(source, open, { signal })
      most = Math.max(most, order.size)
    }
    merger.log(batch)
  }
  await take(['a', 'bb', 'ccc', 'dddd'])
  merger.rows(schema.id, id, { schema, rows: [['a'], ['bb']], bytes: 2 }, { key: ['bb'], side: 'after' })
  // Keys of the waiting range: nothing of them is held.
  for (let i = 0; i < LOCATED_MAX * 1.5; i += 5_000)
    await take(Array.from({ length: 5_000 }, (_, j) => `waiting-${String(i + j).padStart(7, '0')}`))
  t.ok(most > LOCATED_MAX && most < LOCATED_MAX * 1.2, `at most ${most} were kept`)
  t.ok(settleQuestions(merger).length > 0, 'where the rows end among the held keys is asked for the checkpoint only')
  const ranges = await located(
    source,
    () => settleQuestions(merger),
    { signal },
    () => merger.checkpoint(),
  )
  t.equal(ranges.tables[schema.id]!.ranges.length, 3)
  const finish = () => merger.finish(schema.id, id, null)
  await located(source, () => finishQuestions(one, [id], null), { signal }, finish)
  t.ok(merger.tables.get(schema.id)!.range(one.ranges[0]!.id, 'finished'))
})
