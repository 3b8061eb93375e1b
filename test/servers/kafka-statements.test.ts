/** What a Kafka sink makes of statements that no single row event says: truncates, alone in a Kafka transaction (its marker is a gap in the offsets), and changed keys. */
import t from 'tap'
import { sharedKafka } from '../support/kafka.js'
import { kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark } from '../support/process.js'

const kafka = await sharedKafka()
const REACHED_MS_MAX = 30_000

for (const kills of [0, 4]) {
  t.test(`1.10 f a truncate is committed alone, ${kills} kills`, async (t) => {
    const source = await createDatabase(t)
    await source.query('CREATE TABLE w (id int PRIMARY KEY)')
    await source.query('CREATE TABLE other (id int PRIMARY KEY)')
    await source.query('INSERT INTO w VALUES (0)')
    const pipeline = kafkaPipeline(t, {
      source,
      kafka,
      name: source.name,
      tables: 'public.*',
      sink: { 'topic.creation.default.partitions': 1, topic: source.name, 'extended.headers.enabled': false },
    })
    const first = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(first.code, 0, first.stderr)
    await source.query(`BEGIN; INSERT INTO w VALUES (1); INSERT INTO other VALUES (1), (2); TRUNCATE w;
      INSERT INTO w VALUES (3), (4); TRUNCATE w, other; TRUNCATE w; INSERT INTO other VALUES (5); COMMIT`)
    for (let i = 0; i < kills; i++) {
      const failpoint = { step: 'kafka.committed', nth: 1 } as const
      const { signal } = await startTidemark(t, ['sync', pipeline.file], { failpoint }).exit({
        timeoutMs: REACHED_MS_MAX,
      })
      t.equal(signal, 'SIGKILL')
    }
    const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(last.code, 0, last.stderr)
    const records = await kafka.read(source.name)
    // Behind the last record of a transaction is its marker.
    const epochs: string[][] = []
    let expected = -1
    for (const { offset, value } of records) {
      const { op, after, source: from } = JSON.parse(value!.toString())
      const event = op === 't' ? `t ${from.table}` : `${op} ${from.table} ${after.id}`
      if (offset === expected) epochs.at(-1)!.push(event)
      else epochs.push([event])
      expected = offset + 1
    }
    t.same(epochs, [
      ['r w 0'],
      ['c w 1', 'c other 1', 'c other 2'],
      ['t w'],
      ['c w 3', 'c w 4'],
      ['t w', 't other'],
      ['t w'],
      ['c other 5'],
    ])
  })
}

t.test('a changed key names the other one in a header', async (t) => {
  const source = await createDatabase(t)
  await source.query('CREATE TABLE w (id int PRIMARY KEY, v text)')
  await source.query("INSERT INTO w VALUES (1, 'a')")
  const pipeline = kafkaPipeline(t, {
    source,
    kafka,
    name: source.name,
    tables: 'public.w',
    sink: { topic: source.name },
  })
  const run = async () => {
    const { code, stderr } = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(code, 0, stderr)
  }
  await run()
  await source.query('UPDATE w SET id = 2')
  await run()
  const records = await kafka.read(source.name)
  const seen = records.map(({ key, value, headers }) => {
    const op = value === null ? 'tombstone' : (JSON.parse(value.toString()) as { op: string }).op
    const moved = headers.filter(([name]) => /key$/.test(name)).map(([name, other]) => `${name} ${other}`)
    return [key!.toString(), op, ...moved]
  })
  t.same(seen.filter(([, op]) => op !== 'r').sort(), [
    ['{"id":1}', 'd', '__debezium.newkey {"id":2}'],
    ['{"id":1}', 'tombstone', '__debezium.newkey {"id":2}'],
    ['{"id":2}', 'c', '__debezium.oldkey {"id":1}'],
  ])
})
