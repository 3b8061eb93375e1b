/**
 * Flink reads what we wrote: one SQL job over topics of every format that Flink has, whose changelogs must end with
 * exactly the source's rows. And a pipeline file of Flink CDC runs as it is.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { sharedKafka } from '../support/kafka.js'
import { kafkaPipeline } from '../support/kafka-sink.js'
import { createDatabase, type TextRow } from '../support/postgres.js'
import { type PipelineFile, runTidemark } from '../support/process.js'
import { type FlinkRow, flinkSql } from '../support/servers/flink.js'

const kafka = await sharedKafka()
const SEED_ROWS = 300

/** How a column is declared in Flink, made text there, and made the same text by PostgreSQL. */
interface Reading {
  readonly type: string
  readonly flink?: string
  readonly postgres?: string
}

type Readings = Readonly<Record<string, Reading>>

const MICROS = 'YYYY-MM-DD HH24:MI:SS.US'
const PLAIN: Readings = {
  id: { type: 'INT' },
  big: { type: 'BIGINT' },
  price: { type: 'DECIMAL(20, 4)' },
  flag: { type: 'BOOLEAN', postgres: 'upper(flag::text)' },
  small: { type: 'FLOAT' },
  dbl: { type: 'DOUBLE' },
  txt: { type: 'STRING' },
  bin: { type: 'BYTES', flink: 'bin' },
  d: { type: 'DATE' },
  tod: { type: 'TIME' },
  ts: { type: 'TIMESTAMP(6)', postgres: `to_char(ts, '${MICROS}')` },
  tz: { type: 'TIMESTAMP_LTZ(6)', postgres: `to_char(tz at time zone 'UTC', '${MICROS}')` },
  uid: { type: 'STRING' },
  js: { type: 'STRING' },
  ints: { type: 'ARRAY<INT>', postgres: `'[' || array_to_string(ints, ', ', 'NULL') || ']'` },
}
const COLUMNS = Object.keys(PLAIN)

/** Debezium's numbers for days, milliseconds and microseconds. */
const DEBEZIUM: Readings = {
  ...PLAIN,
  d: { type: 'INT', postgres: `(d - date '1970-01-01')::text` },
  tod: { type: 'INT', postgres: '(extract(epoch from tod) * 1000)::int::text' },
  ts: { type: 'BIGINT', postgres: '(extract(epoch from ts) * 1000000)::bigint::text' },
}
/** Canal's text of everything. */
const CANAL: Readings = {
  ...PLAIN,
  bin: { type: 'STRING', flink: `ENCODE(bin, 'ISO-8859-1')` },
  ints: { type: 'STRING' },
}
const MAXWELL: Readings = {
  ...PLAIN,
  tz: { type: 'TIMESTAMP(6)', postgres: PLAIN.tz!.postgres! },
}

interface Format {
  readonly sink: Readonly<Record<string, unknown>>
  readonly flink: Readonly<Record<string, string>>
  readonly columns: Readings
}

const debezium = { 'value.format': 'debezium-json', 'decimal.handling.mode': 'string' }
const ISO = { 'debezium-json.timestamp-format.standard': 'ISO-8601' }
const FORMATS: Readonly<Record<string, Format>> = {
  debezium: { sink: debezium, flink: { format: 'debezium-json', ...ISO }, columns: DEBEZIUM },
  debezium_schema: {
    sink: { ...debezium, 'debezium-json.include-schema.enabled': true },
    flink: { format: 'debezium-json', 'debezium-json.schema-include': 'true', ...ISO },
    columns: DEBEZIUM,
  },
  flink: {
    sink: { 'value.format': 'debezium-json', 'debezium-json.flavor': 'flink' },
    flink: { format: 'debezium-json' },
    columns: PLAIN,
  },
  flink_schema: {
    sink: {
      'value.format': 'debezium-json',
      'debezium-json.flavor': 'flink',
      'debezium-json.include-schema.enabled': true,
    },
    flink: { format: 'debezium-json', 'debezium-json.schema-include': 'true' },
    columns: PLAIN,
  },
  canal: { sink: { 'value.format': 'canal-json' }, flink: { format: 'canal-json' }, columns: CANAL },
  canal_flink: {
    sink: { 'value.format': 'canal-json', 'canal-json.flavor': 'flink' },
    flink: { format: 'canal-json' },
    columns: PLAIN,
  },
  maxwell: {
    sink: { 'value.format': 'maxwell-json', 'maxwell-json.snapshot.type': 'insert' },
    flink: { format: 'maxwell-json' },
    columns: MAXWELL,
  },
}

const TABLE = `create table w (
  id int primary key, big bigint, price numeric(20, 4), flag boolean, small real, dbl double precision, txt text, bin bytea,
  d date, tod time(0), ts timestamp, tz timestamptz, uid uuid, js jsonb, ints int[]);
  alter table w replica identity full`

const values = (
  id: string,
) => `${id}, ${id}::bigint * 30744573456182, ${id} * 1.0001, ${id} % 2 = 0, ${id} / 3.0, ${id} / 7.0,
  'a "quoted" \\ line' || chr(10) || 'ü 🌊 ' || ${id}, decode(md5(${id}::text), 'hex'), date '2024-02-28' + ${id},
  time '00:00:01' + ${id} * interval '37 s', timestamp '2024-02-29 12:34:56.123456' + ${id} * interval '1.000001 s',
  timestamptz '2024-02-29 12:34:56.5+02' - ${id} * interval '1.000001 s', md5(${id}::text)::uuid,
  jsonb_build_object('id', ${id}, 'list', jsonb_build_array(1.5, null, 'x')), array[${id}, null, -1]`

const CHANGES = [
  'insert into w (id) values (-1)',
  `insert into w (id, big, price, dbl, small, txt, bin) values
   (-2, 9223372036854775807, 9999999999999999.9999, 'Infinity', 'NaN', '', ''), (-3, -9223372036854775808, -0.0001, 1e-300, 1e20, 'null', '\\x00ff')`,
  `update w set txt = repeat('long', 3000), price = null where id between 1 and 50`,
  `update w set big = big + 1, bin = null, ts = null where id between 20 and 70`,
  'delete from w where id between 60 and 90',
  'update w set id = id + 10000 where id between 100 and 120',
  'update w set id = id - 10000 where id between 10110 and 10120',
  `begin; delete from w where id = 200; insert into w select ${values('200')}; update w set txt = null where id = 200; commit`,
  `insert into w select ${values('i')} from generate_series(5000, 5100) i`,
]

t.test('Flink SQL ends with the rows of the source, in every format that it has', async (t) => {
  const source = await createDatabase(t)
  await source.query(`${TABLE}; insert into w select ${values('i')} from generate_series(1, ${SEED_ROWS}) i`)
  const names = Object.keys(FORMATS)
  const topic = (name: string) => `${source.name}_${name}.public.w`
  const files = names.map((name) =>
    kafkaPipeline(t, { source, kafka, name: `${source.name}_${name}`, sink: FORMATS[name]!.sink }),
  )
  await syncAll(files, '--once')
  for (const change of CHANGES) await source.query(change)
  await syncAll(files, '--until-caught-up')

  const tables = names.map((name) => createTable(name, topic(name), FORMATS[name]!))
  const select = names.map((name) => selectAll(name, FORMATS[name]!.columns)).join('\nUNION ALL\n')
  const started = Date.now()
  const rows = await flinkSql(t, [...tables, select])
  t.comment(`Flink: ${rows.length} change rows of ${names.length} topics in ${Date.now() - started} ms`)
  for (const name of names) {
    const own = rows.filter(({ values }) => values[0] === name)
    const expected = await source.query(selectText(FORMATS[name]!.columns))
    const { rows: left, problems } = replay(own)
    t.same(problems, [], `${name}: every row that goes was there`)
    t.ok(own.length > left.length, `${name}: ${own.length} changes`)
    t.same(
      left.sort(),
      expected.map((row) => canonical(COLUMNS.map((column) => row[column] ?? null))).sort(),
      `${name}: the rows of the source`,
    )
  }
})

/** The examples of Flink CDC's pages on PostgreSQL (its source) and Kafka (its sink), brokers as they write them. */
const PIPELINE = `source:
   type: postgres
   name: Postgres Source
   hostname: 127.0.0.1
   port: 5432
   username: admin
   password: pass
   # make sure all the tables share same database.
   tables: adb.\\.*.\\.*
   decoding.plugin.name:  pgoutput
   slot.name: pgtest

sink:
  type: kafka
  name: Kafka Sink
  properties.bootstrap.servers: PLAINTEXT://localhost:62510

pipeline:
   name: Postgres to Kafka Pipeline
   parallelism: 4
`

t.test('a pipeline file of Flink CDC runs as it is', async (t) => {
  const source = await createDatabase(t)
  await source.query(`create schema app;
    create table public.orders (id int primary key, name text); create table app.users (id int primary key);
    insert into orders select i, 'order ' || i from generate_series(1, 1000) i; insert into app.users select generate_series(1, 500)`)
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-pipeline-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'postgres-to-kafka.yaml')
  const { hostname, port, username, password } = new URL(source.url)
  const text = PIPELINE.replace('127.0.0.1', hostname)
    .replace('5432', port)
    .replace('admin', username)
    .replace('password: pass', `password: ${JSON.stringify(decodeURIComponent(password))}`)
    .replace('adb', source.name)
    .replace('localhost:62510', kafka.bootstrap)
  writeFileSync(file, text)
  const check = await runTidemark(t, ['check', file])
  t.equal(check.code, 0, check.stdout + check.stderr)
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  const [slot] = await source.query('select slot_name from pg_replication_slots where database = current_database()')
  t.equal(slot?.slot_name, 'pgtest')
  await source.query(`insert into app.users values (501); update orders set name = 'x' where id <= 10`)
  const more = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(more.code, 0, more.stderr)
  t.equal(await kafka.count('Postgres_to_Kafka_Pipeline.public.orders'), 1010)
  t.equal(await kafka.count('Postgres_to_Kafka_Pipeline.app.users'), 501)
})

/** Two at a time, as the machine has cores. */
async function syncAll(files: readonly PipelineFile[], how: string): Promise<void> {
  const left = [...files]
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const { code, stderr } = await runTidemark(t, ['sync', next.file, how])
      if (code !== 0) throw new Error(`sync ${how} ended with ${code}:\n${stderr}`)
    }
  }
  await Promise.all([worker(), worker()])
}

function createTable(name: string, topic: string, { flink, columns }: Format): string {
  const options = {
    connector: 'kafka',
    topic,
    'properties.bootstrap.servers': kafka.bootstrap,
    'properties.isolation.level': 'read_committed',
    'scan.startup.mode': 'earliest-offset',
    'scan.bounded.mode': 'latest-offset',
    ...flink,
  }
  const list = Object.entries(options).map(([option, value]) => `'${option}' = '${value}'`)
  return `CREATE TABLE ${name} (${COLUMNS.map((column) => `\`${column}\` ${columns[column]!.type}`)}) WITH (${list})`
}

function selectAll(name: string, columns: Readings): string {
  const texts = COLUMNS.map((column) => columns[column]!.flink ?? `CAST(\`${column}\` AS STRING)`)
  return `SELECT '${name}', ${texts} FROM ${name}`
}

function selectText(columns: Readings): string {
  return `select ${COLUMNS.map((column) => `${columns[column]!.postgres ?? `${column}::text`} as ${column}`)} from w`
}

/** A changelog without keys: a bag of rows, from which each row that goes takes one away. */
function replay(changes: readonly FlinkRow[]): { readonly rows: string[]; readonly problems: string[] } {
  const counts = new Map<string, number>()
  const problems: string[] = []
  for (const { kind, values } of changes) {
    const row = canonical(values.slice(1))
    const count = (counts.get(row) ?? 0) + (kind === '+I' || kind === '+U' ? 1 : -1)
    if (count < 0) problems.push(`${kind} ${row}`)
    counts.set(row, count)
  }
  return { rows: [...counts].flatMap(([row, count]) => Array<string>(Math.max(count, 0)).fill(row)), problems }
}

/** Floating point and JSON have several spellings of one value. */
function canonical(row: readonly TextRow[string][]): string {
  const spelled = row.map((value, i) => {
    if (value === null) return null
    if (COLUMNS[i] === 'small') return String(Math.fround(Number(value)))
    if (COLUMNS[i] === 'dbl') return String(Number(value))
    return COLUMNS[i] === 'js' ? JSON.parse(value) : value
  })
  return JSON.stringify(spelled)
}
