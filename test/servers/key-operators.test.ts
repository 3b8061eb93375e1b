/**
 * Keys whose index does not order as the plain operators of pg_catalog would: extension types, operator classes,
 * collations of the index, and types of users that are called like built-in ones.
 */
import t, { type Test } from 'tap'
import { readTables } from '../../connectors/postgres/catalog.js'
import { orderSql, rangeSql } from '../../connectors/postgres/keys.js'
import type { PostgresOptions } from '../../connectors/postgres/options.js'
import { planKeys } from '../../connectors/postgres/plan.js'
import { connectPg, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, type PostgresVersion } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'

interface OperatorCase {
  readonly name: string
  /** Run in the target too. */
  readonly extensions?: readonly string[]
  readonly setup?: string
  readonly columns: string
  /** Of the key column k for row i. */
  readonly key: string
  readonly after?: string
  /** The chunk that waits while rows are written, default 4. */
  readonly chunk?: number
  /** One more write during the snapshot. */
  readonly write?: string
}

const COARSE = `create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`

/** Eight keys that differ in upper and lower case only, spread over the whole order. */
const GROUPS = `md5(((i) / 8)::text) || upper(left('abcdefg', (i) % 8)) || substr('abcdefg', (i) % 8 + 1)`
const MIXED = `case when (i) % 2 = 0 then upper(md5((i)::text)) else md5((i)::text) end`

const CASES: readonly OperatorCase[] = [
  {
    name: 'citext, whose operators are not those of text',
    extensions: ['citext'],
    columns: 'k public.citext primary key',
    key: MIXED,
  },
  {
    name: 'citext in a composite key',
    extensions: ['citext'],
    columns: `a int default 7, k public.citext, b text collate "en_US.utf8" default 'x', primary key (a, k, b)`,
    key: MIXED,
  },
  {
    name: 'a domain over citext',
    extensions: ['citext'],
    setup: 'create domain mail as public.citext',
    columns: 'k mail primary key',
    key: MIXED,
  },
  {
    name: 'ltree, which pg_catalog has no operators for',
    extensions: ['ltree'],
    columns: 'k public.ltree primary key',
    key: `(chr(97 + (i) % 26) || '.' || (i))::public.ltree`,
  },
  {
    name: 'an enum called date',
    setup: `create type public."date" as enum ('zz', 'mm', 'aa', 'qq', 'bb')`,
    columns: 'k public."date", n int, primary key (k, n)',
    key: `(array['zz', 'mm', 'aa', 'qq', 'bb'])[1 + (i) % 5]::public."date"`,
    chunk: 12,
    after: "create sequence sq; alter table k_t alter n set default nextval('sq')",
  },
  {
    name: 'an index with a finer collation than its column',
    setup: COARSE,
    columns: 'k text collate ci not null',
    key: GROUPS,
    after: 'create unique index k_i on k_t (k collate "C"); alter table k_t replica identity using index k_i',
  },
  {
    name: 'an index with a coarser collation than its column',
    setup: COARSE,
    columns: 'k text collate "C" not null',
    key: `(case when (i) % 2 = 0 then 'Key' else 'kEY' end) || (i)`,
    after: 'create unique index k_i on k_t (k collate ci); alter table k_t replica identity using index k_i',
  },
  {
    name: 'an operator class that is not the default',
    columns: 'k text collate "en_US.utf8" not null',
    key: `(case when (i) % 2 = 0 then 'A-' else 'a_' end) || (i)`,
    after: 'create unique index k_i on k_t (k text_pattern_ops); alter table k_t replica identity using index k_i',
  },
  {
    name: 'an operator class that turns the order of integers round',
    setup: `create operator class back for type int4 using btree as operator 1 >, operator 2 >=, operator 3 =,
      operator 4 <=, operator 5 <, function 1 turned(int4, int4)`,
    columns: 'a int not null default 1, k int not null',
    key: 'i',
    after: 'create unique index k_i on k_t (a, k back); alter table k_t replica identity using index k_i',
  },
  {
    name: 'a primary key with INCLUDE',
    columns: 'k int, w int default 1, primary key (k) include (w)',
    key: 'i',
    write: 'update k_t set w = w + 1 where k % 3 = 0',
  },
]

const ROWS = 2_000
const ROUNDS = 12

for (const c of CASES) {
  t.test(`T37 ${c.name}`, async (t) => {
    const source = await createDatabase(t, { version: '15', template: `template template0 lc_collate 'C'` })
    const target = await createDatabase(t, { version: '15' })
    for (const db of [source, target]) {
      for (const name of c.extensions ?? []) await db.query(`create extension ${name}`)
    }
    await source.query(
      `create function turned(int4, int4) returns int4 immutable language sql as 'select pg_catalog.btint4cmp($2, $1)'`,
    )
    if (c.setup) await source.query(c.setup)
    await source.query(`create table k_t (${c.columns}, v text)`)
    for (const statement of c.after?.split(';') ?? []) await source.query(statement)
    const key = (i: string) => c.key.replaceAll(/\bi\b/g, i)
    await source.query(`insert into k_t (k, v) select ${key('i')}, 'first' from generate_series(1, ${ROWS}) i`)
    const { file } = writePipeline(t, {
      source: {
        type: 'postgres',
        url: source.url,
        tables: 'public.k_t',
        'scan.incremental.snapshot.chunk.size': 101,
      },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
    })
    // Stands still inside the snapshot, so that all of these are placed among chunks read, open and to come; the new
    // rows make the chunks that were planned too large, so that their reads end between any two keys.
    const failpoint = { step: 'chunk.opened', nth: c.chunk ?? 4, action: 'stop' } as const
    const sync = startTidemark(t, ['sync', file, '--until-caught-up'], { failpoint })
    await sync.stopped()
    await source.query(`insert into k_t (k, v) select ${key('i')}, 'late' from generate_series(10000, 13000) i`)
    for (let round = 0; round < ROUNDS; round++) {
      const some = (n: number) => `ctid = any (array(select ctid from k_t order by random() limit ${n}))`
      await source.query(`update k_t set v = v || '.' where ${some(200)}`)
      await source.query(`delete from k_t where ${some(20)}`)
      await source.query(`update k_t set k = ${key(`(${50_000 + round}::int)`)} where ${some(1)}`)
    }
    if (c.write) await source.query(c.write)
    sync.signal('SIGCONT')
    const done = await sync.exit()
    t.equal(done.code, 0, done.stderr)
    const difference = await tableDifference({ db: source, table: 'public.k_t' }, { db: target, table: 'public.k_t' })
    t.equal(difference, null, describeDifference(difference))
  })
}

t.test('chunks of a skewed composite key read what they return and not all that shares the first column', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  await source.query('create extension citext; create table k_t (a int, k public.citext, b int, primary key (a, k, b))')
  await source.query(`insert into k_t select 7, 'k' || lpad(i::text, 6, '0'), 1 from generate_series(1, 50000) i`)
  await source.query('vacuum analyze k_t')
  const connection = await connectPg(pgOptionsFromUrl(source.url), { signal: new AbortController().signal })
  const options = { tables: 'public.k_t' } as PostgresOptions
  const [table] = await readTables(connection, options, { version: 150_000, generatedInLog: false })
  const keys = await planKeys(connection, table!, { lo: null, hi: null }, 1_000, 100)
  t.equal(keys.length, 49)
  t.same(keys[30], ['7', 'k031001', '1'])
  const [lo, hi] = [keys[30]!, keys[31]!].map((key) => ({ key, side: 'before' as const }))
  for (const where of [rangeSql(table!, { lo: lo!, hi: hi! }), `${rangeSql(table!, { lo: lo!, hi: null }, 1)}`]) {
    const plan = await connection.query(
      `explain (analyze, format json) select * from only public.k_t ${where} order by ${orderSql(table!, 'public.k_t')} limit 1000`,
    )
    const text = plan[0]![0]!
    t.notMatch(text, /"Sort"/)
    const removed = [...text.matchAll(/"Rows Removed by [A-Za-z ]+": (\d+)/g)].map((match) => Number(match[1]))
    t.ok(Math.max(0, ...removed) < 10, `${where}: ${text}`)
  }
  await connection.close()
})

async function refusal(t: Test, version: PostgresVersion, sql: string): Promise<string> {
  const source = await createDatabase(t, { version })
  for (const statement of sql.split(';')) await source.query(statement)
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.k_t' },
    sink: { type: 'blackhole' },
    pipeline: { name: source.name },
  })
  const check = await runTidemark(t, ['check', file])
  t.equal(check.code, 3, check.stdout + check.stderr)
  return check.stdout + check.stderr
}

t.test('a key that cannot be ordered safely is refused with the reason', async (t) => {
  const finer = await refusal(
    t,
    '15',
    `create extension citext; create table k_t (k citext not null); create unique index k_i on k_t (k text_ops);
     alter table k_t replica identity using index k_i`,
  )
  t.match(finer, /compares column k with operator class pg_catalog\.text_ops, which takes other values for equal/)
  const gist = await refusal(
    t,
    '18',
    'create table k_t (a int4range, b int4range, primary key (a, b without overlaps))',
  )
  t.match(gist, /the index of its key is of type gist, which has no order to read rows in/)
})
