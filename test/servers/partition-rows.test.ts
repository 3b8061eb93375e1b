/** Rows that come or go with a partition (1.10 f): a pipeline stops at them, or lets them pass with one warning. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { type Copied, copied, goesOn, stops } from '../support/ddl.js'
import { createDatabase, type PostgresVersion } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const IGNORE = ['--set', 'source.table.partitions=ignore']
/** Partitions of a checkpoint that must stay small. */
const PARTITIONS = 1_000
const TAG_BYTES_MAX = 50_000

const ROOT = `create table x (d int, id int, v text, primary key (d, id)) partition by range (d);
  create table x_0 partition of x for values from (0) to (10);
  create table x_1 partition of x for values from (10) to (20);
  create table x_2 partition of x for values from (20) to (30);
  insert into x select i % 20, i, 'x' from generate_series(1, 100) i;`
const NEXT = 'for values from (30) to (40)'

/** What a partition does that no log shows, and what is said of it. */
const EVENTS: readonly (readonly [what: RegExp, ...statements: string[]])[] = [
  [
    /partition x_3 was attached with rows in it/,
    `create table x_3 (like x); alter table x_3 add primary key (d, id); insert into x_3 values (30, 1, 'lost')`,
    `alter table x attach partition x_3 ${NEXT}`,
    `insert into x values (30, 2, 'kept')`,
  ],
  [
    /partition x_3 was attached with rows in it/,
    `begin; create table x_3 (like x including all); insert into x_3 values (30, 1, 'lost');
     alter table x attach partition x_3 ${NEXT}; insert into x values (30, 2, 'kept'); commit`,
  ],
  [
    /partition x_30 was attached with rows in it/,
    `create table x_3 (like x including all) partition by list (id); create table x_30 partition of x_3 for values in (1);
     insert into x_3 values (30, 1, 'lost')`,
    `alter table x attach partition x_3 ${NEXT}`,
  ],
  [/partition x_0 was detached;/, 'alter table x detach partition x_0'],
  [/partition x_0 was dropped/, 'drop table x_0'],
  [
    /partition x_0 was detached and attached again/,
    'alter table x detach partition x_0',
    `insert into x_0 values (5, 500, 'lost')`,
    'alter table x attach partition x_0 for values from (0) to (10)',
  ],
  [/partition x_1 was truncated/, 'truncate x_1', `insert into x values (15, 500, 'kept')`],
  [/partition x_1 was truncated/, 'truncate x_1'],
  [
    /partition x_1 was rewritten/,
    'alter table x_1 set unlogged',
    `insert into x values (15, 500, 'lost')`,
    'alter table x_1 set logged',
  ],
  [/partition x_0 was dropped; .*x_1 was dropped/, 'drop table x_0; drop table x_1'],
]

/** What happens to partitions every day and must never stop anybody. */
const ROTATION = [
  `create table x_3 partition of x ${NEXT}`,
  `insert into x select 30, i, 'new' from generate_series(1, 50) i`,
  `create table x_4 (like x including all)`,
  'alter table x attach partition x_4 for values from (40) to (50)',
  `insert into x select 40, i, 'new' from generate_series(1, 50) i`,
  `begin; create table x_5 (like x including all); alter table x attach partition x_5 for values from (50) to (60);
   insert into x values (50, 1, 'same transaction'); commit`,
  `create table x_6 partition of x for values from (60) to (70) partition by list (id)`,
  `create table x_61 partition of x_6 for values in (1); insert into x values (60, 1, 'below')`,
  'vacuum full x',
  'truncate x',
  `insert into x select i, i, 'again' from generate_series(0, 60) i where i < 60`,
  'vacuum full x_0',
]

async function each(copy: Copied, statements: readonly string[]): Promise<void> {
  for (const sql of statements) await copy.source.query(sql)
}

/** The catalog query differs before 14, so that the old one runs with the first of each kind. */
const OLD_EVENTS = EVENTS.filter(([what], i) => EVENTS.findIndex(([other]) => other.source === what.source) === i)

for (const [version, events] of [
  ['13', OLD_EVENTS],
  ['18', EVENTS],
] as const satisfies readonly (readonly [PostgresVersion, unknown])[]) {
  t.test(`1.10 f rows that come or go with a partition stop the pipeline, PostgreSQL ${version}`, async (t) => {
    for (const [what, ...statements] of events) {
      const copy = await copied(t, { sql: ROOT, version })
      await each(copy, statements)
      await stops(t, copy, 3, new RegExp(`error postgres\\.partitions: table public\\.x: ${what.source}`))
      if (version === '18') await stops(t, copy, 3, what)
      const ignored = await runTidemark(t, ['sync', copy.file, '--until-caught-up', ...IGNORE])
      t.equal(ignored.code, 0, ignored.stderr)
      t.equal(ignored.stderr.split('ignored, as table.partitions says').length, 2, `one warning: ${ignored.stderr}`)
      const after = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
      t.equal(after.code, 0, after.stderr)
    }
  })

  t.test(`new partitions and VACUUM FULL stop nobody, between runs and while streaming, ${version}`, async (t) => {
    if (version === '18') {
      const between = await copied(t, { sql: ROOT, version })
      for (const sql of ROTATION) {
        await between.source.query(sql)
        await goesOn(t, between)
      }
    }
    const streaming = await copied(t, { sql: ROOT, version, source: { 'heartbeat.interval': '100ms' } })
    const sync = startTidemark(t, ['sync', streaming.file])
    await sync.line(/streaming, /)
    for (const [i, sql] of ROTATION.entries()) {
      await streaming.source.query(sql)
      await streaming.source.query(`insert into x values (0, ${1000 + i}, 'step')`)
      const arrived = () => streaming.target.query(`select 1 from x where id = ${1000 + i}`)
      await until(async () => !sync.running || (await arrived()).length === 1, { what: `${sql}: ${sync.stderr()}` })
    }
    sync.signal('SIGTERM')
    t.equal((await sync.exit()).code, 143, sync.stderr())
    await goesOn(t, streaming)
  })
}

t.test('1.10 f partitions are looked at while the pipeline runs', async (t) => {
  for (const [what, sql] of [
    [/partition x_0 was detached/, 'alter table x detach partition x_0'],
    [/partition x_1 is UNLOGGED/, 'alter table x_1 set unlogged'],
    [/partition x_1 was truncated/, 'truncate x_1'],
  ] as const) {
    const copy = await copied(t, { sql: ROOT })
    const sync = startTidemark(t, ['sync', copy.file])
    await sync.line(/streaming, /)
    await copy.source.query(sql)
    const { code, stderr } = await sync.exit()
    t.equal(code, 3, stderr)
    t.match(stderr, what)
  }
})

t.test('an UNLOGGED partition is refused, or named with ignore', async (t) => {
  const source = await createDatabase(t)
  await source.query(`${ROOT} alter table x_1 set unlogged`)
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.*' },
    sink: { type: 'blackhole' },
    pipeline: { name: source.name },
  })
  t.match(await runTidemark(t, ['check', file]), { code: 3, stdout: /fix: ALTER TABLE public\.x_1 SET LOGGED;/ })
  const ignored = await runTidemark(t, ['check', file, ...IGNORE])
  t.match(ignored, {
    code: 0,
    stdout: /TRUNCATE of a single partition of public\.x are not in the log and are not copied/,
  })
  t.match(ignored.stdout, /its partition public\.x_1 is UNLOGGED/)
})

t.test('a partition that the user may not read is an answer too', async (t) => {
  const copy = await copied(t, {
    sql: ROOT,
    source: { 'publication.name': 'p' },
    before: (s) => s.query('create publication p for table x with (publish_via_partition_root)'),
  })
  const role = `r_${copy.source.name}`
  await copy.source.query(`create role ${role} login replication password 'pw'; grant select on x to ${role}`)
  t.teardown(() => copy.source.query(`drop owned by ${role}; drop role ${role}`).then(() => {}))
  const url = Object.assign(new URL(copy.source.url), { username: role, password: 'pw' }).href
  const as = ['--set', `source.url=${url}`]
  await copy.source.query(`create table x_3 partition of x ${NEXT}; insert into x values (30, 1, 'new')`)
  await goesOn(t, copy, as)
  await copy.source.query(
    `create table x_4 (like x including all); alter table x attach partition x_4 for values from (40) to (50)`,
  )
  const stopped = await runTidemark(t, ['sync', copy.file, '--until-caught-up', ...as])
  t.match(stopped, { code: 3, stderr: /x_4 was attached, and this user may not see.*GRANT SELECT ON x_4/s })
  await copy.source.query(`grant select on x_4 to ${role}`)
  await goesOn(t, copy, as)
})

t.test('a partition that somebody has locked is asked later', async (t) => {
  const copy = await copied(t, { sql: ROOT })
  await copy.source.query('truncate x_1')
  const session = await copy.source.connect()
  await session.query('begin; lock table x_1 in access exclusive mode')
  const locked = await runTidemark(t, ['sync', copy.file, '--until-caught-up'])
  t.equal(locked.code, 0, locked.stderr)
  await session.query('commit')
  await copy.source.query(`insert into x values (15, 500, 'kept')`)
  await stops(t, copy, 3, /partition x_1 was truncated/)
})

t.test(`a checkpoint with ${PARTITIONS} partitions stays small`, async (t) => {
  const source = await createDatabase(t)
  await source.query(`create table measurements (d int, id int, v text, primary key (d, id)) partition by range (d);
    do $do$ begin for i in 1..${PARTITIONS} loop
      execute format('create table measurements_p2026_%s partition of measurements for values from (%s) to (%s)', i, i, i + 1);
    end loop; end $do$; insert into measurements select i, i, 'x' from generate_series(1, ${PARTITIONS}, 2) i`)
  const { file, path } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.measurements', 'scan.startup.mode': 'latest-offset' },
    sink: { type: 'stdout' },
    pipeline: { name: source.name, state: '{{DIR}}/state.json' },
  })
  const run = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(run.code, 0, run.stderr)
  const state = JSON.parse(readFileSync(path('state.json'), 'utf8')) as { tables: Record<string, { tag: string }> }
  const bytes = state.tables['public.measurements']!.tag.length
  t.comment(`${bytes} bytes`)
  t.ok(bytes > PARTITIONS * 10 && bytes < TAG_BYTES_MAX, `${bytes} bytes`)
  await source.query('vacuum full measurements')
  const begun = performance.now()
  const again = await runTidemark(t, ['sync', file, '--until-caught-up'])
  t.equal(again.code, 0, again.stderr)
  t.comment(`after VACUUM FULL of all: ${Math.round(performance.now() - begun)} ms`)
  await source.query('truncate measurements_p2026_7')
  t.equal((await runTidemark(t, ['sync', file, '--until-caught-up'])).code, 3)
})
