/** MySQL into Kafka, judged by Java's consumer: Debezium's envelopes, each once, in order, whatever kills the pipeline. */
import t from 'tap'
import type { StepName } from '../../core/steps.js'
import { sharedKafka } from '../support/kafka.js'
import { kafkaSinkBlock } from '../support/kafka-sink.js'
import { createMysqlDatabase } from '../support/mysql.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'

const kafka = await sharedKafka()
const REACHED_MS_MAX = 30_000

t.test('events of MySQL, also of a pipeline that is killed', async (t) => {
  const db = await createMysqlDatabase(t, 'mysql')
  await db.query('CREATE TABLE w (id int PRIMARY KEY, v varchar(10))')
  await db.query("INSERT INTO w VALUES (1, 'one'), (2, 'two')")
  const pipeline = writePipeline(t, {
    source: { type: 'mysql', url: db.captureUrl, tables: `${db.name}.w`, 'visibility.margin': '50ms' },
    sink: { ...kafkaSinkBlock(kafka), 'topic.creation.default.partitions': 1, topic: db.name },
    pipeline: { name: db.name, 'checkpoint.interval': '50ms' },
  })
  const killed = async (step: StepName) => {
    const { signal, stderr } = await startTidemark(t, ['sync', pipeline.file], { failpoint: { step, nth: 1 } }).exit({
      timeoutMs: REACHED_MS_MAX,
    })
    t.equal(signal, 'SIGKILL', stderr)
  }
  const caughtUp = async () => {
    const { code, stderr } = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal(code, 0, stderr)
  }
  await caughtUp()
  await db.query("INSERT INTO w VALUES (3, 'three'), (4, 'four')")
  await db.query("UPDATE w SET v = 'TWO' WHERE id = 2")
  await killed('kafka.sent')
  await killed('kafka.committed')
  await db.query('UPDATE w SET id = 10 WHERE id = 3')
  await db.query('TRUNCATE TABLE w')
  await db.query("INSERT INTO w VALUES (5, 'five')")
  await killed('kafka.committed')
  await caughtUp()
  const events = (await kafka.read(db.name)).map(({ value }) => value && JSON.parse(value.toString()))
  t.same(
    events.map(
      (event) => event && `${event.op} ${event.before?.id ?? ''} ${event.after?.id ?? ''} ${event.source.snapshot}`,
    ),
    [
      'r  1 first',
      'r  2 last',
      'c  3 false',
      'c  4 false',
      'u 2 2 false',
      'd 3  false',
      null,
      'c  10 false',
      't   false',
      'c  5 false',
    ],
  )
  for (const event of events.filter((each) => each !== null && each.op !== 'r')) {
    const { connector, file, pos, gtid } = event.source
    t.match(
      { connector, file, pos, gtid },
      { connector: 'mysql', file: /\.\d{6}$/, pos: Number, gtid: /^[\da-f-]{36}:\d+$/ },
    )
  }
})
