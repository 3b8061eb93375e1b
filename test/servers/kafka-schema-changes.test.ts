/** Definitions of tables in a topic of their own, judged by Java's consumer: each once and before its first row, whatever kills the pipeline. */
import t from 'tap'
import type { StepName } from '../../core/steps.js'
import { sharedKafka } from '../support/kafka.js'
import { kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark } from '../support/process.js'

const kafka = await sharedKafka()
const REACHED_MS_MAX = 30_000

t.test('each definition is announced once, also by a pipeline that is killed', async (t) => {
  const source = await createDatabase(t)
  await source.query("CREATE TYPE mood AS ENUM ('sad', 'happy')")
  await source.query('CREATE TABLE w (id int PRIMARY KEY, price numeric(18,4) NOT NULL DEFAULT 1.5, how mood)')
  await source.query('CREATE TABLE still (id bigint PRIMARY KEY)')
  await source.query('INSERT INTO w VALUES (1)')
  const pipeline = kafkaPipeline(t, {
    source,
    kafka,
    name: source.name,
    tables: 'public.*',
    sink: { 'include.schema.changes': true },
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
  await killed('kafka.before-send')
  await killed('kafka.committed')
  await caughtUp()
  await source.query('INSERT INTO w VALUES (2)')
  await source.query('ALTER TABLE w ADD COLUMN note text')
  await source.query("INSERT INTO w VALUES (3, 2, 'sad', 'x')")
  await source.query('ALTER TABLE w DROP COLUMN note')
  await source.query('INSERT INTO w VALUES (4)')
  await source.query('ALTER TABLE w ADD COLUMN note text')
  await source.query('INSERT INTO w VALUES (5)')
  await killed('kafka.sent')
  await killed('kafka.committed')
  await caughtUp()

  const events = (await kafka.read(source.name)).map(({ partition, key, value }) => {
    t.equal(partition, 0)
    t.equal(key!.toString(), JSON.stringify({ databaseName: source.name }))
    return JSON.parse(value!.toString())
  })
  const said = events.map(({ source: from, tableChanges: [{ type, id, table }] }) => {
    const columns = table.columns.map(({ name }: { name: string }) => name).join()
    return `${type} ${id} (${columns}) ${from.snapshot}`
  })
  t.same(said.slice(0, 2).sort(), ['CREATE "public"."still" (id) true', 'CREATE "public"."w" (id,price,how) true'])
  t.same(said.slice(2), [
    'ALTER "public"."w" (id,price,how,note) false',
    'ALTER "public"."w" (id,price,how) false',
    'ALTER "public"."w" (id,price,how,note) false',
  ])
  const { source: from, ts_ms: _, ...rest } = events.find(({ source: { table } }) => table === 'w')
  t.match(from, { connector: 'postgresql', name: source.name, db: source.name, schema: 'public', table: 'w' })
  const column = { nativeType: null, charsetName: null, scale: null, autoIncremented: null, generated: false }
  const none = { ...column, length: null, comment: null, defaultValueExpression: null, enumValues: null }
  t.strictSame(rest, {
    databaseName: source.name,
    schemaName: 'public',
    ddl: null,
    tableChanges: [
      {
        type: 'CREATE',
        id: '"public"."w"',
        table: {
          defaultCharsetName: null,
          primaryKeyColumnNames: ['id'],
          columns: [
            {
              ...none,
              name: 'id',
              jdbcType: 4,
              typeName: 'int4',
              typeExpression: 'integer',
              position: 1,
              optional: false,
            },
            {
              ...none,
              name: 'price',
              jdbcType: 3,
              typeName: 'numeric',
              typeExpression: 'numeric(18,4)',
              length: 18,
              scale: 4,
              position: 2,
              optional: false,
              defaultValueExpression: '1.5',
            },
            {
              ...none,
              name: 'how',
              jdbcType: 12,
              typeName: 'public.mood',
              typeExpression: 'public.mood',
              position: 3,
              optional: true,
              enumValues: ['sad', 'happy'],
            },
          ],
          comment: null,
        },
      },
    ],
  })
})
