/** Every type through snapshot and stream into another PostgreSQL, judged by the server's own text of the rows. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { describeDifference, tableDifference } from '../support/oracle.js'
import { createDatabase, startPostgres } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const fixture = (name: string) => readFileSync(new URL(`../fixtures/debezium/${name}`, import.meta.url), 'utf8')
const TABLES = ['types', 'types_full', 'types_pk2', 'nopk']

/** Plain statements of a psql script, with its variable set. */
function statements(script: string, table: string): string {
  return script.replaceAll(/^\\.*$/gm, '').replaceAll(':T', table)
}

for (const [zone, version] of [
  ['Europe/Berlin', '15'],
  ['Asia/Shanghai', '18'],
] as const) {
  t.test(`T81 T84 T85 T86 every type, snapshot and stream, PostgreSQL ${version} in ${zone}`, async (t) => {
    const source = await createDatabase(t, { version })
    const target = await createDatabase(t, { version })
    for (const db of [source, target]) {
      await db.query(`alter database ${db.name} set timezone = '${zone}'`)
      await db.query('create extension if not exists hstore')
    }
    await source.query(statements(fixture('fix_pg.sql'), 'types').replaceAll(/^create table types_full\(like.*$/gm, ''))
    // Stored generated columns are in the log from 18 on; before, both sides go without.
    if (version === '15') await source.query('alter table types drop column c_gen')
    await source.query(
      'create table types_full (like types including all); alter table types_full replica identity full',
    )
    // The composite type is a type of its own that the sink does not make.
    await target.query('create type addr as (street text, no int)')
    await source.query(statements(fixture('fix_pg_row.sql'), 'types'))
    const { file } = writePipeline(t, {
      source: {
        type: 'postgres',
        url: source.url,
        tables: TABLES.map((n) => `public.${n}`),
        'no-primary-key': 'full-row',
      },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: source.name },
    })
    const once = await runTidemark(t, ['sync', file, '--once'])
    t.equal(once.code, 0, once.stderr)
    // The same rows again as changes: unchanged TOAST, a key move, values no calendar holds.
    await source.query(statements(fixture('fix_pg_row.sql'), 'types_full'))
    await source.query(`update types set c_int = 44 where id = 1; update types set id = 101 where id = 1`)
    const more = fixture('fix_pg_more.sql')
      .split(/;\s*/)
      .filter((text) => !/add column|after-ddl/.test(text))
    await source.query(statements(more.join(';\n'), ''))
    const caught = await runTidemark(t, ['sync', file, '--until-caught-up'])
    t.equal(caught.code, 0, caught.stderr)
    for (const name of TABLES) {
      const difference = await tableDifference(
        { db: source, table: `public.${name}` },
        { db: target, table: `public.${name}` },
      )
      t.equal(difference, null, `${name}: ${describeDifference(difference)}`)
    }
    const same = `select md5(string_agg(c_timestamptz::text || c_text, ',' order by id)) as sum from types`
    t.same(await source.query(same), await target.query(same))
  })
}

t.test('T81 types that look like others: bpchar, vectors, and names of built-in types', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query(`create type public."date" as enum ('zz', 'aa'); create type public.uuid as (a numeric)`)
  await target.query('create type public.uuid as (a numeric)')
  await source.query(`create table look (k public.uuid primary key, d public."date", c bpchar, cs bpchar[], iv int2vector,
    ov oidvector, ivs int2vector[], b "bit")`)
  const row = (k: string) =>
    `insert into look values (row(${k}), 'zz', 'a  ', '{"b "}', '1 2', '3 4', array['5 6'::int2vector], b'101')`
  await source.query(row('1.0'))
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.look' },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: source.name },
  })
  const first = await runTidemark(t, ['sync', file, '--once'])
  t.equal(first.code, 0, first.stderr)
  // Equal composites of different text, in one transaction: delete and insert of one key.
  await source.query(`${row('2.50')}; delete from look where k = row(2.5)::public.uuid;
    update look set k = row(1.000)::public.uuid, iv = '7'`)
  const last = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  const difference = await tableDifference({ db: source, table: 'public.look' }, { db: target, table: 'public.look' })
  t.equal(difference, null, describeDifference(difference))
  for (const format of ['debezium-json', 'row-json']) {
    const lines = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.look' },
      sink: { type: 'stdout', 'value.format': format },
      pipeline: { name: `${source.name}_${format.slice(0, 3)}` },
    })
    const printed = await runTidemark(t, ['sync', lines.file, '--once'])
    t.equal(printed.code, 0, printed.stderr)
    t.match(printed.stdout, /"d":"zz"/)
    if (format === 'row-json') t.match(printed.stdout, /"iv":"7"/)
  }
})

t.test('T92 a server whose transaction ids have wrapped', async (t) => {
  const server = await startPostgres(t, { version: '15' })
  await server.stop()
  const run = (program: string) => execFileSync('su', ['postgres', '-s', '/bin/sh', '-c', program])
  run(`/usr/lib/postgresql/15/bin/pg_resetwal -e 1 -D ${server.dataDir}`)
  await server.start()
  const source = await createDatabase(t, { server })
  const target = await createDatabase(t, { version: '15' })
  const [xid] = await source.query('select pg_current_xact_id()::text as xid')
  t.ok(BigInt(xid!.xid!) > 1n << 32n, `the next transaction id is ${xid!.xid}`)
  await source.query('create table t (id int primary key, v text)')
  await source.query(`insert into t select i, 'a' from generate_series(1, 5000) i`)
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.t', 'scan.incremental.snapshot.chunk.size': 200 },
    sink: { type: 'postgres', url: target.url },
    pipeline: { name: 'wrapped' },
  })
  const sync = startTidemark(t, ['sync', file])
  for (let i = 0; i < 100; i++) await source.query(`update t set v = v || '.' where id % 100 = ${i}`)
  await until(async () => (await target.query(`select 1 from t where id = 99 and v = 'a.'`).catch(() => [])).length > 0)
  await sync.kill()
  const last = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
  const difference = await tableDifference({ db: source, table: 'public.t' }, { db: target, table: 'public.t' })
  t.equal(difference, null, describeDifference(difference))
})
