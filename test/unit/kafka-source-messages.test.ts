/** Messages of every format, recorded ones of Debezium first, as the changes that the kafka source makes of them. */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { RecordDecoding, tableOfTopic } from '../../connectors/kafka/decoding.js'
import { kafkaSourceOptions } from '../../connectors/kafka/options.js'
import type { Change, TableSchema } from '../../core/model.js'
import type { LogItem } from '../../core/source.js'

const FIXTURES = new URL('../fixtures/debezium/', import.meta.url)

interface Given {
  readonly topic?: string
  readonly partitions?: number
  readonly key?: string | null
  readonly value: string | null
}

function decoding(options: Readonly<Record<string, unknown>> = {}, notes: string[] = []): RecordDecoding {
  const block = { 'properties.bootstrap.servers': 'k:9092', topics: '*', ...options }
  return new RecordDecoding(kafkaSourceOptions.parse(block), (line) => notes.push(line))
}

let ordinal = 0n

function items(into: RecordDecoding, ...given: Given[]): LogItem[] {
  return into.items(
    given.map(({ topic = 'shop.public.items', partitions = 1, key = null, value }, i) => {
      const bytes = (text: string | null) => (text === null ? null : Buffer.from(text))
      const record = { offset: BigInt(i), timestamp: 5n, key: bytes(key), value: bytes(value), headers: [] }
      return { topic, partition: 0, partitions, record, ordinal: ++ordinal }
    }),
  )
}

const row = ({ columns }: TableSchema, values: Change['after']) =>
  values && Object.fromEntries(columns.map(({ name }, i) => [name, values[i]]))

/** Changes with the names of their columns. */
function changes(found: readonly LogItem[]) {
  return found.flatMap((item) =>
    item.kind === 'truncate'
      ? [{ table: item.schemas[0]!.id as string, op: 't', before: null, after: null }]
      : item.changes.map(({ op, before, after }) => ({
          table: item.schema.id as string,
          op: op as string,
          before: row(item.schema, before),
          after: row(item.schema, after),
        })),
  )
}

const lines = (name: string) => readFileSync(new URL(name, FIXTURES), 'utf8').trim().split('\n')

interface Recorded {
  readonly topic: string
  readonly key: string | null
  readonly value: string | null
}

/** Texts as they were sent: the digits of a number are not a double's. */
function recorded(line: string): Recorded {
  const { topic } = JSON.parse(line) as { topic: string }
  const [, key = 'null', value = 'null'] = /,"key":(.*?),"value":(.*)\}$/s.exec(line) ?? []
  return { topic, key: key === 'null' ? null : key, value: value === 'null' ? null : value }
}

const POSTGRES_ROW = {
  id: 1,
  c_smallint: -32768,
  c_bigint: 9223372036854775807n,
  c_numeric: '12345.6789',
  c_numeric_18_4: '-12345678901234.5678',
  c_numeric_10_0: '1234567890',
  c_real: 1.5,
  c_bool: true,
  c_text: 'héllo ☃ 𝄞 "q"',
  c_bytea: new Uint8Array([0xde, 0xad, 0xbe, 0xef, 0, 0xff]),
  c_date: '2024-02-29',
  c_time: '12:34:56.123456',
  c_time3: '12:34:56.789',
  c_timetz: '07:04:56.5+00',
  c_timestamp: '2024-02-29 12:34:56.123456',
  c_timestamptz: '2024-02-29 10:34:56.123456+00',
  c_uuid: 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  c_json: '{"b": 1,  "a": [1,2]}',
  c_int_arr: [1, null, 3],
  c_num_arr: ['1.50', '-2.25'],
  c_date_arr: ['2024-02-29', '1969-12-31'],
  c_point: '(1.5,-2.0)',
  c_bit8: '10100101',
  c_money: '-1234.56',
  c_enum: 'ok',
}

function withSchemas(): Recorded[] {
  const schemas = new Map(
    lines('postgres-schemas.jsonl').map((line) => [(JSON.parse(line) as Recorded).topic, recorded(line).value]),
  )
  return lines('postgres-messages.jsonl').map((line) => {
    const { topic, key, value } = recorded(line)
    const schema = schemas.get(topic)
    return { topic, key, value: value && schema ? `{"schema":${schema},"payload":${value}}` : value }
  })
}

t.test('recorded events of PostgreSQL, with the schemas that came with them', async (t) => {
  const messages = withSchemas().filter(({ topic }) => topic === 's.public.types')
  const into = decoding()
  const found = changes(items(into, ...messages))
  const inserted = found.find(({ op, after }) => op === 'c' && after?.id === 1)
  t.match(inserted, { table: 'public.types' })
  for (const [name, value] of Object.entries(POSTGRES_ROW)) t.same(inserted!.after![name], value, name)
  const extremes = found.find(({ op, after }) => op === 'c' && after?.id === 3)!.after!
  t.same([extremes.c_real, extremes.c_double, extremes.c_bit8], [Number.NEGATIVE_INFINITY, Number.NaN, '00000000'])
  t.same([extremes.c_date, extremes.c_timestamptz], ['0001-01-01', '9999-12-31 23:59:59.999999+00'])
  const nulls = found.find(({ op, after }) => op === 'c' && after?.id === 2)!.after!
  t.same(new Set(Object.values(nulls)), new Set([2, null, 'dflt', 7]), 'nulls, and defaults')
  const unsent = found.filter(({ op, after }) => op === 'u' && after!.c_text === undefined)
  t.ok(unsent.length > 0, 'a value that was not sent is unknown, not the text that stands for it')
  const moved = found.findIndex(({ op, before }) => op === 'd' && before?.id === 2)
  t.equal(found[moved]!.before!.c_text, undefined, 'the old row of the default identity is its key')
  t.match(found[moved + 1], { op: 'c', after: { id: 100 } })
  t.equal(
    found.some(({ op, after }) => op === 'u' && after?.id === 100),
    false,
  )
})

t.test('everything else that Debezium recorded is passed over, or understood without schemas', async (t) => {
  const into = decoding({ 'on.truncate': 'apply' })
  const found = changes(items(into, ...lines('postgres-messages.jsonl').map(recorded)))
  const of = (table: string) => found.filter((change) => change.table === table)
  t.ok(of('public.types_full').some(({ op, before }) => op === 'u' && before !== null))
  t.equal(of('public.types')[0]!.after!.c_bigint, 9223372036854775807n)
  t.same(of('public.types_pk2')[0]!.after!.a !== undefined && of('public.nopk').length > 0, true)
  for (const kind of ['tombstone', 'transaction'] as const) t.ok((into.passed.get(kind) ?? 0) > 0, kind)
})

t.test('recorded events of MySQL: unsigned, decimals, sets, schema changes, a truncate', async (t) => {
  const into = decoding()
  const found = changes(items(into, ...lines('mysql-messages-schemas.jsonl').map(recorded)))
  t.match(found[0], { table: 'fix.types', op: 'r' })
  t.match(found[0]!.after!, { c_year: 2024, c_set: 'a,c', c_enum: 'medium' })
  t.equal(found[0]!.after!.c_bit64, `1${'0'.repeat(62)}1`)
  t.match(found[0]!.after!.c_decimal65, /^-?\d+\.\d{30}$/)
  t.ok((into.passed.get('schema change') ?? 0) > 0)
  t.equal(into.passed.get('transaction'), 1)
})

const debezium = (op: string, rows: object, source: object | null = { db: 'shop', schema: 'public', table: 'items' }) =>
  JSON.stringify({ before: null, after: null, source, op, ...rows })

t.test('debezium-json without schemas: numbers keep their digits, types follow the values', async (t) => {
  const value = (row: string) => debezium('c', { after: 0 }).replace('"after":0', `"after":${row}`)
  const big =
    '{"id":9223372036854775807,"n":12345678901234567890.10,"m":18446744073709551616,"j":{"a": [1.0,2]},"b":true,"s":null}'
  const found = items(decoding(), { key: '{"id":1}', value: value(big) })
  t.same(changes(found)[0]!.after, {
    id: 9223372036854775807n,
    n: '12345678901234567890.10',
    m: '18446744073709551616',
    j: '{"a": [1.0,2]}',
    b: true,
    s: null,
  })
  const [item] = found as (LogItem & { kind: 'rows' })[]
  t.same(
    item!.schema.columns.map(({ type }) => type.kind),
    ['int64', 'decimal', 'decimal', 'json', 'bool', 'string'],
  )
  t.same(item!.schema.key, [0])
})

t.test('a type is widened by what comes later, and kept across a restart', async (t) => {
  const into = decoding()
  const send = (to: RecordDecoding, v: unknown) =>
    items(to, { key: '{"id":1}', value: debezium('c', { after: { id: 1, v } }) })
  const kindOf = ([item]: readonly LogItem[]) => (item as LogItem & { kind: 'rows' }).schema.columns[1]!.type.kind
  t.equal(kindOf(send(into, 1)), 'int64')
  t.equal(kindOf(send(into, 1.5)), 'decimal')
  t.equal(kindOf(send(into, 2)), 'decimal', 'and never narrowed')
  const id = 'public.items' as TableSchema['id']
  const later = decoding()
  t.same(later.tables.restore(into.tables.tag(id)!), into.tables.schema(id))
  t.equal(kindOf(send(later, 3)), 'decimal')
  t.equal(kindOf(send(later, 'text')), 'string')
  const together = items(decoding(), ...[1, null, 'x'].map((v) => ({ value: debezium('c', { after: { id: 1, v } }) })))
  t.same(
    changes(together).map(({ after }) => after!.v),
    ['1', null, 'x'],
    'what is read together has one type',
  )
})

t.test("Flink's flavour: no source, keys with the table, updates with and without old rows", async (t) => {
  const key = '{"TableId":"shop.items","id":1}'
  const source = { db: 'shop', table: 'items' }
  const after = { id: 1, v: 'b' }
  const found = changes(
    items(
      decoding(),
      { key, value: debezium('u', { before: { id: 1, v: 'a' }, after }, source) },
      { key, value: debezium('u', { after }, null) },
      { key, value: debezium('d', { before: after }, source) },
    ),
  )
  t.same(
    found.map(({ table, op }) => [table, op]),
    [
      ['shop.items', 'u'],
      ['public.items', 'u'],
      ['shop.items', 'd'],
    ],
  )
  t.same(found[0]!.before, { id: 1n, v: 'a' })
  t.equal(found[1]!.before, null)
})

t.test('canal-json: several rows, old values, unsigned, bytes, bits, DDL, TiDB', async (t) => {
  const into = decoding({ 'value.format': 'canal-json' })
  const mysqlType = {
    id: 'bigint(20) unsigned',
    v: 'varchar(10)',
    b: 'blob',
    f: 'bit(8)',
    d: 'datetime(3)',
    n: 'decimal(10,2)',
    i: 'int',
  }
  const one = {
    id: '18446744073709551615',
    v: 'a',
    b: 'ÿ\u0000',
    f: '5',
    d: '2024-02-29 01:02:03.5',
    n: '1.10',
    i: '-7',
  }
  const message = (type: string, more: object) =>
    JSON.stringify({
      database: 'shop',
      table: 'items',
      es: 1700000000123,
      isDdl: false,
      mysqlType,
      pkNames: ['id'],
      type,
      ...more,
    })
  const found = items(
    into,
    { value: message('INSERT', { data: [one, { ...one, id: '2' }], old: null }) },
    { value: message('UPDATE', { data: [{ ...one, v: 'b', id: '3' }], old: [{ v: 'a', id: '2' }] }) },
    { value: message('DELETE', { data: [one] }) },
    { value: message('TRUNCATE', { data: null, isDdl: true }) },
    { value: message('ALTER', { data: null, isDdl: true }) },
    { value: JSON.stringify({ type: 'TIDB_WATERMARK', _tidb: { watermarkTs: 1 } }) },
  )
  const list = changes(found)
  t.same(
    list.map(({ op }) => op),
    ['c', 'c', 'u', 'd', 't'],
  )
  t.same(list[0]!.after, {
    id: '18446744073709551615',
    v: 'a',
    b: new Uint8Array([255, 0]),
    f: '00000101',
    d: '2024-02-29 01:02:03.5',
    n: '1.10',
    i: -7,
  })
  t.match(list[2], { before: { id: '2', v: 'a', i: -7 }, after: { id: '3', v: 'b' } })
  t.equal((found[0] as LogItem & { kind: 'rows' }).txn.tsUs, 1_700_000_000_123_000n)
  t.same(
    [...into.passed],
    [
      ['schema change', 1],
      ['watermark', 1],
    ],
  )
})

t.test('maxwell-json: keys from the message or the record, old values, bootstrap, DDL', async (t) => {
  const into = decoding({ 'value.format': 'maxwell-json' })
  const message = (type: string, more: string) =>
    `{"database":"shop","table":"items","type":"${type}","ts":1700000000,"xid":7,${more}}`
  const key = '{"database":"shop","table":"items","pk.id":1}'
  const found = items(
    into,
    { key, value: message('bootstrap-start', '"data":{}') },
    { key, value: message('bootstrap-insert', '"data":{"id":1,"n":1.10,"j":{"a":  1}}') },
    { key, value: message('update', '"data":{"id":1,"n":2.20,"j":null},"old":{"n":1.10}') },
    { value: message('delete', '"primary_key_columns":["id"],"data":{"id":1,"n":2.20,"j":null}') },
    { value: message('table-truncate', '"data":{}') },
  )
  t.same(changes(found), [
    { table: 'shop.items', op: 'r', before: null, after: { id: 1n, n: '1.10', j: '{"a":  1}' } },
    { table: 'shop.items', op: 'u', before: { id: 1n, n: '1.10', j: null }, after: { id: 1n, n: '2.20', j: null } },
    { table: 'shop.items', op: 'd', before: { id: 1n, n: '2.20', j: null }, after: null },
    { table: 'shop.items', op: 't', before: null, after: null },
  ])
  const [item] = found as (LogItem & { kind: 'rows' })[]
  t.same([item!.txn.tsUs, item!.txn.xid, item!.schema.key], [1_700_000_000_000_000n, 7n, [0]])
})

t.test('tables are chosen, named by their topic, and get the key that they are given', async (t) => {
  const options = {
    tables: 'public.*',
    'tables.exclude': 'public.b',
    'key.columns': { 'public.a': 'x,y' },
    'table.name.from': 'topic',
  }
  const value = debezium('c', { after: { y: 1, x: 2 } }, { db: 'other', table: 'other' })
  const at = ['s.public.a', 's.public.b', 's.private.c', 'a'].map((topic) => ({ topic, value }))
  const found = items(decoding(options), ...at) as (LogItem & { kind: 'rows' })[]
  t.same(
    found.map(({ schema }) => [schema.id, schema.database, schema.key]),
    [['public.a', 's', [1, 0]]],
  )
})

function refused(t: Test, given: Given, expected: RegExp, options: Readonly<Record<string, unknown>> = {}): void {
  const thrown = () => items(decoding(options), given)
  t.throws(thrown, {
    code: options['on.truncate'] === 'stop' ? 'kafka.truncate' : 'kafka.bad_message',
    message: expected,
  })
}

t.test('a topic names a table by its last parts', async (t) => {
  t.same(tableOfTopic('srv.shop.public.items'), { database: 'shop', namespace: 'public', name: 'items' })
  t.same(tableOfTopic('items'), { database: 'public', namespace: 'public', name: 'items' })
})

t.test('what cannot be read says where it is and what is wrong', async (t) => {
  const after = { id: 1, v: 'a' }
  refused(
    t,
    { value: '{"op":' },
    /^shop\.public\.items-0, offset 0: the message cannot be read as debezium-json: it is JSON that ends too soon/,
  )
  refused(t, { value: '{"a":1}{' }, /no JSON: "\{" at character 7/)
  refused(t, { value: '[1]' }, /the value is no JSON object/)
  refused(t, { value: '{"id":1}' }, /it has no op, so it is no change event of Debezium/)
  refused(t, { value: debezium('x', { after }) }, /op "x" is unknown/)
  refused(t, { value: debezium('c', {}) }, /after is missing although op is "c"/)
  refused(t, { value: debezium('d', {}) }, /a delete has neither before nor a key/)
  refused(t, { key: 'x', value: debezium('c', { after }) }, /the key cannot be read/)
  refused(
    t,
    { key: '{"other":1}', value: debezium('c', { after }) },
    /key column other is not among the columns of the row/,
  )
  refused(t, { value: debezium('u', { after }) }, /table without a key does not bring the whole old row/)
  refused(
    t,
    { key: '{"id":1}', value: debezium('c', { after: { id: 1, v: '__debezium_unavailable_value' } }) },
    /a new row came without column v/,
  )
  refused(t, { value: '{"type":"INSERT","database":"a","table":"b"}' }, /data is missing/, {
    'value.format': 'canal-json',
  })
  refused(t, { value: '{"type":"insert","database":"a","table":"b"}' }, /data is missing/, {
    'value.format': 'maxwell-json',
  })
  refused(
    t,
    { value: '{"type":"INSERT","database":"a","table":"b","mysqlType":{"i":"int"},"data":[{"i":"x"}]}' },
    /column i: a whole number was expected, not "x"/,
    { 'value.format': 'canal-json' },
  )
})

t.test('a truncate in a topic of several partitions is no one place', async (t) => {
  const truncate = { partitions: 3, value: debezium('t', {}) }
  const known = { value: debezium('c', { after: { id: 1 } }), key: '{"id":1}' }
  t.throws(() => items(decoding(), known, truncate), { code: 'kafka.truncate', message: /its topic has 3 partitions/ })
  const notes: string[] = []
  t.equal(changes(items(decoding({ 'on.truncate': 'skip' }, notes), known, truncate)).length, 1)
  t.match(notes, [/a truncate of public\.items was passed over/])
  t.equal(changes(items(decoding({ 'on.truncate': 'apply' }), known, truncate)).length, 2)
})

t.test('skipped messages are counted and noted', async (t) => {
  const notes: string[] = []
  const into = decoding({ 'on.bad.message': 'skip' }, notes)
  const good = { key: '{"id":1}', value: debezium('c', { after: { id: 1 } }) }
  t.equal(changes(items(into, { value: 'x' }, good, { value: debezium('c', {}) }, good)).length, 2)
  t.equal(into.passed.get('bad message'), 2)
  t.match(notes, [/passed over \(1 so far\): shop\.public\.items-0, offset 0/, /\(2 so far\)/])
})
