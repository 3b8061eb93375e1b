import { createHash } from 'node:crypto'
import t from 'tap'
import type { RouteEntry, TransformEntry } from '../../config/blocks.js'
import { routeEntry, transformEntry } from '../../config/blocks.js'
import { compileTransform, withFingerprint } from '../../config/transform.js'
import { type Change, type ChangeBatch, type Column, type Row, type TableSchema, tableId } from '../../core/model.js'
import { runPipeline } from '../../core/pipeline.js'
import { parseTablePattern, parseTablePatterns } from '../../core/table-pattern.js'
import { MemoryDatabase } from '../../core/testing/memory-source.js'
import { memorySink } from '../../sinks/memory.js'

function column(name: string, kind: 'int32' | 'string' | 'bytes' = 'string'): Column {
  const native = kind === 'int32' ? 'integer' : kind === 'bytes' ? 'bytea' : 'text'
  const none = { precision: null, scale: null, length: null, element: null, labels: null, domain: null }
  return {
    name,
    type: { kind, native, base: native, ...none },
    nullable: false,
    generated: false,
    defaultValue: 'dflt',
  }
}

function schema(
  name: string,
  columns: readonly Column[],
  key: readonly number[] = [0],
  namespace = 'public',
): TableSchema {
  const id = tableId(namespace, name)
  return withFingerprint({ id, database: 'db', namespace, name, dialect: 'postgres', columns, key, fingerprint: '' })
}

const USERS = schema('users', [column('id', 'int32'), column('email'), column('name'), column('note')])

function rows(of: TableSchema, ...changes: Omit<Change, 'at'>[]): ChangeBatch {
  const origin = { kind: 'snapshot', tsUs: 0n, at: 0n, xid: 0n } as const
  return { kind: 'rows', schema: of, origin, changes: changes.map((c) => ({ ...c, at: 0 })), bytes: 100 }
}

function after(batch: ChangeBatch): (Row | null)[] {
  return batch.kind === 'rows' ? batch.changes.map((c) => c.after) : []
}

const transform = (...rules: unknown[]) =>
  compileTransform([], rules.map((r) => transformEntry.parse(r)) as TransformEntry[], 'ALL_MATCH')
const route = (routes: unknown[], mode: 'ALL_MATCH' | 'FIRST_MATCH' = 'ALL_MATCH') =>
  compileTransform(routes.map((r) => routeEntry.parse(r)) as RouteEntry[], [], mode)
const sha = (text: string) => createHash('sha256').update(text).digest('hex')

t.test('what no rule matches stays the very same object', async (t) => {
  const none = transform({ 'source-table': 'public.other', exclude: 'x' })
  const batch = rows(USERS, { op: 'r', before: null, after: ['1', 'e', 'n', 'o'] })
  t.equal(none.apply(USERS), USERS)
  t.equal(none.batch(batch), batch)
})

t.test('exclude and include', async (t) => {
  const out = transform({ 'source-table': 'public.users', exclude: ['email'] })
  const batch = out.batch(
    rows(USERS, { op: 'u', before: ['1', undefined, undefined, undefined], after: ['1', 'e', 'n', undefined] }),
  )
  t.same(
    batch.schema.columns.map((c) => c.name),
    ['id', 'name', 'note'],
  )
  t.equal(batch.schema, out.apply(USERS), 'one object for one fingerprint')
  t.not(batch.schema.fingerprint, USERS.fingerprint)
  t.same(after(batch), [['1', 'n', undefined]])
  t.same(batch.kind === 'rows' && batch.changes[0]?.before, ['1', undefined, undefined])
  const kept = transform({ 'source-table': 'public.*', include: 'id, n*' }).apply(USERS)
  t.same(
    kept.columns.map((c) => c.name),
    ['id', 'name', 'note'],
  )
})

t.test('the key moves with its columns', async (t) => {
  const table = schema('t', [column('x'), column('b'), column('y'), column('a')], [3, 1])
  t.same(transform({ 'source-table': 'public.t', exclude: 'x' }).apply(table).key, [2, 0])
})

t.test('masks', async (t) => {
  const rule = { 'source-table': 'public.users', mask: { email: 'sha256', name: 'redact', note: 'null' } }
  const out = transform(rule)
  const given: Row[] = [
    ['1', 'e@x', 'n', 'o'],
    ['2', null, null, null],
    ['3', undefined, undefined, undefined],
  ]
  const batch = out.batch(rows(USERS, ...given.map((row) => ({ op: 'r' as const, before: null, after: row }))))
  t.same(after(batch), [
    ['1', sha('e@x'), '***', null],
    ['2', null, null, null],
    ['3', undefined, undefined, undefined],
  ])
  t.ok(batch.bytes >= 100 + 3 * 64)
  const [, email, name, note] = batch.schema.columns
  t.match(email, { type: { kind: 'string', native: 'text' }, defaultValue: null })
  t.match(name, { type: { kind: 'string' }, defaultValue: null }, 'a default would show what is hidden')
  t.match(note, { nullable: true, defaultValue: null })
})

t.test('sha256 of every kind of value, and of a key', async (t) => {
  const table = schema('t', [column('id', 'int32'), column('b', 'bytes')])
  const out = transform({ 'source-table': 'public.t', mask: { '*': 'sha256' } })
  const values: Row[] = [
    [7, Uint8Array.of(1, 2)],
    [8n, true],
    ['x', ['a', 1n]],
  ]
  const batch = out.batch(rows(table, ...values.map((row) => ({ op: 'c' as const, before: null, after: row }))))
  t.same(after(batch), [
    [sha('7'), createHash('sha256').update(Uint8Array.of(1, 2)).digest('hex')],
    [sha('8'), sha('true')],
    [sha('x'), sha('["a","1"]')],
  ])
  t.same(batch.schema.key, [0])
  t.equal(batch.schema.columns[0]?.type.native, 'text')
})

t.test('rename, and rules that add up in order', async (t) => {
  const renamed = transform({ 'source-table': 'public.users', rename: { email: 'mail', name: 'email' } })
  const batch = rows(USERS, { op: 'r', before: null, after: ['1', 'e', 'n', 'o'] })
  t.same(
    renamed.apply(USERS).columns.map((c) => c.name),
    ['id', 'mail', 'email', 'note'],
  )
  const out = renamed.batch(batch)
  t.equal(
    out.kind === 'rows' && out.changes,
    batch.kind === 'rows' && batch.changes,
    'rows are not copied for a new name',
  )
  const both = transform(
    { 'source-table': 'public.users', rename: { email: 'mail' } },
    { 'source-table': 'public.*', mask: { mail: 'redact' }, exclude: 'note' },
  )
  t.same(after(both.batch(batch)), [['1', '***', 'n']])
})

t.test('mistakes name table, column and what exists', async (t) => {
  const fails = (rule: object, pattern: object) =>
    t.throws(() => transform({ 'source-table': 'public.*', ...rule }).apply(USERS), {
      code: 'config.transform',
      ...pattern,
    })
  const columns = 'public.users has no column "emial"; it has id, email, name, note'
  fails({ exclude: ['emial'] }, { message: columns, at: 'transform[0].exclude' })
  fails({ include: ['id', 'emial'] }, { message: columns, at: 'transform[0].include' })
  fails({ mask: { emial: 'sha256' } }, { message: columns, at: 'transform[0].mask' })
  fails({ rename: { emial: 'x' } }, { message: columns, at: 'transform[0].rename' })
  fails({ exclude: ['id'] }, { message: /leaves out the key column id/ })
  fails({ include: ['name'] }, { message: /leaves out the key column id/ })
  fails({ mask: { id: 'null' } }, { message: /masks the key column id/, at: 'transform[0].mask.id' })
  fails({ mask: { id: 'redact' } }, { message: /masks the key column id/ })
  fails({ rename: { email: 'name' } }, { message: /two columns named "name"/ })
  t.doesNotThrow(
    () => transform({ 'source-table': 'public.*', exclude: ['emial*'] }).apply(USERS),
    'a pattern may match nothing',
  )
  const keyless = schema('k', [column('a')], [])
  t.throws(() => transform({ 'source-table': 'public.*', exclude: ['a'] }).apply(keyless), {
    message: /leaves no column/,
  })
})

t.test('a new version of a table is compiled anew', async (t) => {
  const out = transform({ 'source-table': 'public.users', exclude: 'email' })
  const more = schema('users', [...USERS.columns, column('extra')])
  t.same(out.apply(USERS).columns.length, 3)
  t.same(after(out.batch(rows(more, { op: 'c', before: null, after: ['1', 'e', 'n', 'o', 'x'] }))), [
    ['1', 'n', 'o', 'x'],
  ])
  const without = schema(
    'users',
    USERS.columns.filter((c) => c.name !== 'email'),
  )
  t.throws(() => out.batch(rows(without, { op: 'c', before: null, after: ['1', 'n', 'o'] })), {
    code: 'config.transform',
  })
})

t.test('routes', async (t) => {
  const to = (entry: object, table = USERS) => route([{ 'source-table': 'public.*', ...entry }]).apply(table)
  t.match(to({ 'sink-table': 'copy.people' }), { id: 'copy.people', namespace: 'copy', name: 'people', database: 'db' })
  t.match(to({ 'sink-table': 'people' }), { id: 'public.people', namespace: 'public' })
  t.match(to({ 'sink-table': 'x.y.z' }), { id: 'y.z', database: 'x' })
  t.match(to({ 'sink-table': 'ods.ods_<>', 'replace-symbol': '<>' }), { id: 'ods.ods_users' })
  t.match(to({ 'sink-table': 'ods.t_$1' }), { id: 'ods.t_users' }, 'a glob wildcard is a group')
  const odd = schema('a.B', [column('id')])
  t.match(to({ 'sink-table': 'ods.<>', 'replace-symbol': '<>' }, odd), { id: 'ods."a.B"', name: 'a.B' })
  const flink = route([{ 'source-table': 'db.public.(us)(\\.*)', 'sink-table': '$1.$2' }])
  t.match(flink.apply(USERS), { namespace: 'us', name: 'ers' })
  const moved = route([{ 'source-table': 'public.users', 'sink-table': 'a.b' }])
  const batch = rows(USERS, { op: 'r', before: null, after: ['1', 'e', 'n', 'o'] })
  const out = moved.batch(batch)
  t.equal(out.schema.id, 'a.b')
  t.equal(out.kind === 'rows' && out.changes, batch.kind === 'rows' && batch.changes)
  const origin = { kind: 'snapshot', tsUs: 0n, at: 0n, xid: 0n } as const
  t.match(moved.batch({ kind: 'truncate', schema: USERS, origin, at: 0, bytes: 1 }), {
    kind: 'truncate',
    schema: { id: 'a.b' },
  })
})

t.test('tables may not meet in one target, nor one go to two', async (t) => {
  const orders = schema('orders', [column('id')])
  const merged = route([{ 'source-table': 'public.*', 'sink-table': 'all.rows' }])
  merged.apply(USERS)
  merged.apply(schema('users', [...USERS.columns, column('extra')]))
  t.throws(() => merged.apply(orders), {
    code: 'config.route',
    message: 'public.users and public.orders would both go to all.rows, and not by one route with `merge`',
  })
  const onto = route([{ 'source-table': 'public.users', 'sink-table': 'public.orders' }])
  onto.apply(orders)
  t.throws(() => onto.apply(USERS), { code: 'config.route' }, 'onto a table that has no route')
  const two = [
    { 'source-table': 'public.users', 'sink-table': 'a.a' },
    { 'source-table': 'public.*', 'sink-table': 'b.b' },
  ]
  t.throws(() => route(two).apply(USERS), { code: 'config.route', message: /matches route\[0\] and route\[1\]/ })
  t.equal(route(two, 'FIRST_MATCH').apply(USERS).id, 'a.a')
  t.throws(() => route([{ 'source-table': 'public.*', 'sink-table': 'a..b' }]).apply(USERS), { code: 'config.route' })
})

t.test('table patterns', async (t) => {
  const users = { database: 'shop', namespace: 'public', name: 'users' }
  const odd = { database: 'shop', namespace: 'My Schema', name: 'a.b*"c' }
  const cases: [string, boolean, boolean][] = [
    ['public.users', true, true],
    ['shop.public.users', true, true],
    ['other.public.users', false, true],
    ['public.user', false, true],
    ['public.u*', true, false],
    ['public.user?', true, false],
    ['*.*', true, false],
    ['*.*.*', true, false],
    ['"public"."users"', true, true],
    ['"public"."u*"', false, true],
    ['public.\\.*', true, false],
    ['shop.public.\\.*', true, false],
    ['shop.public.(users|orders)\\.*', true, false],
    ['shop.public.us\\.rs', true, false],
    ['public.use\\.', false, false],
  ]
  for (const [text, matches, exact] of cases) {
    const pattern = parseTablePattern(text)
    t.equal(pattern.matches(users), matches, text)
    t.equal(pattern.exact, exact, `${text} names one table`)
  }
  const databases = { 'shop.a.\\.*': 'shop', '"a.b".c.d': 'a.b', 'sh\\.*.a.b': null, '*.a.b': null, 'a.b': null }
  for (const [text, database] of Object.entries(databases)) t.equal(parseTablePattern(text).database, database, text)
  t.ok(parseTablePattern('"My Schema"."a.b*""c"').matches(odd))
  t.ok(parseTablePattern('My Schema.*').matches(odd))
  const list = parseTablePatterns('public.users, public."a,b",public.[x,y]\\.{1,2},')
  t.same(
    list.map((p) => p.text),
    ['public.users', 'public."a,b"', 'public.[x,y]\\.{1,2}'],
  )
  t.equal(parseTablePatterns(['a.b', 'c.d,e.f']).length, 3)
  t.equal(parseTablePattern('*.*').expand(users, '$1_$2'), 'public_users')
  t.equal(parseTablePattern('*.x').expand(users, '$1'), null)
})

t.test('table patterns that cannot be read', async (t) => {
  const fails = (text: string, pattern: object) =>
    t.throws(() => parseTablePattern(text), { code: 'config.table_pattern', ...pattern }, text)
  fails('orders', { fix: /"public\.orders"/ })
  fails('a.b.c.d', { message: /has 4 parts/ })
  fails('a..b', { message: /empty part/ })
  fails('public.[0-9]+', { message: /"\[" has no meaning here/ })
  fails('public.(\\.*', { message: /is not a regular expression/ })
})

t.test('a rule that applies to no captured table is a mistake, before anything is written', async (t) => {
  const orders = schema('orders', [column('id')])
  const rules = [{ 'source-table': 'public.usres, public.o*', mask: { 'email*': 'redact' } }].map((r) =>
    transformEntry.parse(r),
  )
  const routes = [{ 'source-table': 'shop.*', 'sink-table': 'a.b' }].map((r) => routeEntry.parse(r))
  const out = compileTransform(routes, rules, 'ALL_MATCH', (path) => `p.yaml:7:1 ${path.join('.')}`)
  t.match(out.idle([USERS, orders]), [
    { code: 'config.route', message: 'route[0] applies to "shop.*", which no captured table matches' },
    {
      code: 'config.transform',
      message: 'transform[0] applies to "public.usres", which no captured table matches',
      fix: 'Correct the name or remove it. Did you mean "public.users"? Captured are public.users, public.orders.',
      at: 'p.yaml:7:1 transform.0.source-table',
    },
  ])
  t.throws(() => out.start?.([USERS, orders]), {
    exitCode: 2,
    message: /^2 mistakes\n {2}p\.yaml:7:1 route.*\n.*usres/,
  })
  t.doesNotThrow(() => transform({ 'source-table': 'public.users', exclude: 'email' }).start?.([USERS, orders]))
  const database = new MemoryDatabase(USERS)
  const target = memorySink()
  const run = runPipeline({
    name: 'p',
    source: () => database.source('p'),
    sink: () => target,
    transform: transform({ 'source-table': 'public.zzz', mask: { email: 'redact' } }),
    until: 'once',
    signal: AbortSignal.timeout(60_000),
  })
  await t.rejects(run, { code: 'config.transform', message: /"public\.zzz", which no captured table matches/ })
  t.same(target.batches, [])
})

t.test('every wrong column of a rule and of all tables at once', async (t) => {
  const orders = schema('orders', [column('id')])
  const rule = { 'source-table': 'public.*', exclude: ['emial', 'nmae'], mask: { not: 'redact' }, rename: { idd: 'x' } }
  const out = transform(rule)
  const at = 'transform[0].exclude, transform[0].mask, transform[0].rename'
  t.throws(() => out.apply(USERS), {
    message: /^public\.users has no column "emial", "nmae", "not" or "idd"; it has/,
    at,
  })
  t.throws(() => out.start?.([USERS, orders]), {
    message: /public\.users has no column "emial"(.|\n)*public\.orders has no/,
  })
})
