/** Messages of the formats that are not Debezium's, and what all formats share: keys, headers, tombstones, refusals. */
import t from 'tap'
import { z } from 'zod'
import { binlogAt } from '../../core/binlog-place.js'
import {
  type Change,
  type ChangeBatch,
  type Origin,
  type Row,
  type TableSchema,
  type TypeKind,
  tableId,
} from '../../core/model.js'
import { NULL_LENGTH, type PackedRows } from '../../core/packed-rows.js'
import { doubleJson, floatJson } from '../../sinks/formats/java-float.js'
import { createMessageFormat, type MessageFormat } from '../../sinks/formats/messages.js'
import { messageFormatFrom, messageFormatOptions } from '../../sinks/message-format.js'
import { type MessageText, messageTexts, textsOf, tokens } from '../support/format-messages.js'
import { change, column, columnType, keylessTable, pairTable, table } from '../support/format-tables.js'

const NOW_MS = 1_795_418_212_062
const LOG: Origin = {
  kind: 'log',
  txn: { ordinal: 1_008n, previous: 900n, tsUs: 1_795_418_217_429_855n, xid: 3092n },
}
const SNAPSHOT: Origin = { kind: 'snapshot', tsUs: 1_795_418_211_076_038n, at: 800n, xid: 3087n }
const options = z.strictObject(messageFormatOptions)

function formatOf(given: Record<string, unknown>): MessageFormat {
  return createMessageFormat({
    ...messageFormatFrom(options.parse(given), { logicalName: 's' }),
    clock: () => NOW_MS,
    runId: 'run',
  })
}

function rows(schema: TableSchema, origin: Origin, changes: readonly Change[]): ChangeBatch {
  return { kind: 'rows', schema, origin, changes, bytes: 0 }
}

const ORDERS = table(
  'orders',
  [
    column('id', columnType('int64', 'int8'), { nullable: false }),
    column('name', columnType('string', 'text')),
    column('price', columnType('decimal', 'numeric', { precision: 10, scale: 2 })),
    column('paid', columnType('bool', 'bool')),
    column('at', columnType('timestamptz', 'timestamptz')),
    column('blob', columnType('bytes', 'bytea')),
    column('score', columnType('float64', 'float8')),
  ],
  { database: 'shop' },
)
const OLD: Row = ['9007199254740993', 'Ann "é"', '1.50', 't', '2024-02-29 10:34:56.5+00', '\\x00ff', '1e+20']
const NEW: Row = ['9007199254740993', 'Bob', '1.50', null, '2024-02-29 10:34:56.5+00', '\\x00ff', '2']
const KEY_ONLY: Row = OLD.map((value, i) => (i === 0 ? value : undefined))
const CHANGES = [change('c', null, OLD, 1_000), change('u', OLD, NEW, 1_001), change('d', KEY_ONLY, null, 1_002)]

const keys = (messages: readonly MessageText[]) => messages.map(({ key }) => key)
const values = (messages: readonly MessageText[]) => messages.map(({ value }) => value)

t.test('canal-json: fields by name, values as text, old values of changed columns', async (t) => {
  const format = formatOf({ 'value.format': 'canal-json' })
  const got = messageTexts(format, rows(ORDERS, LOG, CHANGES))
  const names = ORDERS.columns.map(({ name, type }) => `"${name}":"${type.native}"`).join(',')
  const event = (data: string, old: string, type: string) =>
    `{"data":[{${data}}],"database":"public","es":1795418217429,"id":0,"isDdl":false,"mysqlType":{${names}},"old":${old},"pkNames":["id"],"sql":"","sqlType":{"id":-5,"name":12,"price":3,"paid":-7,"at":93,"blob":2004,"score":8},"table":"orders","ts":${NOW_MS},"type":"${type}"}`
  const old =
    '"id":"9007199254740993","name":"Ann \\"é\\"","price":"1.50","paid":"true","at":"2024-02-29 10:34:56.5Z","blob":"\\u0000ÿ","score":"1e+20"'
  const now =
    '"id":"9007199254740993","name":"Bob","price":"1.50","paid":null,"at":"2024-02-29 10:34:56.5Z","blob":"\\u0000ÿ","score":"2"'
  const gone = '"id":"9007199254740993","name":null,"price":null,"paid":null,"at":null,"blob":null,"score":null'
  t.strictSame(values(got), [
    event(old, 'null', 'INSERT'),
    event(now, '[{"name":"Ann \\"é\\"","paid":"true","score":"1e+20"}]', 'UPDATE'),
    event(gone, 'null', 'DELETE'),
  ])
  t.strictSame(keys(got), Array(3).fill('{"id":9007199254740993}'))
  t.strictSame(got[0]!.headers, [])
  const [unknown] = messageTexts(format, rows(ORDERS, LOG, [change('u', null, NEW, 1)]))
  t.match(unknown!.value, /"old":\[\{\}\]/, 'no old row: none of it is known')
  const [truncated] = messageTexts(format, { kind: 'truncate', schema: ORDERS, origin: LOG, at: 1, bytes: 0 })
  t.strictSame(truncated!.key, null)
  t.match(truncated!.value, /^\{"data":null,.*"isDdl":true,.*"sql":"TRUNCATE TABLE public.orders",.*"TRUNCATE"\}$/)
  t.strictSame(JSON.parse(truncated!.value!).old, null)
})

t.test('times in UTC, also before Christ and in the last years', async (t) => {
  const schema = table('z', [column('v', columnType('timestamptz', 'timestamptz'))])
  const given = ['4713-01-02 00:00:00+00 BC', '2024-02-29 10:34:56.5+00', '294276-12-31 23:59:59.999999+00', 'infinity']
  const changes = given.map((value, i) => change('c', null, [value], i))
  const written = (options: Record<string, unknown>) =>
    values(messageTexts(formatOf(options), rows(schema, LOG, changes))).map((value) => /"v":"([^"]*)"/.exec(value!)![1])
  const zoned = ['4713-01-02 00:00:00Z BC', '2024-02-29 10:34:56.5Z', '294276-12-31 23:59:59.999999Z', 'infinity']
  const bare = ['4713-01-02 00:00:00 BC', '2024-02-29 10:34:56.5', '294276-12-31 23:59:59.999999', 'infinity']
  t.strictSame(written({ 'value.format': 'canal-json' }), zoned)
  t.strictSame(written({ 'value.format': 'canal-json', 'canal-json.flavor': 'flink' }), zoned)
  t.strictSame(written({ 'value.format': 'maxwell-json' }), bare)
})

t.test('timestamps beyond 64 bits of microseconds are refused where the field has microseconds', async (t) => {
  const schema = table('z', [column('v', columnType('timestamp', 'timestamp'))])
  const batch = rows(schema, LOG, [change('c', null, ['294276-12-31 23:59:59.999999'], 1)])
  for (const name of ['debezium-json', 'cloudevents']) {
    const refused = { code: 'format.value_out_of_range' }
    t.throws(() => formatOf({ 'value.format': name }).encode(batch), refused, name)
    const [message] = messageTexts(formatOf({ 'value.format': name, 'time.precision.mode': 'connect' }), batch)
    t.match(message!.value, '"v":9224318015999999}', `${name}: milliseconds`)
  }
})

t.test("Flink's flavours", async (t) => {
  const row = (score: string, name: string, paid: string) =>
    `"id":9007199254740993,"name":"${name}","price":1.50,"paid":${paid},"at":"2024-02-29 10:34:56.5Z","blob":"AP8=","score":${score}`
  const [old, now] = [row('1.0E20', 'Ann \\"é\\"', 'true'), row('2.0', 'Bob', 'null')]
  const gone = '"id":9007199254740993,"name":null,"price":null,"paid":null,"at":null,"blob":null,"score":null'
  const canal = messageTexts(
    formatOf({ 'value.format': 'canal-json', 'canal-json.flavor': 'flink' }),
    rows(ORDERS, LOG, CHANGES),
  )
  const tail = (type: string) => `"type":"${type}","database":"public","table":"orders","pkNames":["id"]}`
  t.strictSame(values(canal), [
    `{"old":null,"data":[{${old}}],${tail('INSERT')}`,
    `{"old":[{${old}}],"data":[{${now}}],${tail('UPDATE')}`,
    `{"old":null,"data":[{${gone}}],${tail('DELETE')}`,
  ])
  const key = '{"TableId":"public.orders","id":9007199254740993}'
  t.strictSame(keys(canal), [key, key, key])

  const flink = formatOf({
    'debezium-json.flavor': 'flink',
    'sink.add-tableId-to-header-enabled': true,
    'sink.custom-header': 'a:1, b:2',
  })
  const got = messageTexts(flink, rows(ORDERS, LOG, CHANGES))
  const source = '"source":{"db":"public","table":"orders"}}'
  t.strictSame(values(got), [
    `{"before":null,"after":{${old}},"op":"c",${source}`,
    `{"before":{${old}},"after":{${now}},"op":"u",${source}`,
    `{"before":{${gone}},"after":null,"op":"d",${source}`,
  ])
  t.strictSame(got[0]!.headers, [
    ['namespace', ''],
    ['schemaName', 'public'],
    ['tableName', 'orders'],
    ['a', '1'],
    ['b', '2'],
  ])
  const [snapshot] = messageTexts(flink, rows(ORDERS, SNAPSHOT, [change('r', null, OLD, 1)]))
  t.equal(snapshot!.value, values(got)[0], 'a snapshot row is an insert')
  const [moved] = messageTexts(flink, rows(pairTable(), LOG, [change('u', ['1', 'x', 'v'], ['1', 'y', 'v'], 1)]))
  t.equal(moved!.headers.length, 5, 'no header names the other key')
  t.strictSame(keys(messageTexts(flink, rows(keylessTable(), LOG, [change('c', null, ['1', 'x'], 1)]))), [
    '{"TableId":"public.nopk"}',
  ])

  const csv = formatOf({ 'debezium-json.flavor': 'flink', 'key.format': 'csv' })
  const pairs = ['x', 'a,b', 'a "quoted" word', 'longer than twenty-four characters', 'é']
  t.strictSame(
    keys(
      messageTexts(
        csv,
        rows(
          pairTable(),
          LOG,
          pairs.map((b) => change('c', null, ['1', b, null], 1)),
        ),
      ),
    ),
    ['x', '"a,b"', '"a ""quoted"" word"', '"longer than twenty-four characters"', 'é'].map(
      (b) => `public.types_pk2,1,${b}`,
    ),
  )
  t.throws(() => formatOf({ 'key.format': 'csv' }), { code: 'config.invalid' })

  const wrapped = messageTexts(
    formatOf({
      'debezium-json.flavor': 'flink',
      'debezium-json.include-schema.enabled': true,
      'table-id.include-database': true,
    }),
    rows(ORDERS, LOG, CHANGES),
  )
  const { schema, payload } = JSON.parse(wrapped[1]!.value!)
  t.strictSame(
    schema.fields.map((field: { field: string }) => field.field),
    ['before', 'after'],
  )
  t.strictSame(
    schema.fields[0].fields.map((field: { field: string }) => field.field),
    ORDERS.columns.map(({ name }) => name),
  )
  t.equal(payload.op, 'u')
  t.match(wrapped[1]!.key, /^\{"TableId":"shop.public.orders"/)
})

t.test('maxwell-json', async (t) => {
  const format = formatOf({ 'value.format': 'maxwell-json' })
  const got = messageTexts(format, rows(ORDERS, LOG, CHANGES))
  const head = (type: string, offset: number) =>
    `{"database":"public","table":"orders","type":"${type}","ts":1795418217,"xid":3092,"xoffset":${offset},"position":"${1_000 + offset}","data":{`
  const row = (score: string, name: string, paid: string) =>
    `"id":9007199254740993,"name":"${name}","price":1.50,"paid":${paid},"at":"2024-02-29 10:34:56.5","blob":"AP8=","score":${score}`
  t.strictSame(values(got), [
    `${head('insert', 0)}${row('1.0E20', 'Ann \\"é\\"', 'true')}}}`,
    `${head('update', 1)}${row('2.0', 'Bob', 'null')}},"old":{"name":"Ann \\"é\\"","paid":true,"score":1.0E20}}`,
    `${head('delete', 2)}"id":9007199254740993,"name":null,"price":null,"paid":null,"at":null,"blob":null,"score":null}}`,
  ])
  t.equal(got[0]!.key, '{"database":"public","table":"orders","pk.id":9007199254740993}')
  const [read] = messageTexts(format, rows(keylessTable(), SNAPSHOT, [change('r', null, ['1', 'x'], 1)]))
  t.equal(
    read!.value,
    '{"database":"public","table":"nopk","type":"bootstrap-insert","ts":1795418211,"data":{"a":1,"b":"x"}}',
  )
  const inserts = formatOf({ 'value.format': 'maxwell-json', 'maxwell-json.snapshot.type': 'insert' })
  const [insert] = messageTexts(inserts, rows(keylessTable(), SNAPSHOT, [change('r', null, ['1', 'x'], 1)]))
  t.equal(insert!.value, read!.value!.replace('bootstrap-insert', 'insert'))
})

t.test('CloudEvents', async (t) => {
  const structured = messageTexts(
    formatOf({ 'value.format': 'cloudevents' }),
    rows(pairTable(), LOG, [
      change('c', null, ['1', 'x', 'v'], 1_000),
      change('c', null, ['2', 'x', 'v'], 1_000),
      change('d', ['2', 'x', undefined], null, 1_001),
    ]),
  )
  const event = JSON.parse(structured[0]!.value!)
  t.strictSame(Object.keys(event).slice(0, 9), [
    'id',
    'source',
    'specversion',
    'type',
    'time',
    'datacontenttype',
    'iodebeziumop',
    'iodebeziumversion',
    'iodebeziumconnector',
  ])
  t.strictSame(
    { ...event, iodebeziumversion: '' },
    {
      id: 'name:s;lsn:1000;txId:3092',
      source: '/debezium/postgresql/s',
      specversion: '1.0',
      type: 'io.debezium.connector.postgresql.DataChangeEvent',
      time: '2026-11-23T07:16:57.429Z',
      datacontenttype: 'application/json',
      iodebeziumop: 'c',
      iodebeziumversion: '',
      iodebeziumconnector: 'postgresql',
      iodebeziumname: 's',
      iodebeziumtsms: '1795418217429',
      iodebeziumsnapshot: 'false',
      iodebeziumdb: 'fix',
      iodebeziumsequence: '["900","1000"]',
      iodebeziumtsus: '1795418217429855',
      iodebeziumtsns: '1795418217429855000',
      iodebeziumschema: 'public',
      iodebeziumtable: 'types_pk2',
      iodebeziumtxid: '3092',
      iodebeziumlsn: '1000',
      iodebeziumxmin: null,
      iodebeziumorigin: null,
      iodebeziumoriginlsn: null,
      data: { before: null, after: { a: 1, b: 'x', v: 'v' } },
    },
  )
  t.equal(JSON.parse(structured[1]!.value!).id, 'name:s;lsn:1000;txId:3092;row:1', 'ids are unique')
  t.strictSame(structured[0]!.headers[0], ['content-type', 'application/cloudevents+json'])
  t.strictSame(values(structured).slice(3), [null], 'a tombstone')

  const binary = formatOf({ 'value.format': 'cloudevents', 'cloudevents.mode': 'binary' })
  const [one, , moved, , came] = messageTexts(
    binary,
    rows(pairTable(), LOG, [
      change('c', null, ['1', 'x', 'v'], 1_000),
      change('c', null, ['2', 'x', 'v'], 1_001),
      change('u', ['2', 'x', undefined], ['2', 'y', 'v'], 1_002),
    ]),
  )
  t.equal(one!.value, '{"before":null,"after":{"a":1,"b":"x","v":"v"}}')
  const headers = new Map(one!.headers)
  t.equal(headers.get('ce_id'), 'name:s;lsn:1000;txId:3092')
  t.equal(headers.get('ce_specversion'), '1.0')
  t.equal(headers.get('content-type'), 'application/json')
  t.notOk(headers.has('ce_iodebeziumxmin'), 'an attribute without a value is left out')
  t.equal(headers.get('__debezium.context.runId'), 'run')
  t.equal(new Map(moved!.headers).get('__debezium.newkey'), '{"a":2,"b":"y"}')
  t.equal(new Map(came!.headers).get('ce_iodebeziumop'), 'c')
  t.equal(came!.value, '{"before":null,"after":{"a":2,"b":"y","v":"v"}}')
  const read = messageTexts(
    binary,
    rows(
      pairTable(),
      SNAPSHOT,
      [1, 2].map((i) => change('r', null, [`${i}`, '', ''], 800)),
    ),
  )
  t.equal(new Set(read.map((message) => new Map(message.headers).get('ce_id'))).size, 2)
})

t.test('values that were not sent are refused where a format cannot say so', async (t) => {
  const unsent = rows(pairTable(), LOG, [change('u', null, ['1', 'x', undefined], 1)])
  for (const given of [
    { 'value.format': 'canal-json' },
    { 'value.format': 'canal-json', 'canal-json.flavor': 'flink' },
    { 'value.format': 'maxwell-json' },
    { 'debezium-json.flavor': 'flink' },
  ]) {
    t.throws(() => formatOf(given).encode(unsent), { code: 'format.value_not_sent' }, JSON.stringify(given))
  }
  t.match(messageTexts(formatOf({ 'value.format': 'row-json' }), unsent)[0]!.value, /"__unchanged":\["v"\]/)
})

t.test('other key columns', async (t) => {
  const format = formatOf({ 'message.key.columns': 'other.*:x; (.*).types_PK2:v,a' })
  const schema = pairTable()
  const messages = messageTexts(
    format,
    rows(schema, LOG, [
      change('c', null, ['1', 'x', 'v'], 1),
      change('u', ['1', 'x', 'v'], ['1', 'y', 'v'], 2),
      change('u', ['1', 'y', 'v'], ['1', 'y', 'w'], 3),
    ]),
  )
  t.strictSame(keys(messages), [
    '{"v":"v","a":1}',
    '{"v":"v","a":1}',
    '{"v":"v","a":1}',
    '{"v":"v","a":1}',
    '{"v":"w","a":1}',
  ])
  t.strictSame(messages[2]!.headers[0], ['__debezium.newkey', '{"v":"w","a":1}'])
  for (const missing of [
    change('d', ['1', 'x', undefined], null, 1),
    change('u', null, ['1', 'x', 'v'], 1),
    change('u', null, ['1', 'x', undefined], 1),
  ]) {
    t.throws(() => format.encode(rows(schema, LOG, [missing])), { code: 'format.key_not_sent' }, missing.op)
  }
  t.throws(() => formatOf({ 'message.key.columns': 'a.b' }), { code: 'config.invalid' })
  t.throws(() => formatOf({ 'message.key.columns': '(:b' }), { code: 'config.invalid' })
  const misspelt = formatOf({ 'message.key.columns': 'public.types_pk2:nothing' })
  t.throws(() => misspelt.encode(rows(schema, LOG, [])), { code: 'config.invalid' })
  t.throws(() => formatOf({ 'sink.custom-header': 'a' }), { code: 'config.invalid' })
  const odd = table('odd', [column('box', columnType('other', 'box'), { nullable: false })])
  t.throws(() => formatOf({}).encode(rows(odd, LOG, [])), { code: 'format.key_unsupported' })
  t.equal(
    messageTexts(
      formatOf({ 'include.unknown.datatypes': true }),
      rows(odd, LOG, [change('c', null, ['(1,1),(0,0)'], 1)]),
    )[0]!.key,
    `{"box":"${Buffer.from('(1.0,1.0),(0.0,0.0)').toString('base64')}"}`,
  )
})

t.test('packed rows become the same messages as rows of values', async (t) => {
  const all = Array.from({ length: 3_000 }, (_, i): Row => [`${i}`, `text "${i}" é`, i % 3 ? null : `v${i}`])
  for (const given of [
    {},
    { 'debezium-json.include-schema.enabled': true },
    { 'debezium-json.flavor': 'flink' },
    { 'debezium-json.flavor': 'flink', 'key.format': 'csv' },
    { 'value.format': 'row-json' },
    { 'value.format': 'canal-json' },
    { 'value.format': 'canal-json', 'canal-json.flavor': 'flink' },
    { 'value.format': 'maxwell-json' },
    { 'value.format': 'cloudevents' },
  ]) {
    for (const schema of [pairTable(), { ...pairTable(), key: [] }]) {
      const unpacked = rows(
        schema,
        SNAPSHOT,
        all.map((row) => change('r', null, row, 800)),
      )
      const packed = { ...unpacked, packed: pack(all) } as ChangeBatch
      const plain = messageTexts(formatOf(given), unpacked)
      t.equal(plain.length, all.length)
      t.strictSame(messageTexts(formatOf(given), packed), plain, JSON.stringify(given))
    }
  }
})

function pack(all: readonly Row[]): PackedRows {
  const texts = all.flat()
  const bytes = Buffer.concat([Buffer.from(texts.map((v) => v ?? '').join('')), Buffer.alloc(4)])
  const places = new Int32Array(texts.length * 2)
  let at = 0
  texts.forEach((value, i) => {
    const length = value === null ? NULL_LENGTH : Buffer.byteLength(value as string)
    places.set([at, length], 2 * i)
    at += Math.max(length, 0)
  })
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return { count: all.length, rows: () => all, last: () => all.at(-1)!, values: () => ({ bytes, view, places }) }
}

t.test('arrays of every kind of element that has a form of its own', async (t) => {
  const list = (kind: Parameters<typeof columnType>[0], base: string) =>
    column(base, columnType('array', `_${base}`, { element: columnType(kind, base) }))
  const schema = table('lists', [
    list('bool', 'bool'),
    list('float64', 'float8'),
    list('float32', 'float4'),
    list('timestamptz', 'timestamptz'),
    list('bytes', 'bytea'),
  ])
  const row = ['{t,f,NULL}', '{1,1e+20,NaN}', '{0.1}', '{"2024-02-29 10:34:56.5+00"}', '{"\\\\x00ff"}']
  const valueIn = (name: string) =>
    JSON.parse(
      messageTexts(
        formatOf({ 'value.format': name }),
        rows({ ...schema, key: [] }, LOG, [change('c', null, row, 1)]),
      )[0]!.value!,
    )
  t.strictSame(valueIn('debezium-json').after, {
    bool: [true, false, null],
    float8: [1, 1e20, 'NaN'],
    float4: [0.1],
    timestamptz: ['2024-02-29T10:34:56.500000Z'],
    bytea: ['AP8='],
  })
  t.strictSame(valueIn('row-json').bool, [true, false, null])
  t.strictSame(valueIn('maxwell-json').data.bool, [true, false, null])
  t.strictSame(valueIn('maxwell-json').data.bytea, ['AP8='])
})

t.test('natural values (dialect plain) in every format', async (t) => {
  const schema = table(
    'plain',
    [
      column('id', columnType('int64', 'bigint'), { nullable: false }),
      column('flag', columnType('bool', 'bool')),
      column('price', columnType('decimal', 'decimal', { precision: 10, scale: 2 })),
      column('score', columnType('float64', 'double')),
      column('ratio', columnType('float32', 'float')),
      column('blob', columnType('bytes', 'blob')),
      column('day', columnType('date', 'date')),
      column('at', columnType('timestamptz', 'timestamptz', { precision: 6 })),
      column('tags', columnType('array', 'array', { element: columnType('string', 'text') })),
    ],
    { dialect: 'plain' },
  )
  const tags = ['a"\\', null]
  const row: Row = [
    2n ** 62n,
    true,
    '-12.50',
    2,
    0.1,
    Uint8Array.of(1, 255),
    '2024-02-29',
    '2024-02-29 10:34:56.5+00',
    tags,
  ]
  const other: Row = row.map((value, i) =>
    i === 5 ? Uint8Array.of(1, 255) : i === 8 ? [...tags] : i === 3 ? 3 : value,
  )
  const rowOf: Readonly<Record<string, (value: never) => unknown>> = {
    'debezium-json': ({ after }: { after: unknown }) => after,
    'row-json': ({ __op, __table, ...after }: Record<string, unknown>) => after,
    'canal-json': ({ data }: { data: readonly unknown[] }) => data[0],
    'maxwell-json': ({ data }: { data: unknown }) => data,
    cloudevents: ({ data }: { data: { after: unknown } }) => data.after,
  }
  const number = (n: string) => `number ${n}`
  const base = { id: number('4611686018427387904'), flag: true, blob: 'Af8=', tags }
  const debezium = {
    ...base,
    price: '+x4=',
    score: number('2.0'),
    ratio: number('0.1'),
    day: number('19782'),
    at: '2024-02-29T10:34:56.500000Z',
  }
  const plain = {
    ...base,
    price: '-12.50',
    score: number('2'),
    ratio: number('0.1'),
    blob: '\\x01ff',
    day: '2024-02-29',
    at: '2024-02-29T10:34:56.5Z',
  }
  const want: Readonly<Record<string, unknown>> = {
    'debezium-json': debezium,
    cloudevents: debezium,
    'row-json': plain,
    'canal-json': {
      id: '4611686018427387904',
      flag: 'true',
      price: '-12.50',
      score: '2',
      ratio: '0.1',
      blob: '\u0001ÿ',
      day: '2024-02-29',
      at: '2024-02-29 10:34:56.5Z',
      tags: '{"a\\"\\\\",NULL}',
    },
    'maxwell-json': {
      ...base,
      price: number('-12.50'),
      score: number('2.0'),
      ratio: number('0.1'),
      day: '2024-02-29',
      at: '2024-02-29 10:34:56.5',
    },
  }
  for (const [name, take] of Object.entries(rowOf)) {
    const format = formatOf({ 'value.format': name })
    const [message] = messageTexts(format, rows(schema, LOG, [change('c', null, row, 1)]))
    t.same(take(tokens(message!.value!) as never), want[name], name)
    t.match(message!.key, /"(pk\.)?id":4611686018427387904\}$/)
  }
  const [update] = messageTexts(
    formatOf({ 'value.format': 'canal-json' }),
    rows(schema, LOG, [change('u', row, other, 1)]),
  )
  t.match(update!.value, /"old":\[\{"score":"2"\}\]/, 'bytes and arrays are compared by content')
})

t.test('the first and the last row of a snapshot can be marked', async (t) => {
  const schema = pairTable()
  for (const count of [1, 2, 3, 5]) {
    const all = Array.from({ length: count }, (_, i): Row => [`${i}`, 'b', 'v'])
    const plain = rows(
      schema,
      SNAPSHOT,
      all.map((row) => change('r', null, row, 800)),
    )
    for (const batch of [plain, { ...plain, packed: pack(all) } as ChangeBatch]) {
      for (const name of ['debezium-json', 'cloudevents', 'canal-json']) {
        const format = formatOf({ 'value.format': name })
        const marks = { first: 'first_in_data_collection', last: 'last' } as const
        const found = textsOf(format.encode({ ...batch, marks } as ChangeBatch)).map(
          ({ value }) => /napshot":"(\w+)"/.exec(value!)?.[1],
        )
        const want = all.map((_, i) => (i === count - 1 ? 'last' : i === 0 ? 'first_in_data_collection' : 'true'))
        t.strictSame(found, name === 'canal-json' ? all.map(() => undefined) : want, `${name}, ${count} rows`)
        const again = messageTexts(format, batch).map(({ value }) => /napshot":"(\w+)"/.exec(value!)?.[1])
        t.strictSame(again, name === 'canal-json' ? all.map(() => undefined) : all.map(() => 'true'), 'once')
      }
    }
  }
})

t.test('batches of any size, one after the other', async (t) => {
  const format = formatOf({})
  const schema = pairTable()
  for (const count of [5_000, 1, 0, 700]) {
    const changes = Array.from({ length: count }, (_, i) =>
      i % 5 === 4
        ? change('u', [`${i}`, 'old', undefined], [`${i}`, 'new', 'x'.repeat(i)], i)
        : i % 5 === 3
          ? change('d', [`${i}`, 'b', undefined], null, i)
          : change('c', null, [`${i}`, 'b', 'x'], i),
    )
    const messages = messageTexts(format, rows(schema, LOG, changes))
    let at = 0
    for (const { op, before, after } of changes) {
      const expected = op === 'c' ? ['c'] : op === 'd' ? ['d', null] : ['d', null, 'c']
      for (const [i, kind] of expected.entries()) {
        const message = messages[at++]!
        const [a, b] = kind === 'c' ? after! : before!
        const value = message.value === null ? null : JSON.parse(message.value).op
        if (message.key !== `{"a":${a},"b":"${b}"}` || value !== kind) t.fail(`message ${at} of ${count}`)
        const name = message.headers[0]![0]
        const want = op !== 'u' ? /connectorLogicalName/ : i < 2 ? /newkey/ : /oldkey/
        if (!want.test(name)) t.fail(`headers of message ${at}: ${name}`)
      }
    }
    t.equal(at, messages.length)
  }
})

t.test('floating-point numbers as Java spells them', async (t) => {
  // What java.lang.Double and Float print, Java 25.
  const doubles: [number, string][] = [
    [0, '0.0'],
    [-0, '-0.0'],
    [1, '1.0'],
    [100, '100.0'],
    [0.001, '0.001'],
    [0.0001, '1.0E-4'],
    [9_999_999, '9999999.0'],
    [1e7, '1.0E7'],
    [-1e308, '-1.0E308'],
    [5e-324, '4.9E-324'],
    [1e-323, '9.9E-324'],
    [2e23, '2.0E23'],
    [123456789012345680, '1.2345678901234568E17'],
    [Number.NaN, '"NaN"'],
    [Number.NEGATIVE_INFINITY, '"-Infinity"'],
  ]
  for (const [value, text] of doubles) t.equal(doubleJson(value), text)
  const floats: [number, string][] = [
    [1.5, '1.5'],
    [2332903.25, '2332903.2'],
    [518536.125, '518536.12'],

    [2 ** -149, '1.4E-45'],
    [3.4028234663852886e38, '3.4028235E38'],
    [0.1, '0.1'],
    [2 ** -96, '1.2621775E-29'],
    [2 ** 24, '1.6777216E7'],
  ]
  for (const [value, text] of floats) t.equal(floatJson(value), text)
  const schema = table('f', [
    column('d', columnType('float64', 'float8')),
    column('f', columnType('float32', 'float4')),
  ])
  const texts = ['0', '-0', '7', '-1.25', '0.001', '0.0001', '1e+15', '12345678', '1e-07', 'NaN', 'Infinity']
  const got = messageTexts(
    formatOf({}),
    rows(
      schema,
      LOG,
      texts.map((text) => change('c', null, [text, text], 1)),
    ),
  )
  got.forEach(({ value }, i) => {
    const want = `"after":{"d":${doubleJson(Number(texts[i]))},"f":${floatJson(Number(texts[i]))}}`
    t.ok(value!.includes(want), `${texts[i]}: ${want}`)
  })
})

t.test('canal-json and maxwell-json of MySQL', async (t) => {
  const type = (kind: TypeKind, base: string, native: string) => ({ ...columnType(kind, base), native })
  const schema = table(
    'w',
    [
      column('id', type('int64', 'int', 'int unsigned')),
      column('name', type('string', 'varchar', 'varchar(20)')),
      column('at', type('timestamptz', 'timestamp', 'timestamp')),
      column('raw', type('bytes', 'blob', 'blob')),
      column('place', type('other', 'vector', 'vector(2)')),
      column('tags', type('other', 'set', "set('a','b')")),
    ],
    { dialect: 'mysql', namespace: 'shop', id: tableId('shop', 'w') },
  )
  const row: Row = ['1', 'x', '2024-02-29 12:34:56+00', Buffer.from([0xff]), Buffer.from([1, 2]), 'a,b']
  const binlog = { file: 'mb.000003', serverId: 7, thread: 129 }
  const gtid = { source: '29da6ebf-e709-11f1-ab7d-02fc00000001', number: 61n }
  const txn = { ordinal: 5n, previous: 0n, tsUs: 1_000_000n, gtid, binlog }
  const batch = rows(schema, { kind: 'log', txn }, [change('c', null, row, binlogAt(4_096, 3) as number)])
  const value = (name: string, of = batch) =>
    JSON.parse(messageTexts(formatOf({ 'value.format': name }), of)[0]!.value!)
  t.match(value('canal-json'), {
    data: [{ id: '1', name: 'x', at: '2024-02-29 12:34:56', raw: '\u00ff', place: '\u0001\u0002', tags: 'a,b' }],
    database: 'shop',
    gtid: `${gtid.source}:61`,
    mysqlType: { id: 'int unsigned', name: 'varchar(20)', place: 'vector(2)' },
    sqlType: { id: -5, name: 12, at: 93, raw: 2004, place: 2004 },
  })
  t.match(value('maxwell-json'), {
    database: 'shop',
    xid: 61,
    xoffset: 0,
    position: 'mb.000003:4096',
    gtid: `${gtid.source}:61`,
    server_id: 7,
    thread_id: 129,
    data: { id: 1, at: '2024-02-29 12:34:56', raw: '/w==', place: 'AQI=', tags: 'a,b' },
  })
  const { gtid: _, ...unnamed } = txn
  const without = rows(schema, { kind: 'log', txn: unnamed }, [change('c', null, row, binlogAt(2 ** 40, 1) as number)])
  t.match(value('maxwell-json', without), { xid: 5, position: `mb.000003:${2 ** 40}`, gtid: undefined })
  t.equal(value('canal-json', without).gtid, '')
  const maria = { ...txn, gtid: { source: '0', number: 9n } }
  t.equal(value('canal-json', rows(schema, { kind: 'log', txn: maria }, [change('c', null, row, 1)])).gtid, '0-7-9')
  const event = value('debezium-json', without)
  t.match(event.source, { connector: 'mysql', gtid: null, pos: 2 ** 40, row: 1, server_id: 7, thread: 129 })
  t.match(value('cloudevents', without), {
    id: `name:s;file:mb.000003;pos:${2 ** 40};row:1;op:c`,
    iodebeziumconnector: 'mysql',
    iodebeziumserverid: '7',
    iodebeziumfile: 'mb.000003',
    iodebeziumpos: `${2 ** 40}`,
    iodebeziumrow: '1',
    iodebeziumgtid: null,
    iodebeziumthread: '129',
  })
})
