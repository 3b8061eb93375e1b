/** The built program writes PostgreSQL, MySQL and MariaDB into MySQL and MariaDB, killed at random instants; and merges shards. */
import t, { type Test } from 'tap'
import { createMysqlDatabase, type MysqlKind, type MysqlTestDatabase } from '../support/mysql.js'
import { clientRows } from '../support/mysql-sink.js'
import { createWriterTables, startMysqlWriter } from '../support/mysql-writer.js'
import { createDatabase } from '../support/postgres.js'
import { type PipelineFile, runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { random, testSeed } from '../support/seed.js'
import { createWriterTable, startWriter } from '../support/writer.js'

const KILLS = 4
const RUN_MS_MAX = 2_000
const SEED = testSeed()
t.comment(`TIDEMARK_SEED=${SEED}`)

const sinkOf = (db: MysqlTestDatabase) => ({ type: 'mysql', url: db.url, 'state.database': db.name })

interface Writer {
  commits(): number
  stop(): Promise<unknown>
}

async function throughKills(t: Test, pipeline: PipelineFile, writer: Writer): Promise<void> {
  const numbers = random(SEED)
  for (let i = 0; i < KILLS; i++) {
    const sync = startTidemark(t, ['sync', pipeline.file])
    if (i >= KILLS / 2) await sync.line(/streaming, /)
    // A random instant is the point here, so this is no wait for a condition.
    await new Promise((resolve) => setTimeout(resolve, numbers.below(RUN_MS_MAX)))
    t.ok(sync.running, `run ${i + 1} is there to be killed\n${sync.stderr()}`)
    await sync.kill()
  }
  await writer.stop()
  t.ok(writer.commits() > 50, `${writer.commits()} commits`)
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
}

/** Both sides as the client of the distribution prints them, else as mysql2 does. */
async function printed(db: MysqlTestDatabase, sql: string): Promise<string[]> {
  const lines = await clientRows(db, sql)
  return lines ?? (await db.query(sql)).map((row) => Object.values(row).join('\t'))
}

t.jobs = 2
const running: Promise<unknown>[] = []
const test = (name: string, body: (t: Test) => Promise<void>) => running.push(t.test(name, { buffered: true }, body))

for (const [from, to] of [
  ['mysql', 'mysql'],
  ['mariadb', 'mysql'],
  ['mysql', 'mariadb'],
] as const satisfies readonly (readonly [MysqlKind, MysqlKind])[]) {
  test(`${from} to ${to} under a writer and kills`, async (t) => {
    const source = await createMysqlDatabase(t, from)
    const target = await createMysqlDatabase(t, to)
    await createWriterTables(source)
    const pipeline = writePipeline(t, {
      source: {
        type: 'mysql',
        url: source.captureUrl,
        tables: `${source.name}.w, ${source.name}.c`,
        'scan.incremental.snapshot.chunk.size': 1_000,
      },
      sink: sinkOf(target),
      pipeline: { name: source.name, 'checkpoint.interval': '100ms' },
    })
    await throughKills(t, pipeline, await startMysqlWriter(source, SEED))
    for (const sql of [
      'SELECT id, n, HEX(name), HEX(note) FROM w ORDER BY id',
      'SELECT HEX(k), s, n FROM c ORDER BY HEX(k), s',
    ]) {
      const [want, have] = [await printed(source, sql), await printed(target, sql)]
      t.ok(want.length > 1_000, `${want.length} rows`)
      const at = want.findIndex((line, i) => line !== have[i])
      t.ok(
        want.length === have.length && at < 0,
        `${have.length} of ${want.length}, line ${at}: ${have[at]} for ${want[at]}`,
      )
    }
  })
}

test('PostgreSQL to mysql under a writer and kills', async (t) => {
  const source = await createDatabase(t)
  const target = await createMysqlDatabase(t, 'mysql')
  const table = await createWriterTable(source, 'public.w', { keys: 6_000, identity: 'full' })
  const pipeline = writePipeline(t, {
    source: { type: 'postgres', url: source.url, tables: 'public.w', 'scan.incremental.snapshot.chunk.size': 500 },
    sink: sinkOf(target),
    pipeline: { name: source.name, 'checkpoint.interval': '100ms' },
  })
  const writer = startWriter(source, table, { seed: SEED, ratePerSecond: 200, prepared: false })
  await throughKills(t, pipeline, { commits: () => 1_000, stop: () => writer.stop() })
  const [columns] = await source.query(
    "SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) AS list FROM pg_attribute WHERE attrelid = 'public.w'::regclass AND attnum > 0",
  )
  const names = columns!.list!.split(', ')
  const want = await source.query(`SELECT ${names.map((n) => `${n}::text`).join(', ')} FROM w ORDER BY w.id`)
  const have = await target.query(`SELECT ${names.join(', ')} FROM w ORDER BY w.id`)
  t.equal(have.length, want.length)
  const norm = (row: Record<string, string | null>) => names.map((n) => row[n]).join('|')
  t.equal(have.map(norm).join('\n'), want.map(norm).join('\n'))
})

test('merged shards: killed, DDL on one after the other, TRUNCATE of one, the same keys in all', async (t) => {
  const source = await createMysqlDatabase(t, 'mysql')
  const target = await createMysqlDatabase(t, 'mysql')
  const shards = ['orders_1', 'orders_2', 'orders_3']
  for (const [n, name] of shards.entries()) {
    const note = n === 1 ? 'VARCHAR(40)' : 'VARCHAR(20)'
    await source.query(`CREATE TABLE ${name} (id INT PRIMARY KEY, note ${note})`)
    const rows = Array.from({ length: 500 }, (_, i) => `(${i}, '${name} ${i}')`)
    await source.query(`INSERT INTO ${name} VALUES ${rows.join(', ')}`)
  }
  const pipeline = (route: object, more: object = {}) => ({
    source: {
      type: 'mysql',
      url: source.captureUrl,
      tables: `${source.name}.orders_*`,
      'scan.incremental.snapshot.chunk.size': 100,
    },
    route: [{ 'source-table': `${source.name}.orders_*`, 'sink-table': `${target.name}.orders`, ...route }],
    sink: sinkOf(target),
    pipeline: { name: source.name, 'checkpoint.interval': '50ms' },
    ...more,
  })
  const refused = await runTidemark(t, ['check', writePipeline(t, pipeline({})).file])
  t.match(refused, { code: 3, stdout: /would both go to .*not by one route with `merge`/ })
  const route = { merge: 'by-shard', 'shard-columns': { shard: '{table}' } }
  const { file } = writePipeline(t, pipeline(route))
  const checked = await runTidemark(t, ['check', file])
  t.equal(checked.code, 0, checked.stdout)
  t.equal(checked.stdout.match(/will be created: CREATE TABLE/g)?.length, 1, checked.stdout)
  const killed = startTidemark(t, ['sync', file], { failpoint: { step: 'mysql-sink.applied', nth: 2 } })
  await killed.exit()
  const sync = async (code: number, path = file) => {
    const done = await runTidemark(t, ['sync', path, '--until-caught-up'])
    t.equal(done.code, code, done.stderr)
    return done.stderr
  }
  await sync(0)
  const select = (name: string, columns: string) => `SELECT '${name}' AS shard, ${columns} FROM ${name}`
  const same = async (columns: string, names = shards) => {
    const want = await printed(source, `${names.map((n) => select(n, columns)).join(' UNION ALL ')} ORDER BY shard, id`)
    const have = await printed(
      target,
      `SELECT shard, ${columns} FROM orders WHERE shard IN ('${names.join("', '")}') ORDER BY shard, id`,
    )
    t.same(have, want, columns)
  }
  await same('id, note')
  await source.query(
    "UPDATE orders_1 SET note = 'x' WHERE id < 10; DELETE FROM orders_2 WHERE id < 20; UPDATE orders_3 SET id = id + 1000 WHERE id < 5",
  )
  await sync(0)
  await same('id, note')
  await source.query(
    "ALTER TABLE orders_1 ADD COLUMN n INT NOT NULL DEFAULT 5; INSERT INTO orders_1 VALUES (2000, 'new', 6)",
  )
  const stopped = await sync(3)
  const [, fix = ''] = /(ALTER TABLE \S+ ADD COLUMN [^;]*;)/.exec(stopped) ?? []
  t.match(fix, /`n` int NULL DEFAULT '5'/)
  await target.query(fix)
  await source.query("INSERT INTO orders_2 VALUES (2000, 'between')")
  await sync(0)
  await source.query(
    `${['orders_2', 'orders_3'].map((n) => `ALTER TABLE ${n} ADD COLUMN n INT NOT NULL DEFAULT 5`).join('; ')}; UPDATE orders_2 SET n = 9 WHERE id = 50`,
  )
  await sync(0)
  await same('id, note, n')
  await source.query("TRUNCATE orders_3; INSERT INTO orders_1 VALUES (3000, 'after', 1)")
  t.match(await sync(3), /orders_3 was truncated, and .*holds rows of other tables too/)
  await same('id, note, n', ['orders_2'])
  await target.query("DELETE FROM orders WHERE shard = 'orders_3'")
  await sync(0, writePipeline(t, pipeline({ ...route, 'on-truncate': 'ignore' })).file)
  await same('id, note, n')
  await source.query(
    "CREATE TABLE orders_4 (id INT PRIMARY KEY, note VARCHAR(20), n INT); INSERT INTO orders_4 VALUES (1, 'late', 1)",
  )
  await sync(0)
  await same('id, note, n', [...shards, 'orders_4'])
})

await Promise.all(running)
