/**
 * Random changes against a model: whatever the batches fold into, the target ends as the changes one after the other.
 * Key swaps, moves, unsent values, keys with several texts. TIDEMARK_SEED=n repeats a run.
 */
import t from 'tap'
import type { Change } from '../../core/model.js'
import { createMysqlDatabase, type MysqlKind } from '../support/mysql.js'
import { openMysqlSink } from '../support/mysql-sink.js'
import { schemaOf, signal, truncate, typeOf } from '../support/postgres-sink.js'
import { random, testSeed } from '../support/seed.js'
import { type Kind, Model, sortedText, writes } from '../support/sink-model.js'

const ROUNDS = 15
const CHANGES_PER_ROUND = 60
const TEXTS = ['', ' ', '"', '\\', '{', 'NULL', "'", '\t', 'é', '\\N', 'E', 'a b']
const decimal = (scale: number) => typeOf(`numeric(20,${scale})`, { kind: 'decimal', precision: 20, scale })

const KINDS: readonly (Kind & { shown(text: string): string })[] = [
  { name: 'ints', type: typeOf('integer'), text: (n) => String(n), shown: (text) => text },
  { name: 'texts', type: typeOf('text'), text: (n) => TEXTS[n]!, shown: (text) => text },
  {
    name: 'numerics',
    type: decimal(2),
    text: (n, random) => random.pick([`${n}`, `${n}.0`, `${n}.00`]),
    shown: (text) => Number(text).toFixed(2),
  },
  {
    name: 'floats',
    type: typeOf('double precision', { kind: 'float64' }),
    text: (n, random) => (n === 0 ? random.pick(['0', '-0']) : `${n}.5`),
    shown: (text) => String(Number(text)),
  },
]

const seed = testSeed()
t.comment(`TIDEMARK_SEED=${seed}`)
for (const kind of ['mysql', 'mariadb'] satisfies MysqlKind[]) {
  await t.test(`random changes leave what the model says (${kind}, seed ${seed})`, async (t) => {
    const db = await createMysqlDatabase(t, kind)
    const tables = KINDS.map((k) => schemaOf(k.name, { id: k.type, a: 'text', b: 'text' }, ['id']))
    const session = await openMysqlSink(db, tables)
    const source = random(seed)
    for (const [i, k] of KINDS.entries()) {
      const table = tables[i]!
      const model = new Model(k, source.fork())
      const cutter = source.fork()
      for (let round = 0; round < ROUNDS; round++) {
        const changes: Change[] = []
        if (cutter.chance(0.1)) {
          await session.write([truncate(table)], { signal })
          model.rows.clear()
        }
        while (changes.length < CHANGES_PER_ROUND) changes.push(...model.next())
        for (const batches of writes(table, changes, cutter)) await session.write(batches, { signal })
        await session.commit(`${k.name} ${round}`, { signal })
        const found = await db.query(`SELECT id, a, b FROM ${k.name}`)
        const have = sortedText(found.map((row) => [k.shown(row.id!), row.a, row.b]))
        const want = sortedText([...model.rows.values()].map(([id, a, b]) => [k.shown(String(id)), a, b]))
        if (have === want) continue
        t.equal(have, want, `${k.name}, round ${round}: ${JSON.stringify(changes)}`)
        return
      }
      t.pass(`${k.name}: ${ROUNDS} rounds`)
    }
    await session.close()
  })
}
