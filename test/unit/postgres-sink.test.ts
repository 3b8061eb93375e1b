/** The pure parts of the postgres sink: folding, texts, types, keys, options. */
import t from 'tap'
import type { TargetColumn } from '../../sinks/postgres/catalog.js'
import { keyFolding } from '../../sinks/postgres/keys.js'
import { labelProblems } from '../../sinks/postgres/labels.js'
import { pgOptions, postgresSinkOptions } from '../../sinks/postgres/options.js'
import { holds, neededTypes, typeSql } from '../../sinks/postgres/types.js'
import { columnArray, copyText, rowReader, type SqlRow } from '../../sinks/postgres/values.js'
import { Fold } from '../../sinks/table-fold.js'
import { change, schemaOf, typeOf } from '../support/postgres-sink.js'

const { r, c, u, d } = change
const U = undefined

const column = (type: string, more: Partial<TargetColumn> = {}): TargetColumn => ({
  name: 'x',
  type,
  baseType: type,
  castType: type.replace(/\(.*\)/, ''),
  base: type,
  isEnum: false,
  isExtension: false,
  notNull: false,
  hasDefault: false,
  defaultSql: null,
  missing: null,
  generated: false,
  identityAlways: false,
  collation: null,
  deterministic: true,
  ...more,
})

t.test('fold: the phases hold what the changes add up to', async (t) => {
  const fold = new Fold<SqlRow>((row) => row[0]!)
  const add = (change: ReturnType<typeof c>) => fold.add(change as Parameters<Fold<SqlRow>['add']>[0])
  t.ok(fold.empty)
  add(c(['1', 'a', 'b']))
  add(r(['2', 'a', 'b']))
  t.same(fold.take(), {
    moves: [],
    deletes: [],
    patches: [],
    upserts: [
      ['1', 'a', 'b'],
      ['2', 'a', 'b'],
    ],
    onlyInserts: true,
  })
  t.equal(add(u(['3', 'x', U])), true)
  t.equal(add(u(['3', U, 'y'])), true)
  t.equal(add(d(['4', U, U])), true)
  t.equal(add(u(['4', 'x', U])), 'missing')
  t.equal(add(u(['5', U, U], ['3', U, U])), false, 'a key that was touched cannot move before')
  t.equal(add(u(['4', U, U], ['6', U, U])), false, 'nor can a row move onto one')
  t.equal(add(u(['7', U, U], ['6', U, U])), true)
  t.equal(add(c(['6', 'n', 'n'])), true, 'a moved key may be used again')
  const folded = fold.take()
  t.same(folded.moves, [{ from: ['6', U, U], row: ['7', U, U] }])
  t.same([folded.deletes, folded.patches, folded.upserts], [[['4', U, U]], [['3', 'x', 'y']], [['6', 'n', 'n']]])
  t.equal(folded.onlyInserts, false)
  add(c(['1', 'a', 'b']))
  add(c(['1', 'c', 'd']))
  t.equal(fold.take().onlyInserts, false, 'a key that occurs twice keeps rows out of a COPY')
  t.throws(() => add(c(['1', 'a', U])), { code: 'core.bug' })
})

t.test('texts: COPY and arrays escape what means something there', async (t) => {
  const rows = [
    ['a\tb\\\n\r', null, '\\N'],
    ['', 'NULL', '"{,}'],
  ]
  t.equal(copyText(rows), 'a\\tb\\\\\\n\\r\t\\N\t\\\\N\n\tNULL\t"{,}\n')
  t.equal(columnArray(rows, 0), '{"a\tb\\\\\n\r",""}')
  t.equal(columnArray(rows, 1), '{NULL,"NULL"}')
  t.equal(columnArray(rows, 2), '{"\\\\N","\\"{,}"}')
})

t.test('plain values become what the type reads back', async (t) => {
  const list = (element: string) => typeOf(`${element}[]`)
  const schema = schemaOf(
    'p',
    { i: 'bigint', b: 'boolean', f: 'double precision', x: 'bytea', a: list('text'), n: list('bytea') },
    ['i'],
    { dialect: 'plain' },
  )
  const bytes = new Uint8Array([0, 255])
  t.same(rowReader(schema)([12345678901234567890n, true, -0, bytes, ['a"', null, 'b\\'], [bytes]]), [
    '12345678901234567890',
    'true',
    '-0',
    '\\x00ff',
    '{"a\\"",NULL,"b\\\\"}',
    '{"\\\\x00ff"}',
  ])
  t.same(rowReader(schema)([1n, null, Number.NaN, undefined, [], [[bytes], [null]]]), [
    '1',
    null,
    'NaN',
    undefined,
    '{}',
    '{{"\\\\x00ff"},{NULL}}',
  ])
})

t.test('types: existing columns take a value whole or not at all', async (t) => {
  const fits = (want: string, have: string) => holds(typeOf(want), 'postgres', column(have))
  for (const [want, have] of [
    ['integer', 'bigint'],
    ['bigint', 'numeric'],
    ['numeric(10,2)', 'numeric'],
    ['numeric(10,2)', 'numeric(12,3)'],
    ['character varying(5)', 'character varying(6)'],
    ['character varying(5)', 'text'],
    ['uuid', 'text'],
    ['timestamp(3) without time zone', 'timestamp without time zone'],
    ['timestamp(3) without time zone', 'timestamp(4) without time zone'],
    ['timestamp without time zone', 'timestamp(6) without time zone'],
    ['character varying(5)[]', 'character varying(6)[]'],
    ['bit(3)', 'bit(3)'],
    ['bpchar', 'bpchar'],
    ['"bit"', '"bit"'],
  ])
    t.ok(fits(want!, have!), `${want} in ${have}`)
  for (const [want, have] of [
    ['bigint', 'integer'],
    ['numeric', 'numeric(10,2)'],
    ['numeric(10,2)', 'numeric(10,3)'],
    ['numeric(10,2)', 'numeric(10,1)'],
    ['numeric(10,2)', 'bigint'],
    ['character varying(5)', 'character varying(4)'],
    ['text', 'character varying(4)'],
    ['character(3)', 'character(4)'],
    ['json', 'jsonb'],
    ['real', 'double precision'],
    ['timestamp without time zone', 'timestamp(3) without time zone'],
    ['timestamp without time zone', 'timestamp with time zone'],
    ['bit(3)', 'bit(4)'],
    ['text', 'character varying(4)[]'],
  ])
    t.notOk(fits(want!, have!), `${want} in ${have}`)
  const domain = typeOf('integer', { domain: 'shop.amount' })
  t.ok(holds(domain, 'postgres', column('shop.amount', { baseType: 'integer' })))
  t.ok(holds(domain, 'postgres', column('bigint')))
  t.ok(holds(typeOf('public.hstore', { base: 'hstore' }), 'postgres', column('ext.hstore', { isExtension: true })))
})

t.test('types: plain columns and needed types', async (t) => {
  const plain = (kind: Parameters<typeof typeOf>[1]) => typeSql(typeOf('x', kind), 'plain')
  t.equal(plain({ kind: 'decimal', precision: 10, scale: 2 }), 'numeric(10,2)')
  t.equal(plain({ kind: 'decimal' }), 'numeric')
  t.equal(plain({ kind: 'timestamp', precision: 3 }), 'timestamp(3) without time zone')
  t.equal(plain({ kind: 'time', precision: 6 }), 'time without time zone')
  t.equal(plain({ kind: 'string', length: 20 }), 'character varying(20)')
  t.equal(plain({ kind: 'array', element: typeOf('y', { kind: 'int32' }) }), 'integer[]')
  const mood = typeOf('"S".mood', { kind: 'enum', labels: ['a'], domain: 'd.m' })
  t.same(neededTypes(mood, 'postgres'), [
    { kind: 'enum', name: '"S".mood', labels: ['a'] },
    { kind: 'domain', name: 'd.m', over: '"S".mood' },
  ])
  t.same(neededTypes(typeOf('numeric(10,2)'), 'postgres'), [])
  t.same(neededTypes(typeOf('public.hstore', { base: 'hstore' }), 'postgres'), [
    { kind: 'other', name: 'public.hstore', base: 'hstore' },
  ])
})

t.test('types: a renamed label is told from a new one, or nothing is guessed', async (t) => {
  const fix = (want: string, have: string) => labelProblems('mood', [...want], [...have])[0]?.fix
  const add = (label: string, before = '') => `ALTER TYPE mood ADD VALUE '${label}'${before && ` BEFORE '${before}'`};`
  const rename = (from: string, to: string) => `ALTER TYPE mood RENAME VALUE '${from}' TO '${to}';`
  t.equal(fix('ab', 'ab'), undefined)
  t.equal(fix('a', 'ab'), undefined, 'the target may have more')
  t.equal(fix('ab', 'a'), add('b'))
  t.equal(fix('xyab', 'ab'), `${add('x', 'a')} ${add('y', 'a')}`)
  t.equal(fix('bc', 'ac'), rename('a', 'b'))
  t.equal(fix('xyc', 'abc'), `${rename('a', 'x')} ${rename('b', 'y')}`)
  t.equal(fix('xcnd', 'acd'), `${rename('a', 'x')} ${add('n', 'd')}`)
  for (const [want, have] of [
    ['nbc', 'ac'],
    ['xba', 'aby'],
  ] as const) {
    const found = fix(want, have)
    t.match(found, /RENAME VALUE/, `${want} ${have}`)
    t.match(found, /its new name/, `${want} ${have}`)
  }
  t.equal(fix('bxa', 'ab'), add('x', 'a'), 'an earlier label was added at the end')
})

t.test('keys: texts are equal exactly for keys that the server holds for equal', async (t) => {
  const text = (base: string, more: Partial<TargetColumn> = {}) =>
    keyFolding([column(base, { base, ...more })], [0]).text
  for (const value of ['1', '1.0', '1.000']) t.equal(text('numeric')!([value]), '1')
  t.equal(text('numeric')!(['100']), '100')
  t.equal(text('numeric')!(['100.50']), '100.5')
  t.equal(text('float8')!(['-0']), '0')
  t.equal(text('bpchar')!(['a  ']), 'a')
  t.equal(text('text')!(['a  ']), 'a  ')
  t.equal(text('text', { deterministic: false }), null)
  for (const base of ['citext', 'interval', 'jsonb', '_text', 'int4range']) t.equal(text(base), null, base)
  const two = keyFolding([column('text', { base: 'text' }), column('text', { base: 'text' })], [1, 0]).text!
  t.not(two(['a', 'b']), two(['b', 'a']))
  t.not(two(['', 'ab']), two(['b', 'a']))
})

t.test('options: one way to name the server', async (t) => {
  const problems = (value: unknown) => postgresSinkOptions.safeParse(value).error?.issues.map((i) => i.message) ?? []
  t.match(problems({}), [/url/])
  t.match(problems({ url: 'postgres://h/d', port: 1 }), [/either/])
  t.match(problems({ url: 'postgres://h/d', typo: 1 }), [/typo/])
  t.match(problems({ url: 'postgres://h/d', 'fence.timeout': 'soon' }), [/length of time/])
  const options = postgresSinkOptions.parse({ hostname: 'h', database: 'd', 'commit.timeout': '5s' })
  t.equal(options['commit.timeout'], 5_000)
  t.match(pgOptions(options, 'é'.repeat(60)), {
    host: 'h',
    port: 5432,
    user: 'postgres',
    database: 'd',
  })
  t.ok(Buffer.byteLength(pgOptions(options, 'é'.repeat(60)).applicationName) <= 63)
})
