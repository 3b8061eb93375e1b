/** Which rows of a snapshot are called the first and the last, judged by Java's consumer: killed at steps of the snapshot and resumed. */
import t from 'tap'
import type { StepName } from '../../core/steps.js'
import { sharedKafka } from '../support/kafka.js'
import { kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark } from '../support/process.js'

const kafka = await sharedKafka()
const ROWS = { a: 1_200, b: 700, heap: 300, empty: 0, one: 1 }
const REACHED_MS_MAX = 30_000

t.test('1.10 l one first and one last in the snapshot and in each table, whatever kills it', async (t) => {
  const source = await createDatabase(t)
  for (const [name, rows] of Object.entries(ROWS)) {
    const key = name === 'heap' ? 'int' : 'int PRIMARY KEY'
    await source.query(`CREATE TABLE ${name} (id ${key}, v text)`)
    await source.query(`ALTER TABLE ${name} REPLICA IDENTITY FULL`)
    await source.query(`INSERT INTO ${name} SELECT i, repeat('v', 200) FROM generate_series(1, ${rows}) i`)
  }
  const kills: readonly (readonly [StepName, number] | null)[] = [
    null,
    ['chunk.rows', 4],
    ['chunk.finished', 3],
    ['kafka.sent', 3],
    ['checkpoint.committed', 4],
    ['checkpoint.released', 5],
  ]
  for (const [i, kill] of kills.entries()) {
    const name = `${source.name}_m${i}`
    const what = kill === null ? 'not killed' : `killed at ${kill.join(' ')}`
    const pipeline = kafkaPipeline(t, {
      source,
      kafka,
      name,
      tables: 'public.*',
      sink: { 'topic.creation.default.partitions': 1, topic: name },
      from: { 'no-primary-key': 'full-row', 'scan.incremental.snapshot.chunk.size': 100 },
      pipeline: { 'checkpoint.interval': '20ms' },
    })
    if (kill !== null) {
      const failpoint = { step: kill[0], nth: kill[1] }
      const exit = await startTidemark(t, ['sync', pipeline.file], { failpoint }).exit({ timeoutMs: REACHED_MS_MAX })
      t.equal(exit.signal, 'SIGKILL', `${what}\n${exit.stderr}`)
    }
    const done = await runTidemark(t, ['sync', pipeline.file, '--once'])
    t.equal(done.code, 0, `${what}: ${done.stderr}`)
    const records = await kafka.read(name)
    const marks = records.map(({ value }) => {
      const { source: from } = JSON.parse(value!.toString()) as { source: { table: string; snapshot: string } }
      return [from.table, from.snapshot] as const
    })
    for (const [table, rows] of Object.entries(ROWS)) {
      const mine = marks.filter(([name]) => name === table).map(([, mark]) => mark)
      t.equal(mine.length, rows, `${what}: ${table}`)
      t.ok(
        mine.slice(1, -1).every((mark) => mark === 'true'),
        `${what}: ${table} in between`,
      )
      if (rows <= 1) continue
      t.match(mine[0], /^first(_in_data_collection)?$/, `${what}: first of ${table}`)
      t.match(mine.at(-1), /^last(_in_data_collection)?$/, `${what}: last of ${table}`)
    }
    const places = (mark: string) => marks.flatMap(([, each], place) => (each === mark ? [place] : []))
    t.same(places('first'), [0], `${what}: the first`)
    t.same(places('last'), [marks.length - 1], `${what}: the last`)
  }
})
