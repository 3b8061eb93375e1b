/**
 * Random changes against a model: whatever the batches fold into, the target ends as the changes one after the other.
 * Key swaps, moves, unsent values, keys with several texts. TIDEMARK_SEED=n repeats a run.
 */
import t from 'tap'
import type { Change } from '../../core/model.js'
import { createDatabase } from '../support/postgres.js'
import { openSink, schemaOf, signal, truncate, typeOf } from '../support/postgres-sink.js'
import { random, testSeed } from '../support/seed.js'
import { type Kind, Model, sortedText, writes } from '../support/sink-model.js'

const ROUNDS = 40
const CHANGES_PER_ROUND = 60

const KINDS: readonly Kind[] = [
  { name: 'ints', type: typeOf('integer'), text: (n) => String(n) },
  {
    name: 'texts',
    type: typeOf('text'),
    text: (n) => ['', ' ', '"', '\\', '{', 'NULL', "'", '\t', 'é', '\\N', ',', 'a b'][n]!,
  },
  { name: 'numerics', type: typeOf('numeric'), text: (n, random) => random.pick([`${n}`, `${n}.0`, `${n}.00`]) },
  {
    name: 'floats',
    type: typeOf('double precision'),
    text: (n, random) => (n === 0 ? random.pick(['0', '-0']) : `${n}.5`),
  },
  {
    name: 'citexts',
    type: typeOf('public.citext', { kind: 'other', base: 'citext' }),
    text: (n, random) => random.pick([`key${n}`, `KEY${n}`, `Key${n}`]),
  },
]

const seed = testSeed()
t.comment(`TIDEMARK_SEED=${seed}`)
for (const version of ['15', '18'] as const) {
  await t.test(`random changes leave what the model says (PostgreSQL ${version}, seed ${seed})`, async (t) => {
    const db = await createDatabase(t, { version })
    await db.query('CREATE EXTENSION citext')
    const tables = KINDS.map((kind) => schemaOf(kind.name, { id: kind.type, a: 'text', b: 'text' }, ['id']))
    const session = await openSink(db.url, tables)
    const source = random(seed)
    for (const [i, kind] of KINDS.entries()) {
      const table = tables[i]!
      const model = new Model(kind, source.fork())
      const cutter = source.fork()
      for (let round = 0; round < ROUNDS; round++) {
        const changes: Change[] = []
        if (cutter.chance(0.1)) {
          await session.write([truncate(table)], { signal })
          model.rows.clear()
        }
        while (changes.length < CHANGES_PER_ROUND) changes.push(...model.next())
        for (const batches of writes(table, changes, cutter)) await session.write(batches, { signal })
        await session.commit(`${kind.name} ${round}`, { signal })
        const found = await db.query(`SELECT id, a, b FROM ${kind.name}`)
        const rows = found.map((row) => [row.id, row.a, row.b])
        const same = sortedText(rows) === sortedText([...model.rows.values()])
        if (!same)
          t.same(
            rows.sort(),
            [...model.rows.values()].sort(),
            `${kind.name}, round ${round}: ${JSON.stringify(changes)}`,
          )
        if (!same) return
      }
      t.pass(`${kind.name}: ${ROUNDS} rounds`)
    }
    await session.close()
  })
}
