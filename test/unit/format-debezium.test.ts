import t from 'tap'
import type { Change, ChangeBatch, Row, TableSchema } from '../../core/model.js'
import { createFormat } from '../../sinks/formats/format.js'
import { type Envelope, linesOf, parseExact, recordedOf, staticSource } from '../support/format-fixtures.js'
import { ROW_1, ROW_3 } from '../support/format-rows.js'
import {
  change,
  column,
  columnType,
  keylessTable,
  logOrigin,
  pairTable,
  SNAPSHOT,
  table,
  typesTable,
} from '../support/format-tables.js'

const NOW_MS = 1_795_418_212_062

const format = createFormat({ name: 'debezium-json', logicalName: 's', clock: () => NOW_MS })

function rows(schema: TableSchema, origin: ChangeBatch['origin'], changes: readonly Change[]): ChangeBatch {
  return { kind: 'rows', schema, origin, changes, bytes: 0 }
}

function encode(batch: ChangeBatch): Envelope[] {
  return linesOf(format.encode(batch)).map(parseExact)
}

function like(base: Row, id: string, from: Row = base): Row {
  return [id, ...from.slice(1)]
}

t.test('snapshot events of every type equal the recorded ones', async (t) => {
  const schema = typesTable('types', { generated: true })
  const got = encode(
    rows(schema, SNAPSHOT, [
      change('r', null, like(ROW_1, '11'), SNAPSHOT.kind === 'snapshot' ? SNAPSHOT.at : 0n),
      change('r', null, like(ROW_3, '13'), 538_792_136),
    ]),
  )
  const want = recordedOf('types', 'r')
  t.equal(got.length, 2)
  got.forEach((event, i) => {
    t.strictSame(event.after, want[i]!.after)
    t.strictSame(Object.keys(event.after!), Object.keys(want[i]!.after!), 'fields in order')
    t.strictSame(Object.keys(event), Object.keys(want[i]!))
    t.strictSame(Object.keys(event.source), Object.keys(want[i]!.source))
    t.strictSame(staticSource(event), staticSource(want[i]!))
    t.strictSame(event.source, { ...want[i]!.source, version: event.source.version, snapshot: 'true' })
    t.match(event.source.version, /^\d+\.\d+\.\d+/)
  })
  t.strictSame([got[0]!.ts_ms, got[0]!.ts_us, got[0]!.ts_ns], [NOW_MS, `${NOW_MS}000`, `${NOW_MS}000000`])
})

t.test('streamed inserts, updates and deletes equal the recorded ones', async (t) => {
  const schema = typesTable('types', { generated: false })
  const full = ROW_1.slice(0, -1)
  const inserts = encode(
    rows(schema, logOrigin(0n), [
      change('c', null, full, 538_792_752),
      change('c', null, ROW_3.slice(0, -1), 538_793_744),
    ]),
  )
  const want = recordedOf('types', 'c')
  t.strictSame(
    inserts.map(({ after }) => after),
    want.slice(0, 2).map(({ after }) => after),
  )
  t.strictSame(inserts[0]!.source, { ...want[0]!.source, version: inserts[0]!.source.version })
  t.strictSame(inserts[1]!.source, { ...want[1]!.source, version: inserts[1]!.source.version })

  const updated = full.map((value, i) => (i === 2 ? '43' : i === 10 ? undefined : value))
  const [update] = encode(rows(schema, logOrigin(538_811_880n), [change('u', null, updated, 538_811_936)]))
  const unchanged = recordedOf('types', 'u').at(-1)!
  t.strictSame(update!.after, unchanged.after, 'unchanged TOAST')
  t.equal(update!.before, null)
  t.equal(update!.source.sequence, unchanged.source.sequence)

  const key = full.map((_, i) => (i === 0 ? '3' : undefined))
  const [deleted] = encode(rows(schema, logOrigin(538_813_312n), [change('d', key, null, 538_813_312)]))
  t.strictSame(deleted!.before, recordedOf('types', 'd').at(-1)!.before, 'key, defaults, nulls')
  t.equal(deleted!.after, null)
})

t.test('values no calendar holds', async (t) => {
  const schema = typesTable('types', { generated: false })
  const names = schema.columns.map(({ name }) => name)
  const row = (values: Record<string, string>): Row =>
    names.map((name) => values[name] ?? (name === 'c_ltree_like' ? 'dflt' : name === 'c_notnull_default' ? '7' : null))
  const got = encode(
    rows(schema, logOrigin(1n), [
      change(
        'c',
        null,
        row({
          id: '4',
          c_date: 'infinity',
          c_timestamp: 'infinity',
          c_timestamptz: '-infinity',
          c_interval: 'P-1M',
          c_numeric: '0.00000000000000000001',
        }),
        1,
      ),
      change(
        'c',
        null,
        row({
          id: '5',
          c_date: '0044-03-15 BC',
          c_timestamp: '0044-03-15 12:00:00 BC',
          c_timestamptz: '0044-03-15 12:00:00+00 BC',
        }),
        2,
      ),
      change('c', null, row({ id: '6', c_numeric: 'Infinity' }), 3),
    ]),
  )
  const want = recordedOf('types', 'c').filter(({ after }) => ['4', '5', '6'].includes(String(after!.id)))
  t.equal(want.length, 3)
  t.strictSame(
    got.map(({ after }) => after),
    want.map(({ after }) => after),
  )
})

t.test('a key change is a delete and an insert; truncate has its own operation', async (t) => {
  const schema = pairTable()
  const batch = rows(schema, logOrigin(538_851_648n), [
    change('u', ['1', 'y', undefined], ['1', 'z', 'v2'], 538_851_648),
    change('u', ['1', 'z', undefined], ['1', 'z', 'same key'], 538_851_649),
  ])
  const got = encode(batch)
  t.strictSame(
    got.map(({ op }) => op),
    ['d', 'c', 'u'],
  )
  t.strictSame(got[0]!.before, recordedOf('types_pk2', 'd')[0]!.before)
  t.strictSame(got[1]!.after, recordedOf('types_pk2', 'c')[2]!.after)
  t.equal(format.encode(batch).events, 3)

  const [truncate] = encode({ kind: 'truncate', schema, origin: logOrigin(538_855_152n), at: 538_858_064, bytes: 0 })
  const want = recordedOf('types_pk2', 't')[0]!
  t.strictSame(
    { ...truncate!, source: 0, transaction: 0, ts_ms: 0, ts_us: 0, ts_ns: 0 },
    { ...want, source: 0, transaction: 0, ts_ms: 0, ts_us: 0, ts_ns: 0 },
  )
  t.strictSame(staticSource(truncate!), staticSource(want))
})

t.test('whole old rows fill what the new row did not send', async (t) => {
  const [update] = encode(rows(keylessTable(), logOrigin(1n), [change('u', ['2', 'two'], ['2', undefined], 10)]))
  t.strictSame(update!.before, { a: 2, b: 'two' })
  t.strictSame(update!.after, { a: 2, b: 'two' })
})

t.test('generated columns appear only where the row carries them', async (t) => {
  const schema = table('g', [
    column('id', columnType('int32', 'int4')),
    column('twice', columnType('int32', 'int4'), { generated: true }),
  ])
  const got = encode(
    rows(schema, logOrigin(1n), [change('c', null, ['1', undefined], 1), change('c', null, ['2', '4'], 2)]),
  )
  t.strictSame(
    got.map(({ after }) => after),
    [{ id: 1 }, { id: 2, twice: 4 }],
  )
})

t.test('a default that has no value form is none', async (t) => {
  const schema = table('m', [
    column('id', columnType('int32', 'int4')),
    column('cash', columnType('money', 'money'), { defaultValue: '0' }),
    column('price', columnType('decimal', 'numeric', { precision: 18, scale: 4 }), { defaultValue: '1.5' }),
  ])
  const [event] = encode(rows(schema, logOrigin(1n), [change('d', ['1', undefined, undefined], null, 1)]))
  t.strictSame(event!.before, { id: 1, cash: null, price: 'Opg=' })
})

t.test('places in the log of any size and order', async (t) => {
  const schema = keylessTable()
  const places = [
    0,
    9,
    10,
    99_999,
    100_000,
    538_792_752,
    4_294_967_296,
    9_007_199_254_740_991,
    5,
    2n ** 63n - 1n,
    7n,
    7,
  ]
  const got = encode(
    rows(
      schema,
      logOrigin(3n),
      places.map((at, i) => change(i % 2 ? 'c' : 'd', i % 2 ? null : ['1', 'x'], i % 2 ? ['1', 'x'] : null, at)),
    ),
  )
  t.strictSame(
    got.map(({ source }) => `${source.lsn}`),
    places.map(String),
  )
  t.strictSame(
    got.map(({ source }) => source.sequence),
    places.map((at) => `["3","${at}"]`),
  )
  const same = encode(
    rows(
      schema,
      logOrigin(3n),
      places.map((at) => change('c', null, ['1', 'x'], at)),
    ),
  )
  t.strictSame(
    same.map(({ source }) => `${source.lsn}`),
    places.map(String),
    'without a change of operation',
  )
})

t.test('ends and values give single events', async (t) => {
  const schema = keylessTable()
  const batch = rows(
    schema,
    SNAPSHOT,
    ['a', 'é', '☃'].map((b) => change('r', null, ['1', b], 1)),
  )
  const { bytes, ends } = format.encode(batch, { ends: true })
  t.equal(ends!.length, 3)
  t.equal(ends!.at(-1), bytes.length)
  const whole = linesOf(format.encode(batch))
  t.equal(format.encode(batch).ends, null)
  t.strictSame(
    [...format.values(batch)].map((value) => value.toString()),
    whole,
  )
})

t.test('append gathers batches, take gives them away', async (t) => {
  const own = createFormat({ name: 'row-json', logicalName: 's' })
  const batches = ['a', 'b', 'c'].map((b) => rows(keylessTable(), SNAPSHOT, [change('r', null, ['1', b], 1)]))
  const lines = batches.map((batch) => own.encode(batch).bytes.toString())
  own.take(null)
  t.equal(own.append(batches[0]!).bytes, lines[0]!.length)
  own.append(batches[1]!)
  const first = own.take(null)
  t.equal(own.append(batches[2]!).events, 1)
  t.equal(first.toString(), lines[0]! + lines[1]!, 'what was taken is not written over')
  const second = own.take(first)
  own.append(batches[0]!)
  t.equal(second.toString(), lines[2]!)
  t.equal(own.take(second).toString(), lines[0]!)
  t.equal(first.subarray(0, lines[0]!.length).toString(), lines[0]!, 'the spare was written over')
})

t.test('names of tables and columns are data', async (t) => {
  const names = ['"; process.exit(1); "', '`$\u007b1}`', 'ü☃', '\\', '__proto__', 'a\nb']
  const schema = table(
    'odd "name"',
    names.map((name) => column(name, columnType('string', 'text'))),
    { database: 'dätä', namespace: 'a.b' },
  )
  const [event] = encode(rows(schema, SNAPSHOT, [change('r', null, names, 1)]))
  t.strictSame(
    Object.entries(event!.after!),
    names.map((name) => [name, name]),
  )
  t.equal(event!.source.db, 'dätä')
  t.equal(event!.source.table, 'odd "name"')
})

t.test('a table wider than one generated function', async (t) => {
  const schema = table(
    'wide',
    Array.from({ length: 1_600 }, (_, i) => column(`column_${i}`, columnType(i % 2 ? 'string' : 'int32', 'x'))),
  )
  const row = schema.columns.map((_, i) => (i % 7 === 0 ? null : i % 2 ? `text ${i}` : `${i}`))
  const [event] = encode(rows(schema, SNAPSHOT, [change('r', null, row, 1)]))
  t.strictSame(
    Object.values(event!.after!),
    row.map((value, i) => (value === null || i % 2 ? value : Number(value))),
  )
})

t.test('natural values (dialect plain)', async (t) => {
  const schema = table(
    'plain',
    [
      column('id', columnType('int64', 'bigint')),
      column('flag', columnType('bool', 'bool')),
      column('price', columnType('decimal', 'decimal', { precision: 10, scale: 2 })),
      column('score', columnType('float64', 'double')),
      column('blob', columnType('bytes', 'blob')),
      column('day', columnType('date', 'date')),
      column('at', columnType('timestamptz', 'timestamptz', { precision: 6 })),
      column('tags', columnType('array', 'array', { element: columnType('string', 'text') })),
      column('cash', columnType('money', 'money')),
    ],
    { dialect: 'plain' },
  )
  const row = [
    2n ** 62n,
    true,
    '-12.50',
    Number.NaN,
    Uint8Array.of(1, 2),
    '2024-02-29',
    '2024-02-29 10:34:56.5+00',
    ['a"', null],
    '-1.5',
  ]
  const [event] = encode(rows(schema, SNAPSHOT, [change('r', null, row, 1)]))
  t.strictSame(event!.after, {
    id: '4611686018427387904',
    flag: true,
    price: '+x4=',
    score: 'NaN',
    blob: 'AQI=',
    day: 19782,
    at: '2024-02-29T10:34:56.500000Z',
    tags: ['a"', null],
    cash: '/2o=',
  })
})
