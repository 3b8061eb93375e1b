/** The merger's bookkeeping: ranges are found, joined and written down as they should be. Its rules are the simulator's. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { type CheckpointState, readCheckpoint, writeCheckpoint } from '../../core/checkpoint.js'
import { xidCut } from '../../core/cut.js'
import { inRange, type KeyOrder } from '../../core/key.js'
import { Merger } from '../../core/merger.js'
import type { ChangeBatch, Position, TableId } from '../../core/model.js'
import type { SourceTable } from '../../core/source.js'
import { column, columnType, table } from '../support/format-tables.js'
import { random, testSeed } from '../support/seed.js'

const order: KeyOrder = { located: false, compare: (a, b) => Number(a[0]) - Number(b[0]) }

function sourceTable(name: string): SourceTable {
  const schema = table(name, [column('id', { ...columnType('int64', 'int8'), native: 'bigint' })])
  return { schema: { ...schema, key: [0] }, order, estimatedRows: null, estimatedBytes: null }
}

function merger(name: string, state: CheckpointState | null, out: ChangeBatch[] = [], more: readonly string[] = []) {
  const tables = [name, ...more].map(sourceTable)
  const options = { tables, marks: more.length > 0, added: new Set<TableId>(), state, position: '0/1' as Position }
  return new Merger({ ...options, snapshot: true, completesMoves: true, emit: (batch) => out.push(batch) })
}

const cut = (xmax: bigint, after: bigint) => ({
  cut: xidCut({ xmin: xmax, xmax, xip: [] }, after),
  tsUs: 0n,
  at: after,
  xid: xmax,
})

t.test('T35 a key is found where a look at every range finds it', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const numbers = random(seed)
  let wrong = 0
  for (let round = 0; round < 100; round++) {
    const one = merger('t', null).tables.values().next().value!
    for (let i = 0; i < 20; i++) {
      const range = one.ranges[numbers.below(one.ranges.length)]!
      one.split(range.id, [[String(numbers.below(1_000))], [String(numbers.below(1_000))]])
    }
    for (let i = 0; i < 1_000; i++) {
      const key = [String(numbers.below(1_002) - 1)]
      const linear = one.ranges.filter((range) => inRange(order, key, range))
      if (linear.length !== 1 || linear[0] !== one.find(key)) wrong++
    }
  }
  t.equal(wrong, 0, '100,000 keys')
})

t.test('the checkpoint of the first version is read, and says the same when written again', async (t) => {
  const text = readFileSync(new URL('../fixtures/checkpoints/v1.json', import.meta.url), 'utf8')
  const state = readCheckpoint(text)
  const table = merger('orders', state)
  const ranges = [...table.tables.values()][0]!.ranges
  t.equal(ranges.length, 4)
  t.same(
    ranges.map((r) => r.state),
    ['finished', 'finished', 'waiting', 'waiting'],
  )
  t.ok(ranges[1]!.cut!.covers({ ordinal: 1n, previous: 0n, tsUs: 0n, xid: 745n }))
  t.notOk(ranges[1]!.cut!.covers({ ordinal: 1n, previous: 0n, tsUs: 0n, xid: 750n }))
  t.same([...ranges[3]!.remembered.keys()], [22_186_500n])
  t.same(ranges[2]!.single, ['200'])
  const { tables, cuts, position, ordinal } = table.checkpoint()
  t.equal(position, state.position)
  t.equal(ordinal, state.ordinal)
  t.same(JSON.parse(JSON.stringify({ cuts, table: tables['public.orders'] })), {
    cuts: state.cuts,
    table: state.tables['public.orders'],
  })
  t.throws(() => readCheckpoint('{"version":99}'), { code: 'core.checkpoint_unreadable' })
  t.throws(() => readCheckpoint('no json'), { code: 'core.checkpoint_unreadable' })
})

const read = (one: Merger, name: string, ids: readonly string[]) => {
  const [id, table] = [...one.tables].find(([, { table }]) => table.schema.name === name)!
  const range = table.ranges.find(({ state }) => state === 'waiting')!
  table.open(range.id)
  table.cut(range.id, cut(800n, 1n))
  if (ids.length > 0) {
    const rows = ids.map((key) => [key])
    one.rows(id, range.id, { schema: table.table.schema, rows, bytes: 8 }, { key: [ids.at(-1)!], side: 'after' })
  }
  one.finish(id, range.id, null)
}
const marksOf = (out: readonly ChangeBatch[]) =>
  out.flatMap((batch) =>
    batch.kind === 'truncate'
      ? []
      : batch.changes.map(({ after }, i) => {
          const { first, last } = batch.marks ?? {}
          const mark = (i === batch.changes.length - 1 ? last : undefined) ?? (i === 0 ? first : undefined)
          return `${batch.schema.name} ${after![0]} ${mark ?? batch.marks?.others ?? 'true'}`
        }),
  )

t.test(
  '1.10 l a checkpoint with marks is read, says the same when written again, and gives no mark twice',
  async (t) => {
    const state = readCheckpoint(
      readFileSync(new URL('../fixtures/checkpoints/v1-marks.json', import.meta.url), 'utf8'),
    )
    const out: ChangeBatch[] = []
    const one = merger('orders', state, out, ['done', 'next'])
    const { tables, marks } = one.checkpoint()
    t.same({ tables, marks }, { tables: state.tables, marks: state.marks })
    read(one, 'orders', ['100'])
    read(one, 'next', ['1', '2'])
    t.same(marksOf(out), ['next 1 first_in_data_collection', 'orders 100 last_in_data_collection', 'next 2 last'])
    t.equal(one.checkpoint().marks, 'over')
  },
)

t.test('1.10 l a checkpoint without marks gives no first row to what has started', async (t) => {
  const state = readCheckpoint(readFileSync(new URL('../fixtures/checkpoints/v1.json', import.meta.url), 'utf8'))
  const out: ChangeBatch[] = []
  const one = merger('done', { ...state, cuts: [] }, out, ['next'])
  read(one, 'next', ['1', '2'])
  t.same(marksOf(out), ['next 1 first_in_data_collection', 'next 2 last'])
})

t.test(
  '1.10 l one row is the last rather than the first of all, and that rather than the last of its table',
  async (t) => {
    const out: ChangeBatch[] = []
    const one = merger('a', null, out, ['b', 'c', 'd'])
    for (const [name, ids] of [
      ['a', ['1']],
      ['b', []],
      ['c', ['1']],
      ['d', ['1']],
    ] as const)
      read(one, name, ids)
    one.log({ items: [], position: '0/9' as Position, ordinal: 9n, midTransaction: false, bytes: 0 })
    t.same(marksOf(out), ['a 1 first', 'c 1 last_in_data_collection', 'd 1 last'])
  },
)

t.test('1,000,000 contiguous finished chunks checkpoint in under 1 MiB', async (t) => {
  const one = merger('t', null)
  const [id, table] = [...one.tables][0]!
  let largest = 0
  for (let i = 1; i <= 1_000_000; i++) {
    const last = table.ranges.at(-1)!
    table.split(last.id, [[String(i)]])
    const range = table.ranges.at(-2)!
    table.open(range.id)
    table.cut(range.id, cut(BigInt(i), BigInt(i)))
    one.finish(id, range.id, null)
    // The log passes each cut a little later.
    if (i % 100 === 0)
      one.log({ items: [], position: `0/${i}` as Position, ordinal: BigInt(i), midTransaction: false, bytes: 0 })
    if (i % 250_000 === 50) largest = Math.max(largest, writeCheckpoint(one.checkpoint() as CheckpointState).length)
  }
  largest = Math.max(largest, writeCheckpoint(one.checkpoint() as CheckpointState).length)
  t.ok(largest < 1024 * 1024, `${largest} bytes at most`)
  t.equal(table.ranges.length, 2, 'one finished range and the rest')
})

t.test('D5 a key that changes its type stops a copy whose bounds lie in the old order, and no other', async (t) => {
  const one = merger('t', null).tables.values().next().value!
  const text = table('t', [column('id', { ...columnType('string', 'text'), native: 'text' })])
  const next = { ...sourceTable('t'), schema: { ...text, key: [0] }, order: { ...order } }
  one.redefine(next)
  t.equal(one.order, next.order, 'nothing was split yet')
  one.split(one.ranges[0]!.id, [['5']])
  one.redefine({ ...next, order })
  t.equal(one.order, next.order, 'the bounds keep the order that they were made in')
  t.throws(() => one.redefine(sourceTable('t')), {
    code: 'core.identity_changed',
    message: /was \(text\) and is now \(bigint\)/,
  })
})
