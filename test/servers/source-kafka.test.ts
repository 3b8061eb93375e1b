/**
 * PostgreSQL -> Tidemark -> Kafka -> Tidemark -> PostgreSQL in every format: both ends must print the same rows, after the
 * snapshot and after changes.
 */
import t, { type Test } from 'tap'
import { BUILT_IN } from '../../config/registry.js'
import { runPipeline } from '../../core/pipeline.js'
import { runCli } from '../support/cli.js'
import { sharedKafka } from '../support/kafka.js'
import { kafkaPipeline, kafkaSinkBlock } from '../support/kafka-sink.js'
import { fromKafka } from '../support/kafka-source.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { type PipelineFile, startTidemark } from '../support/process.js'

const kafka = await sharedKafka()

/** What every format carries exactly: numbers, decimals, texts, and times as PostgreSQL prints them. */
const PLAIN = `id bigint PRIMARY KEY, small smallint, number integer, exact numeric(30,10), loose numeric, label text,
  code varchar(20), flag boolean, doc jsonb, day date, at timestamp`
/** What needs a type beside the value. */
const TYPED = `, stamp timestamptz, clock time(3), raw bytea, ratio double precision, real_ratio real, token uuid, span interval`

const plainRow = (
  id: string,
) => `(${id}, -32768, 2147483647, -12345678901234567890.0123456789, 0.0000000000000000000123,
  E'tab\\t"quotes" \\\\ \\u2603', 'x', true, '{"b": [1, 2.50], "a": null}', '2024-02-29', '2024-02-29 12:34:56.123456')`
const nullRow = (id: string) => `(${id}${', NULL'.repeat(10)})`
const typedRow = (
  row: string,
) => `${row.slice(0, -1)}, '2024-02-29 12:34:56.1+02', '23:59:59.999', '\\x00ff10', 1.1e-300, 'NaN',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '36:15:00.5')`
const typedNulls = (row: string) => `${row.slice(0, -1)}${', NULL'.repeat(7)})`

interface Case {
  readonly what: string
  readonly format: 'debezium-json' | 'canal-json' | 'maxwell-json'
  readonly typed: boolean
  readonly partitions?: 1
  readonly sink?: Readonly<Record<string, unknown>>
}

const CASES: readonly Case[] = [
  {
    what: 'debezium-json with schemas',
    format: 'debezium-json',
    typed: true,
    sink: { 'debezium-json.include-schema.enabled': true },
  },
  {
    what: 'debezium-json without schemas',
    format: 'debezium-json',
    typed: false,
    partitions: 1,
    sink: { 'decimal.handling.mode': 'string', 'time.precision.mode': 'isostring' },
  },
  {
    what: "debezium-json of Flink's flavour",
    format: 'debezium-json',
    typed: false,
    sink: { 'debezium-json.flavor': 'flink' },
  },
  { what: 'canal-json', format: 'canal-json', typed: true, partitions: 1 },
  { what: 'maxwell-json', format: 'maxwell-json', typed: false, partitions: 1 },
]

async function requireEqual(t: Test, source: TestDatabase, target: TestDatabase, { what, typed }: Case): Promise<void> {
  // Where values come without types, ISO texts of times are the texts that they are.
  const iso = what === 'debezium-json without schemas'
  const day = iso ? `to_char(day, 'YYYY-MM-DD"Z"') AS day` : 'day'
  const at = iso ? `to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at` : 'at'
  const columns = typed ? 'day, at, stamp, clock, raw, ratio, real_ratio, token, span' : `${day}, ${at}`
  const common = 'id, small, number, exact, loose, label, code, flag, doc'
  const want = await source.query(`SELECT ${common}, ${columns} FROM t ORDER BY id`)
  const have = await target.query(`SELECT ${common}, ${typed ? columns : 'day, at'} FROM t ORDER BY id`)
  t.ok(want.length > 0)
  t.same(have, want, what)
  const pairs = 'SELECT a, b, v FROM pair ORDER BY a, b'
  t.same(await target.query(pairs), await source.query(pairs), `${what}: two key columns`)
}

async function sync(t: Test, ...pipelines: PipelineFile[]): Promise<void> {
  for (const { file } of pipelines) {
    const run = await runCli(['sync', file, '--until-caught-up'], { registry: BUILT_IN, run: runPipeline, cwd: '/' })
    t.equal(run.code, 0, run.err)
  }
}

for (const each of CASES) {
  t.test(`round trip: ${each.what}`, async (t) => {
    const [source, target] = [await createDatabase(t), await createDatabase(t)]
    const row = (id: string) => (each.typed ? typedRow(plainRow(id)) : plainRow(id))
    const nulls = (id: string) => (each.typed ? typedNulls(nullRow(id)) : nullRow(id))
    await source.query(`CREATE TABLE t (${PLAIN}${each.typed ? TYPED : ''})`)
    await source.query('CREATE TABLE pair (b text, v int, a int, PRIMARY KEY (a, b))')
    for (const table of ['t', 'pair']) await source.query(`ALTER TABLE ${table} REPLICA IDENTITY FULL`)
    await source.query(`INSERT INTO t VALUES ${nulls('1')}, ${row('9007199254740993')}, ${row('3')}`)
    await source.query(`INSERT INTO pair VALUES ('x', 1, 1), ('y', 2, 1)`)
    const name = `rt_${source.name}`
    const out = kafkaPipeline(t, {
      source,
      kafka,
      name,
      tables: 'public.*',
      sink: { 'value.format': each.format, 'topic.creation.default.partitions': each.partitions ?? 3, ...each.sink },
    })
    const back = fromKafka(t, {
      kafka,
      name: `${name}_back`,
      source: { topics: `${name}.public.*`, 'value.format': each.format },
      sink: { type: 'postgres', url: target.url },
    })
    // Canal and Maxwell know databases only: the schema comes back as one.
    await sync(t, out, back)
    await requireEqual(t, source, target, each)
    await source.query(`UPDATE t SET label = 'new', loose = NULL WHERE id = 3`)
    await source.query(`INSERT INTO t VALUES ${row('4')}, ${nulls('5')}`)
    await source.query('DELETE FROM t WHERE id = 1')
    await source.query(`UPDATE t SET id = 40 WHERE id = 4`)
    await source.query(`UPDATE pair SET v = 3, b = 'z' WHERE b = 'y'`)
    // In one partition only it has a place among the changes.
    if (each.partitions === 1) await source.query(`TRUNCATE pair`)
    await source.query(`INSERT INTO pair VALUES ('again', NULL, 7)`)
    await sync(t, out, back)
    await requireEqual(t, source, target, each)
  })
}

t.test('from topic to topic, and into a table', async (t) => {
  const each = CASES[0]!
  const [source, target] = [await createDatabase(t), await createDatabase(t)]
  await source.query(`CREATE TABLE t (${PLAIN}${TYPED})`)
  await source.query('CREATE TABLE pair (b text, v int, a int, PRIMARY KEY (a, b))')
  await source.query(`INSERT INTO t VALUES ${typedNulls(nullRow('1'))}, ${typedRow(plainRow('2'))}`)
  await source.query(`INSERT INTO pair VALUES ('x', 1, 1)`)
  const name = `hop_${source.name}`
  const sink = { 'value.format': each.format, ...each.sink }
  const out = kafkaPipeline(t, { source, kafka, name, tables: 'public.*', sink })
  const hop = fromKafka(t, {
    kafka,
    name: `${name}_hop`,
    source: { topics: `${name}.public.*` },
    sink: { ...kafkaSinkBlock(kafka), ...sink },
  })
  const back = fromKafka(t, {
    kafka,
    name: `${name}_back`,
    source: { topics: `${name}_hop.public.*` },
    sink: { type: 'postgres', url: target.url },
  })
  await sync(t, out, hop, back)
  await requireEqual(t, source, target, each)
  await source.query(`UPDATE t SET label = NULL WHERE id = 2`)
  await source.query(`DELETE FROM t WHERE id = 1`)
  await source.query(`UPDATE pair SET b = 'y'`)
  await sync(t, out, hop, back)
  await requireEqual(t, source, target, each)
})

t.test('killed while it writes to PostgreSQL, it goes on where the rows are', async (t) => {
  const [source, target] = [await createDatabase(t), await createDatabase(t)]
  await source.query('CREATE TABLE w (id int PRIMARY KEY, n int, note text)')
  await source.query(`INSERT INTO w SELECT i, 0, repeat('x', 200) FROM generate_series(1, 3000) i`)
  const name = `kill_${source.name}`
  const out = kafkaPipeline(t, { source, kafka, name, tables: 'public.w' })
  await sync(t, out)
  for (let round = 1; round <= 3; round++) {
    await source.query(`UPDATE w SET n = n + 1, note = note || $1 WHERE id % 3 = $2`, [String(round), round - 1])
    await source.query(`DELETE FROM w WHERE id % 7 = $1`, [round])
    await source.query(
      `INSERT INTO w SELECT i, $1::int FROM generate_series(3000 + $1::int * 100, 3099 + $1::int * 100) i`,
      [round],
    )
  }
  await sync(t, out)
  const back = fromKafka(t, {
    kafka,
    name: `${name}_back`,
    source: { topics: `${name}.public.w` },
    sink: { type: 'postgres', url: target.url },
  })
  const steps = [
    ['checkpoint.before-commit', 2],
    ['pg-sink.applied', 2],
    ['checkpoint.committed', 3],
    ['pg-sink.applied', 4],
  ] as const
  for (const [step, nth] of steps) {
    const killed = await startTidemark(t, ['sync', back.file], { failpoint: { step, nth } }).exit()
    t.equal(killed.signal, 'SIGKILL', `${step} ${nth}: ${killed.stderr}`)
  }
  await sync(t, back)
  const all = 'SELECT id, n, note FROM w ORDER BY id'
  const want = await source.query(all)
  t.ok(want.length > 1_000)
  t.same(await target.query(all), want)
})
