import t from 'tap'
import type { ChangeBatch, ColumnType, Row, TableSchema, Value } from '../../core/model.js'
import { daysOf, isoDate, zonedTime, zonedTimestamp } from '../../sinks/formats/calendar.js'
import { unavailableJson } from '../../sinks/formats/debezium-postgres.js'
import { bigintJson, decimalJson, variableDecimalJson } from '../../sinks/formats/decimal-bytes.js'
import { createFormat } from '../../sinks/formats/format.js'
import { parseArray, parseHstore, parseInterval } from '../../sinks/formats/postgres-text.js'
import { decodeRow, decodeValue } from '../../sinks/formats/typed.js'
import { linesOf } from '../support/format-fixtures.js'
import { change, column, columnType, SNAPSHOT, table, typesTable } from '../support/format-tables.js'
import { random, testSeed } from '../support/seed.js'

const seed = testSeed()
t.comment(`TIDEMARK_SEED=${seed}`)
const { below } = random(seed)
/** low <= n <= high */
const integer = (low: number, high: number): number => low + below(high - low + 1)

const debezium = createFormat({ name: 'debezium-json', logicalName: 's' })
const rowJson = createFormat({ name: 'row-json', logicalName: 's' })

function snapshot(schema: TableSchema, rows: readonly Row[]): ChangeBatch {
  return { kind: 'rows', schema, origin: SNAPSHOT, changes: rows.map((row) => change('r', null, row, 1)), bytes: 0 }
}

/** Debezium JSON of many values of one type, as the line holds it. */
function encodeAll(type: ColumnType, values: readonly string[]): string[] {
  const schema = table('one', [column('v', type)])
  return linesOf(
    debezium.encode(
      snapshot(
        schema,
        values.map((value) => [value]),
      ),
    ),
  ).map((line) => line.slice('{"before":null,"after":{"v":'.length, line.indexOf('},"source":')))
}

t.test('decimals: the fast path writes what the exact one does', async (t) => {
  const texts: string[] = [
    '0.0000',
    '-0.0001',
    '-0.0128',
    '0.0127',
    '0.0128',
    '-0.0129',
    '99999999999.9999',
    '-99999999999.9999',
  ]
  for (const edge of [7, 8, 15, 16, 23, 24, 31, 32, 39, 40, 47, 48, 49]) {
    for (const delta of [-1, 0, 1]) {
      const digits = String(2 ** edge + delta).padStart(5, '0')
      const text = `${digits.slice(0, -4)}.${digits.slice(-4)}`
      texts.push(text, `-${text}`)
    }
  }
  for (let i = 0; i < 5_000; i++) {
    const digits = String(integer(0, 10 ** integer(1, 9))) + String(integer(0, 10 ** integer(1, 9)))
    texts.push(`${integer(0, 1) ? '-' : ''}${digits}.${String(integer(0, 9999)).padStart(4, '0')}`)
  }
  const got = encodeAll(columnType('decimal', 'numeric', { precision: 30, scale: 4 }), texts)
  const want = texts.map((text) => bigintJson(BigInt(text.replace('.', ''))))
  t.strictSame(got, want)
  t.strictSame(encodeAll(columnType('decimal', 'numeric'), texts), texts.map(variableDecimalJson))
  for (let i = 0; i < 500; i++) {
    const value = BigInt(integer(-(2 ** 40), 2 ** 40)) * BigInt(integer(0, 2 ** 40))
    const bytes = Buffer.from(JSON.parse(bigintJson(value)) as string, 'base64')
    if (BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`)) !== value) t.fail(`${value} comes back`)
  }
})

t.test('decimals of other scales, and what is refused', async (t) => {
  t.equal(decimalJson('12300', -2), '"ew=="', 'negative scale')
  t.equal(decimalJson('1.5', 4), '"Opg="', 'a default without its zeros')
  t.equal(decimalJson('NaN', 4), 'null')
  t.throws(() => decimalJson('1.23456', 4), { code: 'format.unreadable_value' }, 'digits are never dropped (I7)')
  t.throws(() => encodeAll(columnType('decimal', 'numeric', { precision: 9, scale: 2 }), ['abc']), {
    code: 'format.unreadable_value',
  })
  t.equal(variableDecimalJson('100'), '{"scale":0,"value":"ZA=="}')
  t.equal(variableDecimalJson('0.000'), '{"scale":0,"value":"AA=="}')
  t.equal(variableDecimalJson(`1.${'0'.repeat(16_000)}`), '{"scale":0,"value":"AQ=="}')
  t.strictSame(
    encodeAll(columnType('decimal', 'numeric'), ['1.230', '-5', '0', '12345678901234567890.10', 'NaN', '-Infinity']),
    [
      '{"scale":2,"value":"ew=="}',
      '{"scale":0,"value":"+w=="}',
      '{"scale":0,"value":"AA=="}',
      variableDecimalJson('12345678901234567890.1'),
      'null',
      'null',
    ],
  )
})

t.test('dates and timestamps against JavaScript dates', async (t) => {
  const dates: string[] = []
  const stamps: string[] = []
  const micros: bigint[] = []
  for (let i = 0; i < 5_000; i++) {
    const ms = integer(-62_135_596_800_000, 253_402_300_799_000)
    const digits = integer(0, 6)
    const fraction = digits === 0 ? '' : String(integer(0, 10 ** digits - 1)).padStart(digits, '0')
    const iso = new Date(ms).toISOString()
    dates.push(iso.slice(0, 10))
    stamps.push(`${iso.slice(0, 10)} ${iso.slice(11, 19)}${fraction === '' ? '' : `.${fraction}`}`)
    micros.push(BigInt(Math.floor(ms / 1000)) * 1_000_000n + BigInt(fraction.padEnd(6, '0')))
  }
  t.strictSame(
    encodeAll(columnType('date', 'date'), dates),
    dates.map((text) => String(Date.parse(text) / 86_400_000)),
  )
  t.strictSame(encodeAll(columnType('timestamp', 'timestamp'), stamps), micros.map(String))
  const zoned = stamps.map((text) => `${text}+00`)
  const want = stamps.map(
    (text) =>
      `"${text.slice(0, 10)}T${text.slice(11).replace(/\.?(\d*)$/, (_, d: string) => (text.includes('.') ? `.${d.padEnd(6, '0')}` : `${d}.000000`))}Z"`,
  )
  t.strictSame(encodeAll(columnType('timestamptz', 'timestamptz'), zoned), want)
  for (let day = -800_000; day <= 3_000_000; day += 1_237) {
    const [, sign, year, month, dayOfMonth] = /^([+-]?)(\d+)-(\d+)-(\d+)$/.exec(isoDate(day))!
    if (daysOf(Number(`${sign}${year}`), Number(month), Number(dayOfMonth)) !== day) t.fail(`day ${day}`)
  }
})

t.test('odd moments', async (t) => {
  t.strictSame(
    encodeAll(columnType('timestamp', 'timestamp'), [
      '1970-01-01 00:00:00',
      '1970-01-01 00:00:00.000001',
      '294247-01-10 04:00:54.775807',
      '4713-01-01 00:00:00 BC',
      '-infinity',
    ]),
    ['0', '1', '9223372036854775807', '-210866803200000000', '-9223372036832400000'].map((want, i) =>
      i === 3 ? String(BigInt(daysOf(-4712, 1, 1)) * 86_400_000_000n) : want,
    ),
  )
  t.strictSame(encodeAll(columnType('timestamp', 'timestamp', { precision: 0 }), ['2024-02-29 12:34:56', 'infinity']), [
    '1709210096000',
    '9223372036825200',
  ])
  for (const far of ['294247-01-10 04:00:54.775808', '294276-12-31 23:59:59.999999']) {
    const refused = { code: 'format.value_out_of_range' }
    t.throws(
      () => encodeAll(columnType('timestamp', 'timestamp'), [far]),
      refused,
      'an int64 holds it or it is refused',
    )
  }
  t.strictSame(encodeAll(columnType('timestamp', 'timestamp', { precision: 3 }), ['294276-12-31 23:59:59.999']), [
    '9224318015999999',
  ])
  t.strictSame(encodeAll(columnType('date', 'date'), ['5874897-12-31', '-infinity', '1970-01-01']), [
    String(daysOf(5_874_897, 12, 31)),
    '-2147472691',
    '0',
  ])
  t.strictSame(encodeAll(columnType('time', 'time'), ['24:00:00', '00:00:00.000001', '00:00:01']), [
    '86400000000',
    '1',
    '1000000',
  ])
  t.strictSame(
    encodeAll(columnType('timestamptz', 'timestamptz', { precision: 0 }), [
      '2024-02-29 10:34:56+00',
      '2024-02-29 23:34:56-08',
    ]),
    ['"2024-02-29T10:34:56Z"', '"2024-03-01T07:34:56Z"'],
  )
  t.equal(zonedTimestamp('10000-01-01 00:00:00+00', 3), '+10000-01-01T00:00:00.000Z')
  t.equal(zonedTime('24:00:00+00'), '24:00:00Z')
  t.equal(zonedTime('01:02:03.100+05:30:15'), '19:31:48.1Z')
  for (const bad of [
    'tomorrow',
    '2024-02-29 12:34:5x',
    '2024-0x-29 12:34:56',
    '2024-02-x9 12:34:56',
    'x024-02-29 12:34:56',
    '2024-02-29 12:34:56.1234567',
    '',
  ])
    t.throws(() => encodeAll(columnType('timestamp', 'timestamp'), [bad]), { code: 'format.unreadable_value' }, bad)
})

t.test('intervals in both styles', async (t) => {
  const pairs: [string, string, string][] = [
    ['P1Y2M3DT4H5M6.789S', '1 year 2 mons 3 days 04:05:06.789', '37091106789000'],
    ['PT0S', '00:00:00', '0'],
    ['PT-1.5S', '-00:00:01.5', '-1500000'],
    ['P-1M', '-1 mons', '-2629800000000'],
    ['P-1Y-2M3DT-4H-5M-6S', '-1 years -2 mons +3 days -04:05:06', '-36572706000000'],
    ['P1D', '1 day', '86400000000'],
    ['P178000000Y', '178000000 years', '9223372036854775807'],
  ]
  for (const [iso, verbose, want] of pairs) {
    t.strictSame(parseInterval(iso), parseInterval(verbose), verbose)
    t.strictSame(encodeAll(columnType('interval', 'interval'), [iso, verbose]), [want, want], iso)
  }
  t.throws(() => parseInterval('P'), { code: 'format.unreadable_value' })
  t.throws(() => parseInterval('1 fortnight'), { code: 'format.unreadable_value' })
})

t.test('text of every kind arrives as it is', async (t) => {
  const alphabet = [
    'a',
    'b',
    ' ',
    '"',
    '\\',
    '\n',
    '\u0000',
    '\u001f',
    '\u007f',
    'é',
    '߿',
    'ࠀ',
    '☃',
    '￿',
    '𝄞',
    '😀',
    'plain text',
  ]
  const texts = [
    '',
    '"',
    '\\"',
    'x'.repeat(100_000),
    '😀'.repeat(40_000),
    `${'y'.repeat(16_383)}😀${'z'.repeat(16_383)}𝄞`,
  ]
  for (let i = 0; i < 3_000; i++)
    texts.push(Array.from({ length: integer(0, 60) }, () => alphabet[integer(0, alphabet.length - 1)]).join(''))
  for (let i = 0; i < 300; i++)
    texts.push('ascii only '.repeat(integer(0, 30)) + alphabet[integer(0, alphabet.length - 1)])
  const got = encodeAll(columnType('string', 'text'), texts)
  t.strictSame(
    got.map((json) => JSON.parse(json) as string),
    texts,
  )
  t.strictSame(
    got,
    texts.map((text) => JSON.stringify(text)),
  )
})

t.test('a lone surrogate of a natural value leaves as an escape', async (t) => {
  const schema = table('p', [column('v', columnType('string', 'text'))], { dialect: 'plain' })
  const lines = linesOf(debezium.encode(snapshot(schema, [['a\ud800b']])))
  t.match(lines[0], '"after":{"v":"a\\ud800b"}')
})

t.test('arrays and hstore', async (t) => {
  t.strictSame(parseArray('{{1,2},{NULL,4}}'), [
    ['1', '2'],
    [null, '4'],
  ])
  t.strictSame(parseArray('[0:1]={"NULL","a\\\\b"}'), ['NULL', 'a\\b'])
  t.strictSame(parseArray('{"",{}}'), ['', []])
  for (const bad of ['', '{', '{1', '{1}x', '1,2', '{"a}'])
    t.throws(() => parseArray(bad), { code: 'format.unreadable_value' }, bad)
  t.strictSame(parseHstore('"a"=>"1", "q\\"=>"=>NULL'), [
    ['a', '1'],
    ['q"=>', null],
  ])
  t.strictSame(parseHstore(''), [])
  for (const bad of ['a=>1', '"a"', '"a"=>', '"a"=>"1",'])
    t.throws(() => parseHstore(bad), { code: 'format.unreadable_value' }, bad)
  const uuids = columnType('array', '_uuid', { element: columnType('uuid', 'uuid') })
  t.strictSame(encodeAll(uuids, ['{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}']), [
    '["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",null]',
  ])
  const stamps = columnType('array', '_timestamptz', { element: columnType('timestamptz', 'timestamptz') })
  t.strictSame(encodeAll(stamps, ['{"2024-02-29 10:34:56+00"}']), ['["2024-02-29T10:34:56.000000Z"]'])
  const floats = columnType('array', '_float8', { element: columnType('float64', 'float8') })
  t.strictSame(encodeAll(floats, ['{1.5,NaN,-Infinity,1e+20}']), ['[1.5,"NaN","-Infinity",1e+20]'])
})

t.test('stand-ins for unchanged values', async (t) => {
  const text = '"__debezium_unavailable_value"'
  t.equal(unavailableJson(columnType('json', 'jsonb')), text)
  t.equal(unavailableJson(columnType('bytes', 'bytea')), '"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="')
  t.equal(unavailableJson(columnType('array', '_text', { element: columnType('string', 'text') })), `[${text}]`)
  t.match(unavailableJson(columnType('array', '_int4', { element: columnType('int32', 'int4') })), /^\[95,95,100/)
})

t.test('row-json', async (t) => {
  const schema = table('Orders', [
    column('id', columnType('int64', 'int8')),
    column('price', columnType('decimal', 'numeric', { precision: 18, scale: 4 })),
    column('score', columnType('float64', 'float8')),
    column('at', columnType('timestamptz', 'timestamptz')),
    column('day', columnType('date', 'date')),
    column('doc', columnType('json', 'jsonb')),
    column('raw', columnType('bytes', 'bytea')),
    column('tags', columnType('array', '_text', { element: columnType('string', 'text') })),
    column('pairs', columnType('hstore', 'hstore')),
    column('ok', columnType('bool', 'bool')),
    column('box', columnType('other', 'box')),
    column('cash', columnType('money', 'money')),
  ])
  const row = [
    '9223372036854775807',
    '1.5000',
    'NaN',
    '2024-02-29 10:34:56.5+00',
    '0044-03-15 BC',
    '{"a": 1.0}',
    '\\xdead',
    '{a,NULL,"b c"}',
    '"k"=>NULL',
    't',
    '(1,1),(0,0)',
    '-$1,234.56',
  ]
  const lines = linesOf(
    rowJson.encode({
      ...snapshot(schema, []),
      kind: 'rows',
      changes: [
        change('c', null, row, 1),
        change(
          'u',
          null,
          row.map((value, i) => (i === 5 || i === 6 ? undefined : value)),
          2,
        ),
        change(
          'd',
          row.map((value, i) => (i === 0 ? value : undefined)),
          null,
          3,
        ),
        change(
          'u',
          row.map((_, i) => (i === 0 ? '1' : undefined)),
          row,
          4,
        ),
      ],
    }),
  )
  t.equal(
    lines[0],
    '{"__op":"c","__table":"public.\\"Orders\\"","id":9223372036854775807,"price":"1.5000","score":"NaN","at":"2024-02-29T10:34:56.5Z","day":"-0043-03-15","doc":"{\\"a\\": 1.0}","raw":"\\\\xdead","tags":["a",null,"b c"],"pairs":{"k":null},"ok":true,"box":"(1,1),(0,0)","cash":"-1234.56"}',
  )
  t.match(lines[1], /"pairs":\{"k":null\},.*"__unchanged":\["doc","raw"\]\}$/)
  t.notMatch(lines[1], /"doc":/)
  t.equal(lines[2], '{"__op":"d","__table":"public.\\"Orders\\"","id":9223372036854775807}')
  t.match(lines[3], /^\{"__op":"d".*"id":1\}$/)
  t.match(lines[4], /^\{"__op":"c"/)
  t.equal(lines.length, 5)
  t.strictSame(linesOf(rowJson.encode({ kind: 'truncate', schema, origin: SNAPSHOT, at: 1, bytes: 0 })), [
    '{"__op":"t","__table":"public.\\"Orders\\""}',
  ])
  const odd = ['infinity', '2024-02-29 10:34:56', '0044-03-15 12:00:00 BC']
  const stamps = linesOf(
    rowJson.encode(
      snapshot(
        table('s', [column('v', columnType('timestamp', 'timestamp'))]),
        odd.map((v) => [v]),
      ),
    ),
  )
  t.strictSame(
    stamps.map((line) => (JSON.parse(line) as { v: string }).v),
    ['infinity', '2024-02-29T10:34:56', '-0043-03-15T12:00:00'],
  )
  const days = ['5874897-12-31', '294276-12-31', '10000-01-01', '9999-12-31', '4713-01-01 BC']
  for (const dialect of ['postgres', 'plain'] as const) {
    const dates = table('d', [column('v', columnType('date', 'date'))], { dialect })
    const lines = linesOf(
      rowJson.encode(
        snapshot(
          dates,
          days.map((v) => [v]),
        ),
      ),
    )
    t.strictSame(
      lines.map((line) => (JSON.parse(line) as { v: string }).v),
      ['+5874897-12-31', '+294276-12-31', '+10000-01-01', '9999-12-31', '-4712-01-01'],
      'a date gets no time',
    )
  }
  t.throws(() => rowJson.encode(snapshot(table('r', [column('__op', columnType('string', 'text'))]), [['x']])), {
    code: 'format.reserved_column',
  })
})

t.test('typed values', async (t) => {
  const decode = (type: ColumnType, value: Value) => decodeValue(column('v', type), value as string, 'postgres')
  t.equal(decode(columnType('int64', 'int8'), '9223372036854775807'), 9223372036854775807n)
  t.equal(decode(columnType('int32', 'int4'), '-5'), -5)
  t.equal(decode(columnType('bool', 'bool'), 't'), true)
  t.equal(decode(columnType('decimal', 'numeric'), '1.500'), '1.500')
  t.equal(decode(columnType('float64', 'float8'), '-Infinity'), Number.NEGATIVE_INFINITY)
  t.equal(decode(columnType('timestamp', 'timestamp'), '2024-02-29 12:34:56.123456'), '2024-02-29 12:34:56.123456')
  t.strictSame(decode(columnType('bytes', 'bytea'), '\\x0102'), Uint8Array.of(1, 2))
  t.strictSame(decode(columnType('array', '_int8', { element: columnType('int64', 'int8') }), '{{1,NULL},{2,3}}'), [
    [1n, null],
    [2n, 3n],
  ])
  t.strictSame(decode(columnType('point', 'point'), '(1.5,-2)'), { x: 1.5, y: -2 })
  t.strictSame(decode(columnType('hstore', 'hstore'), '"a"=>NULL'), { a: null })
  t.equal(decode(columnType('money', 'money'), '-$1,234.56'), '-1234.56')
  t.equal(decode(columnType('other', 'oid'), '4294967295'), 4294967295)
  t.equal(decode(columnType('other', 'int4range'), '[1,10)'), '[1,10)')
  t.equal(decode(columnType('int32', 'int4'), null), null)
  const schema = typesTable('types', { generated: false })
  const row = schema.columns.map((_, i) => (i === 0 ? '7' : i === 1 ? null : undefined))
  t.strictSame(decodeRow(schema, row), { id: 7, c_smallint: null })
  const plain = table('p', [column('a', columnType('int64', 'int8'))], { dialect: 'plain' })
  t.strictSame(decodeRow(plain, [5n]), { a: 5n })
})
