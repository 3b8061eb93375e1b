/** Routes that merge tables: identity, keys, widened types, columns that only some tables have, TRUNCATE. */
import t from 'tap'
import { type RouteEntry, routeEntry } from '../../config/blocks.js'
import { compileTransform, withFingerprint } from '../../config/transform.js'
import type { Change, ChangeBatch, Column, ColumnType, Row, TableSchema } from '../../core/model.js'
import { tableId } from '../../core/model.js'

const U = undefined
const origin = { kind: 'snapshot', tsUs: 0n, at: 0n, xid: 0n } as const

const type = (native: string, more: Partial<ColumnType> = {}): ColumnType => ({
  kind: 'string',
  native,
  base: native.replace(/\W.*/, ''),
  precision: null,
  scale: null,
  length: null,
  element: null,
  labels: null,
  domain: null,
  ...more,
})
const INT = type('int', { kind: 'int32' })
const varchar = (length: number) => type(`varchar(${length})`, { length })
const decimal = (precision: number, scale: number) =>
  type(`decimal(${precision},${scale})`, { kind: 'decimal', precision, scale })

const column = (name: string, of: ColumnType = varchar(10), more: Partial<Column> = {}): Column => ({
  name,
  type: of,
  nullable: false,
  generated: false,
  defaultValue: null,
  ...more,
})

function shard(namespace: string, name: string, columns: readonly Column[], key: readonly number[] = [0]): TableSchema {
  const id = tableId(namespace, name)
  return withFingerprint({ id, database: '', namespace, name, dialect: 'mysql', columns, key, fingerprint: '' })
}

const merging = (more: object) =>
  compileTransform(
    [routeEntry.parse({ 'source-table': 'shop_*.orders_*', 'sink-table': 'shop.orders', ...more }) as RouteEntry],
    [],
    'ALL_MATCH',
  )
const BY_SHARD = { merge: 'by-shard', 'shard-columns': { db: '{schema}', part: '$2' } }
const DISJOINT = { merge: 'disjoint-keys' }

const rows = (of: TableSchema, ...changes: Omit<Change, 'at'>[]): ChangeBatch => ({
  kind: 'rows',
  schema: of,
  origin,
  changes: changes.map((c) => ({ ...c, at: 0 })),
  bytes: 100,
})
const read = (after: Row) => ({ op: 'r', before: null, after }) as const
const changesOf = (batch: ChangeBatch) => (batch.kind === 'rows' ? batch.changes : [])

const A = shard('shop_1', 'orders_x', [column('id', INT), column('note')])
const B = shard('shop_2', 'orders_y', [column('id', INT), column('note')])

t.test('by shard: the identity is part of the key, of old and new rows alike', async (t) => {
  const out = merging(BY_SHARD)
  out.start!([A, B])
  const schema = out.apply(A)
  t.equal(out.apply(B), schema, 'one schema for both')
  t.match(schema, { id: 'shop.orders', key: [0, 1, 2] })
  t.same(
    schema.columns.map(({ name, nullable }) => [name, nullable]),
    [
      ['db', false],
      ['part', false],
      ['id', false],
      ['note', false],
    ],
  )
  const update = { op: 'u', before: ['1', U], after: ['2', U] } as const
  const remove = { op: 'd', before: ['3', U], after: null } as const
  t.same(changesOf(out.batch(rows(B, read(['1', 'n']), update, remove))), [
    { op: 'r', before: null, after: ['shop_2', 'y', '1', 'n'], at: 0 },
    { op: 'u', before: ['shop_2', 'y', '1', U], after: ['shop_2', 'y', '2', U], at: 0 },
    { op: 'd', before: ['shop_2', 'y', '3', U], after: null, at: 0 },
  ])
})

t.test('by shard: tables that nothing tells apart are refused, and names that are taken', async (t) => {
  const same = merging({ merge: 'by-shard', 'shard-columns': { db: 'always' } })
  t.throws(() => same.start!([A, B]), { code: 'config.merge', message: /have the same shard-columns: db = always/ })
  const taken = merging({ merge: 'by-shard', 'shard-columns': { note: '{table}' } })
  t.throws(() => taken.apply(A), { code: 'config.merge', message: /has a column note already/ })
  const problem = (entry: object) =>
    routeEntry.safeParse({ 'source-table': 'a.*', 'sink-table': 'b.c', ...entry }).error?.issues[0]?.message
  t.match(problem({ merge: 'by-shard' }), /needs shard-columns/)
  t.match(problem({ 'shard-columns': { a: '{table}' } }), /a route with `merge`/)
  t.match(problem({ ...DISJOINT, 'shard-columns': { a: '{tabel}' } }), /called \{tabel\}. Did you mean "\{table\}"\?/)
  t.match(problem({ ...DISJOINT, 'shard-columns': { a: '$2' } }), /\$2 stands for a wildcard/)
})

t.test('disjoint keys: the key stays, identity is a column like others', async (t) => {
  const out = merging({ ...DISJOINT, 'shard-columns': { from: '{schema}.{table}' } })
  out.start!([A, B])
  t.same(out.apply(A).key, [1])
  t.same(
    changesOf(out.batch(rows(A, read(['1', 'n'])))).map((c) => c.after),
    [['shop_1.orders_x', '1', 'n']],
  )
  const keyless = merging(BY_SHARD)
  t.same(keyless.apply(shard('shop_1', 'orders_x', [column('a')], [])).key, [], 'no key is made where there was none')
})

t.test('types are widened where one holds the other, else both tables are named', async (t) => {
  const merged = (a: ColumnType, b: ColumnType) => {
    const out = merging(DISJOINT)
    const of = (name: string, v: ColumnType) => shard('shop_1', name, [column('id', INT), column('v', v)])
    out.start!([of('orders_a', a), of('orders_b', b)])
    return out.apply(of('orders_a', a)).columns[1]!.type.native
  }
  const big = type('bigint', { kind: 'int64' })
  const unsigned = type('int unsigned', { kind: 'int64' })
  const label = (...labels: string[]) => type(`enum(${labels})`, { kind: 'enum', labels })
  const fits: [ColumnType, ColumnType, string][] = [
    [INT, big, 'bigint'],
    [unsigned, big, 'bigint'],
    [varchar(10), varchar(20), 'varchar(20)'],
    [varchar(10), type('longtext'), 'longtext'],
    [decimal(10, 2), decimal(12, 2), 'decimal(12,2)'],
    [label('a', 'b'), label('a', 'b', 'c'), 'enum(a,b,c)'],
  ]
  for (const [a, b, expected] of fits) {
    t.equal(merged(a, b), expected)
    t.equal(merged(b, a), expected)
  }
  const misfits: [ColumnType, ColumnType][] = [
    [INT, varchar(10)],
    [INT, unsigned],
    [decimal(10, 2), decimal(12, 3)],
    [label('a', 'b'), label('b', 'a')],
    [varchar(10), { ...varchar(20), collation: 'utf8mb4_general_ci' }],
    [varchar(10), type('char(20)', { length: 20 })],
  ]
  for (const [a, b] of misfits) {
    t.throws(() => merged(a, b), {
      code: 'config.merge',
      message: /shop_1\.orders_a and shop_1\.orders_b both go to shop\.orders, and column v is .* of which neither/,
    })
  }
  const otherKey = shard('shop_2', 'orders_y', [column('id', INT), column('note')], [1])
  t.throws(() => merging(DISJOINT).start!([A, otherKey]), {
    code: 'config.merge',
    message: /different keys: id, and note/,
  })
})

t.test('a column that one table gets first holds in the others what they will show', async (t) => {
  const wider = (of: TableSchema, filled?: string | null) =>
    shard(of.namespace, of.name, [...of.columns, column('n', INT, filled === undefined ? {} : { filled })])
  const after = (batch: ChangeBatch) => changesOf(batch).map((c) => c.after)
  const out = merging(DISJOINT)
  out.start!([A, B])
  const before = out.apply(B)
  t.match(out.batch(rows(wider(A, '5'), read(['1', 'a', '7']))).schema.columns[2], {
    name: 'n',
    nullable: true,
    filled: '5',
  })
  t.not(out.apply(B).fingerprint, before.fingerprint, 'the schema of the others follows')
  t.same(after(out.batch(rows(B, read(['2', 'b'])))), [['2', 'b', '5']])
  t.same(after(out.batch(rows(wider(B, '5'), read(['3', 'c', '8'])))), [['3', 'c', '8']])
  const other = merging(DISJOINT)
  other.start!([wider(A), B])
  t.same(after(other.batch(rows(B, read(['2', 'b'])))), [['2', 'b', null]])
  t.throws(() => other.batch(rows(wider(B, '5'), read(['3', 'c', '8']))), {
    code: 'config.merge',
    message: /shop_2\.orders_y got the column n, and its older rows show '5' there.*and NULL in these rows/,
  })
  t.doesNotThrow(() => other.batch(rows(wider(B, null), read(['3', 'c', '8']))))
})

t.test('a TRUNCATE of one table stops, or leaves the target as it is', async (t) => {
  const truncate = (of: TableSchema): ChangeBatch => ({ kind: 'truncate', schema: of, origin, at: 0, bytes: 1 })
  const out = merging(BY_SHARD)
  out.start!([A, B])
  t.throws(() => out.batch(truncate(B)), {
    code: 'config.merged_truncate',
    message: 'shop_2.orders_y was truncated, and shop.orders holds rows of other tables too',
    fix: /DELETE FROM shop\.orders WHERE db = 'shop_2' AND part = 'y';.*on-truncate: ignore/,
  })
  const ignored = merging({ ...BY_SHARD, 'on-truncate': 'ignore' })
  ignored.start!([A, B])
  t.match(ignored.batch(truncate(B)), { kind: 'rows', changes: [] })
})

t.test('a table that another route sends to the same target is refused', async (t) => {
  const entries = [
    { 'source-table': 'shop_1.*', 'sink-table': 'shop.orders', ...DISJOINT },
    { 'source-table': 'shop_2.*', 'sink-table': 'shop.orders' },
  ].map((entry) => routeEntry.parse(entry) as RouteEntry)
  for (const order of [
    [A, B],
    [B, A],
  ]) {
    const out = compileTransform(entries, [], 'ALL_MATCH')
    out.apply(order[0]!)
    t.throws(() => out.apply(order[1]!), { code: 'config.route', message: /not by one route with `merge`/ })
  }
})
