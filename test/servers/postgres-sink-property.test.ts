/**
 * Random changes against a model: whatever the batches fold into, the target ends as the changes one after the other.
 * Key swaps, moves, unsent values, keys with several texts. TIDEMARK_SEED=n repeats a run.
 */
import t from 'tap'
import type { Change, ChangeBatch, Row, TableSchema } from '../../core/model.js'
import { createDatabase } from '../support/postgres.js'
import { batch, change, openSink, schemaOf, signal, truncate, typeOf } from '../support/postgres-sink.js'
import { type Random, random, testSeed } from '../support/seed.js'

const ROUNDS = 40
const CHANGES_PER_ROUND = 60
const KEYS = 12
const { r, c, u, d } = change
const U = undefined

interface Kind {
  readonly name: string
  /** One of the texts of key number n. */
  text(n: number, random: Random): string
  readonly type: ReturnType<typeof typeOf>
}

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

/** Applies changes the plain way and makes only what a source can send. */
class Model {
  readonly rows = new Map<number, Row>()
  readonly #kind: Kind
  readonly #random: Random
  #value = 0

  constructor(kind: Kind, random: Random) {
    this.#kind = kind
    this.#random = random
  }

  next(): Change[] {
    const random = this.#random
    const n = random.below(KEYS)
    const row = this.rows.get(n)
    if (row === undefined) return [this.#insert(n)]
    switch (random.below(7)) {
      case 0:
        this.rows.delete(n)
        return [d(keyOnly(row))]
      case 1:
        return [this.#update(n, row, false)]
      case 2:
      case 3:
        return [this.#update(n, row, true)]
      case 4:
        return this.#move(n, random.below(KEYS), random.chance(0.7))
      case 5:
        return this.#swap(n, random.below(KEYS))
      default:
        this.rows.delete(n)
        return [d(random.chance(0.5) ? row : keyOnly(row)), this.#insert(n)]
    }
  }

  #insert(n: number): Change {
    const row = [this.#kind.text(n, this.#random), this.#fresh(), this.#fresh()]
    this.rows.set(n, row)
    return this.#random.chance(0.2) ? r(row) : c(row)
  }

  #fresh(): string | null {
    return this.#random.chance(0.1) ? null : `v${++this.#value}`
  }

  #update(n: number, row: Row, partial: boolean): Change {
    const sent = partial ? this.#random.pick([[1], [2], []]) : [1, 2]
    const after = row.map((v, i) => (i === 0 ? v : sent.includes(i) ? this.#fresh() : U))
    this.rows.set(n, merged(row, after))
    return u(after, this.#random.chance(0.3) ? row : null)
  }

  /** As the merger sends it: whole rows as delete and insert, others in one change. */
  #move(from: number, to: number, partial: boolean): Change[] {
    const row = this.rows.get(from)!
    if (from !== to && this.rows.has(to)) return []
    const key = this.#kind.text(to, this.#random)
    const after = [key, this.#random.chance(0.5) ? this.#fresh() : U, partial ? U : this.#fresh()]
    const whole = merged(row, after)
    this.rows.delete(from)
    this.rows.set(to, whole)
    if (!partial && this.#random.chance(0.5)) return [d(keyOnly(row)), c(whole)]
    return key === row[0] ? [u(after)] : [u(after, this.#random.chance(0.3) ? row : keyOnly(row))]
  }

  #swap(a: number, b: number): Change[] {
    const spare = KEYS - 1
    if (a === b || a === spare || b === spare || !this.rows.has(b) || this.rows.has(spare)) return []
    return [...this.#move(a, spare, true), ...this.#move(b, a, true), ...this.#move(spare, b, true)]
  }
}

function merged(row: Row, after: Row): Row {
  return after.map((v, i) => (v === U ? row[i] : v))
}

function keyOnly(row: Row): Row {
  return row.map((v, i) => (i === 0 ? v : U))
}

/** Cuts changes into batches and writes at random places. */
function* writes(table: TableSchema, changes: readonly Change[], random: Random): Generator<ChangeBatch[]> {
  let batches: ChangeBatch[] = []
  for (let i = 0; i < changes.length; ) {
    const size = 1 + random.below(random.chance(0.3) ? 40 : 4)
    batches.push(batch(table, ...changes.slice(i, i + size)))
    i += size
    if (random.chance(0.3)) {
      yield batches
      batches = []
    }
  }
  if (batches.length > 0) yield batches
}

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

function sortedText(rows: readonly Row[]): string {
  return rows
    .map((row) => JSON.stringify(row))
    .sort()
    .join('\n')
}
