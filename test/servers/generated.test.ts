/** Generated columns that the log lacks: what is computed from a change is what the server itself stored. */
import t, { type Test } from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, type PostgresVersion, type TestDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { type Random, random, testSeed } from '../support/seed.js'
import { until } from '../support/until.js'

/** Words that break quoting, if anything does. */
const WORDS = ['', 'a', `it's`, `back\\slash`, 'Tab\there', 'zeilen\numbruch', '"quoted"', 'ä€𝄞', '{1,2}', 'null', '$1']

/** Expressions over every kind of type, and column names that would capture others. */
const TABLE = `
create type mood as enum ('sad', 'it''s ok', 'happy');
create domain price as numeric(10,2) check (value >= 0);
create domain tags as text[];
create function shout(word text) returns text language sql immutable as 'select upper(word) || ''!''';
create collation by_code (locale = 'C');
create table "G" (
  id int not null,
  "first name" varchar(40),
  v text collate by_code,
  x int,
  "t" numeric(12,4),
  p price,
  m mood,
  list int[],
  words tags,
  doc jsonb,
  at timestamp,
  code char(4),
  bytes bytea,
  untouched text,
  g_text text generated always as (coalesce("first name", 'none') || ' / ' || coalesce(v, '')) stored,
  g_small varchar(3) generated always as (left(v, 2)) stored,
  g_sum numeric(20,3) generated always as (x * "t" + coalesce(p, 0)) stored,
  g_wide bigint generated always as (x) stored,
  g_list int[] generated always as (list || x) stored,
  g_count int generated always as (cardinality(words)) stored,
  g_doc jsonb generated always as (doc || '{"it''s": [1, "\\\\ "]}') stored,
  g_mood text generated always as (case m when 'happy' then 'yes' when 'it''s ok' then 'so so' end) stored,
  g_day date generated always as (at::date) stored,
  g_code text generated always as (code || '.') stored,
  g_hash text generated always as (md5(bytes)) stored,
  g_less bool generated always as (v < "first name") stored,
  g_shout text generated always as (public.shout(v)) stored,
  g_const int generated always as (42) stored,
  "select" text generated always as (v) stored,
  primary key (id))`

const COLUMNS = ['"first name"', 'v', 'x', '"t"', 'p', 'm', 'list', 'words', 'doc', 'at', 'code', 'bytes', 'untouched']

function literal(text: string | null): string {
  return text === null ? 'null' : `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** A value for each of COLUMNS. */
function values(r: Random): string[] {
  const maybe = (text: string) => (r.chance(0.15) ? 'null' : text)
  const word = () => r.pick(WORDS)
  return [
    maybe(literal(word())),
    maybe(literal(word() + word())),
    maybe(`${r.below(2000) - 1000}`),
    maybe(`${(r.next() * 1000 - 500).toFixed(4)}`),
    maybe(`${(r.next() * 100).toFixed(2)}`),
    maybe(literal(r.pick(['sad', `it's ok`, 'happy']))),
    maybe(`array[${r.below(9)}, null, ${r.below(9)}]::int[]`),
    maybe(`array[${literal(word())}, ${literal(word())}]::text[]`),
    maybe(`jsonb_build_object('k', ${literal(word())}, 'n', ${r.below(100)})`),
    maybe(`timestamp '2024-02-29 12:00:00' + interval '1 hour' * ${r.below(50_000)}`),
    maybe(literal(r.pick(['a', 'ab', 'abcd', '']))),
    maybe(`decode(md5('${r.below(1000)}'), 'hex')`),
    maybe(`(select string_agg(md5(i::text), '') from generate_series(${r.below(50)}, 400) i)`),
  ]
}

function statement(r: Random, ids: number, table: string): string {
  const id = r.below(ids)
  const list = values(r)
  const some = COLUMNS.map((name, i) => `${name} = ${list[i]}`).filter(() => r.chance(0.4))
  const set = some.length > 0 ? some.join(', ') : 'x = 1'
  if (r.chance(0.25)) return `delete from ${table} where id = ${id}`
  if (r.chance(0.2)) {
    return `update ${table} set id = ${ids + r.below(ids)}, ${set} where id = ${id} and not exists (select from ${table} where id >= ${ids})`
  }
  if (r.chance(0.5)) return `update ${table} set ${set} where id between ${id} and ${id + 5}`
  return `insert into ${table} (id, ${COLUMNS.join(', ')}) values (${id}, ${list.join(', ')}) on conflict (id) do update set ${set}`
}

async function rounds(db: TestDatabase, r: Random, tables: readonly string[], count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const work = Array.from({ length: 1 + r.below(4) }, () => statement(r, 200, r.pick(tables)))
    await db.query(`begin; ${work.join('; ')}; commit`)
  }
}

function pipeline(t: Test, source: TestDatabase, target: TestDatabase, tables: string | string[], more: object = {}) {
  return writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables, 'generated.columns': 'compute', ...more },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
  }).file
}

async function same(t: Test, source: TestDatabase, target: TestDatabase, table: string): Promise<void> {
  // Not the table itself: its column "t" would capture the oracle's alias.
  const whole = `(select whole::text as whole from ${table} whole)`
  const difference = await tableDifference({ db: source, table: whole }, { db: target, table: whole })
  t.equal(difference, null, describeDifference(difference))
}

const VERSIONS: readonly PostgresVersion[] = ['13', '15', '16']

for (const version of VERSIONS) {
  t.test(`T81 random rows: snapshot, stream and server agree, PostgreSQL ${version}`, async (t) => {
    const seed = testSeed()
    t.comment(`TIDEMARK_SEED=${seed}`)
    const r = random(seed)
    const source = await createDatabase(t, { version })
    const target = await createDatabase(t, { version })
    await source.query(TABLE)
    await source.query('create table "G full" (like "G" including all); alter table "G full" replica identity full')
    const tables = ['"G"', '"G full"']
    await rounds(source, r, tables, version === '15' ? 200 : 40)
    const file = pipeline(t, source, target, ['public.G', 'public.G full'])
    const once = await runTidemark(t, ['sync', file, '--once'])
    t.equal(once.code, 0, once.stderr)
    for (const table of tables) await same(t, source, target, table)
    await rounds(source, r, tables, version === '15' ? 400 : 80)
    const caught = await runTidemark(t, ['sync', file, '--until-caught-up'])
    t.equal(caught.code, 0, caught.stderr)
    for (const table of tables) await same(t, source, target, table)
    t.ok(Number((await source.query('select count(*) as n from "G"'))[0]!.n) > 20, 'rows to compare')
    const check = await runTidemark(t, ['check', file])
    t.match(check.stdout + check.stderr, /generated columns g_text, g_small, .* are computed/)
    t.match(check.stdout + check.stderr, /g_text cannot be computed from an update that leaves a long value/)
  })
}

t.test('virtual columns, which no log has, PostgreSQL 18', async (t) => {
  const source = await createDatabase(t, { version: '18' })
  const target = await createDatabase(t, { version: '18' })
  await source.query(
    'create table t (id int primary key, a int, v int generated always as (a * 2) virtual, s int generated always as (a * 3) stored)',
  )
  await source.query('insert into t (id, a) select i, i from generate_series(1, 100) i')
  const file = pipeline(t, source, target, 'public.t')
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  await source.query('update t set a = a + 5 where id < 50; insert into t (id, a) values (200, null)')
  const caught = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(caught.code, 0, caught.stderr)
  await same(t, source, target, 't')
})

t.test('a generated key, and before-images, under REPLICA IDENTITY FULL', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query(`create table t (a int, b text, k text generated always as ('k' || a) stored primary key)`)
  await source.query(`insert into t select i, 'b' || i from generate_series(1, 300) i`)
  const file = pipeline(t, source, target, 'public.t')
  const refused = await runTidemark(t, ['sync', file, '--once'])
  t.equal(refused.code, 3, refused.stderr)
  t.match(refused.stderr, /its key has a generated column/)
  await source.query('alter table t replica identity full')
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  await source.query(
    `update t set a = a + 1000 where a < 50; delete from t where a between 100 and 120; update t set b = 'x' where a = 60`,
  )
  const caught = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(caught.code, 0, caught.stderr)
  await same(t, source, target, 't')
})

t.test('a long value that was not sent: alone it changes nothing, beside a sent one it stops', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  const long = `(select string_agg(md5(i::text), '') from generate_series(1, 500) i)`
  await source.query(`create table t (id int primary key, title text, body text, size int generated always as (length(body)) stored);
    insert into t select i, 'title', ${long} from generate_series(1, 20) i`)
  await source.query(`create table u (id int primary key, title text, body text, total int generated always as (length(title || body)) stored);
    insert into u select i, 'title', ${long} from generate_series(1, 20) i`)
  const file = pipeline(t, source, target, ['public.t', 'public.u'])
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  await source.query(
    `update t set title = 'new' where id < 10; update t set id = 100 where id = 11; update u set body = 'short' where id = 1`,
  )
  const caught = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(caught.code, 0, caught.stderr)
  await same(t, source, target, 't')
  await same(t, source, target, 'u')
  await source.query(`update u set title = 'longer title' where id = 2`)
  const stopped = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(stopped.code, 3, stopped.stderr)
  t.match(stopped.stderr, /generated column total of public\.u depends on title, body/)
  t.match(stopped.stderr, /ALTER TABLE public\.u REPLICA IDENTITY FULL/)
})

t.test('what cannot be computed is refused or stops, and DROP EXPRESSION is seen', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query('create table o (id int primary key, g oid generated always as (tableoid) stored)')
  const refused = await runTidemark(t, ['sync', pipeline(t, source, target, 'public.o'), '--once'])
  t.equal(refused.code, 3, refused.stderr)
  t.match(refused.stderr, /depends on tableoid/)
  await source.query(`create function other(n int) returns int language sql immutable as 'select n + 1';
    create function f(n int) returns int language plpgsql immutable as 'begin return other(n); end';
    create table t (id int primary key, n int, g int generated always as (f(n)) stored); insert into t values (1, 1)`)
  const file = pipeline(t, source, target, 'public.t')
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  await source.query('update t set n = 2')
  const failed = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(failed.code, 3, failed.stderr)
  t.match(failed.stderr, /computing generated column g of public\.t from a change failed: .*other/)
  await source.query('alter function f(int) set search_path = public')
  const caught = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(caught.code, 0, caught.stderr)
  await same(t, source, target, 't')
  await source.query('update t set n = 3; alter table t alter g drop expression; update t set g = 7')
  const gone = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(gone.code, 3, gone.stderr)
  t.match(gone.stderr, /column g of public\.t was a generated one.*ALTER COLUMN \.\.\. DROP EXPRESSION/)
})

t.test('ALTER TABLE while the pipeline runs', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query('create table t (id int primary key, a int, g int generated always as (a * 2) stored)')
  await source.query('insert into t select i, i from generate_series(1, 100) i')
  const sync = startTidemark(t, ['sync', pipeline(t, source, target, 'public.t', { 'heartbeat.interval': '200ms' })])
  const arrived = (where: string) => async () =>
    (await target.query(`select 1 from t where ${where}`).catch(() => [])).length > 0
  await until(arrived('id = 100'))
  await source.query('update t set a = 500 where id = 1')
  await until(arrived('id = 1 and g = 1000'))
  await target.query('alter table t add column b text')
  await source.query(`alter table t add column b text; update t set a = 600, b = 'new' where id = 2`)
  await until(arrived(`id = 2 and g = 1200 and b = 'new'`))
  await source.query(`alter table t alter g drop expression; update t set g = 5 where id = 3`)
  await until(arrived('id = 3 and g = 5'))
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143, sync.stderr())
  await same(t, source, target, 't')
})

t.test('values without a sink that would round them, and rows from before a rename', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  await source.query(
    `create table t (id int primary key, a int, n int, g int generated always as (a * 2) stored, h int generated always as (n * 3) stored, r numeric(6,1) generated always as (a / 3.0) stored)`,
  )
  await source.query('insert into t values (1, 1)')
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.t', 'generated.columns': 'compute' },
    sink: { type: 'stdout', 'value.format': 'row-json' },
    pipeline: { name: source.name, state: '{{DIR}}/state' },
  })
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  await source.query(
    'update t set a = 5; update t set n = 4; alter table t rename a to b; alter table t rename n to a; update t set b = 6, a = 9',
  )
  // Lines have no columns under whose names old values would stay.
  const ignore = ['--set', 'source.table.rewrites=ignore']
  const caught = await runTidemark(t, ['sync', file, '--until-caught-up', ...ignore])
  t.equal(caught.code, 0, caught.stderr)
  const rows = caught.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(rows, [
    { a: 5, n: null, g: 10, h: null, r: '1.7' },
    { a: 5, n: 4, g: 10, h: 12, r: '1.7' },
    { a: 9, b: 6, g: 12, h: 27, r: '2.0' },
  ])
})
