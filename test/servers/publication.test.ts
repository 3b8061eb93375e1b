/** The publication changed behind a pipeline's back, and the publications and slots of runs that keep nothing. */
import t, { type Test } from 'tap'
import { changes, dropChanges } from '../../index.js'
import { type Copied, copied, goesOn, stops } from '../support/ddl.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, type TidemarkProcess, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

const CHANGED = /error postgres\.publication: public\.x had been taken out of publication/
const IGNORE = ['--set', 'source.table.rewrites=ignore']

/** Each takes table x out of a publication, or some of its changes, and puts all back. */
const PUT_BACK: readonly ((p: string) => readonly string[])[] = [
  (p) => [`alter publication ${p} drop table x`, CHANGES, `alter publication ${p} add table x`],
  (p) => [
    `alter publication ${p} set (publish = 'insert')`,
    CHANGES,
    `alter publication ${p} set (publish = 'insert, update, delete, truncate')`,
  ],
]
const CHANGES = `insert into x values (100, 'lost', 1); delete from x where id = 5`

const published = (db: TestDatabase) =>
  db.query('select pubname from pg_publication order by 1').then((rows) => rows.map((r) => r.pubname))

async function streaming(copy: Copied, process: TidemarkProcess): Promise<void> {
  await copy.source.query('update x set a = 100 where id = 1')
  await until(async () => (await copy.target.query('select 1 from x where a = 100')).length === 1, {
    what: `streaming: ${process.stderr()}`,
  })
}

t.test('a publication that was changed and put back stops, while streaming and between runs', async (t) => {
  for (const statements of PUT_BACK) {
    const running = await copied(t)
    const sync = startTidemark(t, ['sync', running.file])
    await streaming(running, sync)
    for (const sql of statements(`tidemark_${running.source.name}`)) await running.source.query(sql)
    const { code, stderr } = await sync.exit()
    t.equal(code, 3, stderr)
    t.match(stderr, CHANGED)
    await stops(t, running, 3, CHANGED)
    const stopped = await copied(t)
    for (const sql of statements(`tidemark_${stopped.source.name}`)) await stopped.source.query(sql)
    await stops(t, stopped, 3, CHANGED)
    await stops(t, stopped, 3, CHANGED)
  }
})

t.test('a given publication by schema or of all tables is watched too', async (t) => {
  for (const [made, ...statements] of [
    ['for all tables', 'drop publication p', CHANGES, 'create publication p for all tables'],
    [
      'for tables in schema public',
      'alter publication p drop tables in schema public',
      CHANGES,
      'alter publication p add tables in schema public',
    ],
  ]) {
    const copy = await copied(t, {
      before: (source) => source.query(`create publication p ${made}`),
      source: { 'publication.name': 'p' },
    })
    await copy.source.query(`insert into x values (50, 'kept', 1)`)
    await goesOn(t, copy)
    for (const sql of statements) await copy.source.query(sql)
    await stops(t, copy, 3, CHANGED)
  }
})

const RULES = [
  'for all tables with (publish_via_partition_root)',
  'for tables in schema public with (publish_via_partition_root)',
]
const byRule = (t: Test, rule: string, sql?: string) =>
  copied(t, {
    ...(sql === undefined ? {} : { sql }),
    before: (source) => source.query(`create publication p ${rule}; create schema s; create table s.y (id int)`),
    source: { 'publication.name': 'p', tables: 'public.x' },
  })

t.test('what takes a table out of the rule of a given publication for a while stops', async (t) => {
  const narrow = `create table x (id int primary key, a int); insert into x select i, i from generate_series(1, 20) i`
  const lost = 'insert into x values (100, 1)'
  for (const [what, sql, ...statements] of [
    [/public\.x was rewritten/, undefined, 'alter table x set unlogged', CHANGES, 'alter table x set logged'],
    [/public\.x was rewritten/, narrow, 'alter table x set unlogged', lost, 'alter table x set logged'],
    [
      /public\.x seems to have been the partition of another table/,
      undefined,
      'create table r (id int, c text, a int) partition by range (id); alter table r attach partition x default',
      CHANGES,
      'alter table r detach partition x',
    ],
  ] as const) {
    for (const rule of RULES) {
      const copy = await byRule(t, rule, sql)
      for (const sql of statements) await copy.source.query(sql)
      await stops(t, copy, 3, new RegExp(`error postgres\\.publication: ${what.source}`))
      const passed = await runTidemark(t, ['sync', copy.file, '--until-caught-up', ...IGNORE])
      t.equal(passed.code, 0, passed.stderr)
      t.equal((await runTidemark(t, ['sync', copy.file, '--until-caught-up'])).code, 0, 'it is said once')
    }
  }
  const moved = await byRule(t, RULES[1]!)
  await moved.source.query('alter table x set schema s')
  await moved.source.query(`insert into s.x values (100, 'lost', 1)`)
  await moved.source.query('alter table s.x set schema public')
  await stops(t, moved, 3, CHANGED)
  for (const [what, sql] of [
    [/public\.x is UNLOGGED/, 'alter table x set unlogged'],
    [
      /public\.x was attached to another table/,
      'create table r (id int, c text, a int) partition by range (id); alter table r attach partition x default',
    ],
  ] as const) {
    const running = await byRule(t, RULES[0]!)
    const sync = startTidemark(t, ['sync', running.file])
    await streaming(running, sync)
    await running.source.query(sql)
    t.match(await sync.exit(), { code: 3, stderr: what })
  }
})

t.test('what changes nothing of a table in a publication by rule goes on, and the rest is said', async (t) => {
  for (const rule of RULES) {
    const copy = await byRule(t, rule)
    t.match(await runTidemark(t, ['check', copy.file]), { code: 0, stdout: /p publishes tables by a rule/ })
    for (const sql of [
      'vacuum full x',
      'truncate x',
      `insert into x values (1, 'new', 1)`,
      'alter table x alter a set not null',
      'alter table x alter a drop not null; alter table x alter c set default 5',
      'cluster x using x_pkey',
      'delete from x',
      'vacuum full x',
    ]) {
      await copy.source.query(sql)
      t.match(await goesOn(t, copy), /p publishes tables by a rule/)
    }
  }
})

t.test(
  'what leaves nothing out of a publication goes on: other tables, a second way in, an owner by option',
  async (t) => {
    const copy = await copied(t, {
      before: (source) => source.query('create publication p for table x; create table y (id int primary key)'),
      source: { 'publication.name': 'p', tables: 'public.x' },
    })
    const { source } = copy
    for (const sql of [
      'alter publication p add table y',
      'alter publication p add tables in schema public',
      'alter publication p drop table y',
      'alter publication p set table x, tables in schema public',
    ]) {
      await source.query(sql)
      await source.query('update x set a = a + 1')
      await goesOn(t, copy)
    }
    const owner = `o_${source.name}`
    await source.query(`create role ${owner} superuser; alter publication p owner to ${owner}`)
    t.teardown(async () => {
      await source.query(`drop publication if exists p; drop role ${owner}`)
    })
    await stops(t, copy, 3, CHANGED)
    await goesOn(t, copy, IGNORE)
    await goesOn(t, copy)
  },
)

t.test('a table that joins a pipeline is not taken for one that was out, until it is', async (t) => {
  const copy = await copied(t, { source: { 'heartbeat.interval': '1h' } })
  await copy.source.query('create table y (id int primary key); insert into y values (1)')
  const sync = startTidemark(t, ['sync', copy.file])
  const arrived = (id: number) => async () =>
    (await copy.target.query('select 1 from y where id = $1', [id]).catch(() => [])).length === 1
  await until(arrived(1))
  await copy.source.query('insert into y values (2)')
  await until(arrived(2))
  sync.signal('SIGTERM')
  t.equal((await sync.exit()).code, 143, sync.stderr())
  await goesOn(t, copy)
  await copy.source.query('create table z (id int primary key)')
  await goesOn(t, copy)
  const name = `tidemark_${copy.source.name}`
  await copy.source.query(`alter publication ${name} drop table z`)
  await copy.source.query(`insert into z values (1)`)
  await copy.source.query(`alter publication ${name} add table z`)
  await stops(t, copy, 3, /public\.z had been taken out/)
})

t.test(
  'a table that was taken out and put back at once is copied anew, also by a run that had nothing to do',
  async (t) => {
    for (const args of [['--once'], ['--until-caught-up']]) {
      const copy = await copied(t, { sql: `create table x (id int primary key); create table y (id int primary key)` })
      const { source, target } = copy
      await source.query('insert into y values (1)')
      await goesOn(t, copy)
      const without = await runTidemark(t, ['sync', copy.file, ...args, '--set', 'source.tables.exclude=public.y'])
      t.equal(without.code, 0, without.stderr)
      await source.query('insert into y values (2)')
      await target.query('truncate y')
      await goesOn(t, copy)
      t.equal((await target.query('select 1 from y')).length, 2)
    }
  },
)

t.test('runs that keep nothing leave no publication, and remove what a killed one left', async (t) => {
  const source = await createDatabase(t)
  await source.query('create table a (id int primary key); insert into a values (1)')
  const name = source.name
  const { file } = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.*' },
    sink: { type: 'stdout' },
    pipeline: { name },
  })
  const killed = startTidemark(t, ['sync', file])
  const living = startTidemark(t, ['sync', file])
  const both = async () => (await published(source)).length === 2 && killed.stdout() !== '' && living.stdout() !== ''
  await until(both, { what: 'both run' })
  await killed.kill()
  await source.query('create publication tidemark_keep for table a')
  const run = await runTidemark(t, ['sync', file, '--once'])
  t.equal(run.code, 0, run.stderr)
  await until(async () => (await published(source)).length === 2, { what: 'only the living one has a publication' })
  await source.query('insert into a values (2)')
  await until(() => /"id":2/.test(living.stdout()), { what: 'the living one goes on' })
  for await (const batch of changes({ source: { type: 'postgres', url: source.url }, tables: 'public.a', name }))
    if (batch.events.length > 0) break
  t.equal((await published(source)).length, 2)
  await living.kill()
  const held = `select 1 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`
  await until(async () => (await source.query(held)).length === 0, { what: 'its session is over' })
  const dropped = await runTidemark(t, ['drop', file, '--yes'])
  t.match(dropped.stdout + dropped.stderr, /publication/)
  t.equal(dropped.code, 0, dropped.stderr)
  t.same(await published(source), ['tidemark_keep'])
})

t.test('drop while the pipeline runs names who reads the slot and removes nothing', async (t) => {
  const copy = await copied(t)
  const sync = startTidemark(t, ['sync', copy.file])
  await streaming(copy, sync)
  const drop = await runTidemark(t, ['drop', copy.file, '--yes'])
  t.equal(drop.code, 3, drop.stderr)
  t.match(drop.stderr, /postgres\.slot_held: .*is being read by pid \d+ .*tidemark:.*nothing was removed/)
  await copy.source.query(`insert into x values (200, 'on', 1)`)
  await until(async () => (await copy.target.query('select 1 from x where id = 200')).length === 1)
  sync.signal('SIGTERM')
  await sync.exit()
  await goesOn(t, copy)
  t.equal((await runTidemark(t, ['drop', copy.file, '--yes'])).code, 0)
  t.same(await published(copy.source), [])
})

t.test('patterns that leave no table are one error before anything is made', async (t) => {
  const source = await createDatabase(t)
  await source.query('create table a (id int primary key)')
  for (const command of ['sync', 'check']) {
    const { file } = writePipeline(t, {
      source: { type: 'postgres', url: source.url, tables: 'public.*', 'tables.exclude': 'public.a' },
      sink: { type: 'blackhole' },
      pipeline: { name: source.name },
    })
    const run = await runTidemark(t, [command, file, ...(command === 'sync' ? ['--once'] : [])])
    t.not(run.code, 0)
    t.match(run.stdout + run.stderr, /no table is left: tables\.exclude \(public\.a\)/)
  }
  t.same(await published(source), [])
})

t.test('a program removes what its change stream left', async (t) => {
  const source = await createDatabase(t)
  await source.query('create table a (id int primary key); insert into a values (1)')
  const given = { type: 'postgres', url: source.url }
  const name = source.name
  const stream = changes({ source: given, tables: 'public.a', name, from: null })
  t.ok((await stream.next()).value)
  await t.rejects(dropChanges({ source: given, name }), { code: 'postgres.slot_held' })
  await stream.return()
  const lines = await dropChanges({ source: given, name })
  t.same([...lines].sort(), [`publication tidemark_${name}`, `replication slot tidemark_${name}`])
  t.same(await dropChanges({ source: given, name }), [])
  t.same(await source.query('select 1 from pg_replication_slots where database = current_database()'), [])
  await t.rejects(dropChanges({ source: { type: 'postgres', host: 'x' } }), { code: 'config.invalid' })
})
