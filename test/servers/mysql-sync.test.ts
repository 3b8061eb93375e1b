/** The built program copies MySQL and MariaDB to PostgreSQL and to files, killed at random instants under a writer. */
import t, { type Test } from 'tap'
import { Changelog } from '../support/changelog.js'
import { committedRows } from '../support/committed-files.js'
import { createMysqlDatabase, type MysqlKind, type MysqlTestDatabase } from '../support/mysql.js'
import { createWriterTables, startMysqlWriter } from '../support/mysql-writer.js'
import { createDatabase } from '../support/postgres.js'
import { type PipelineFile, runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { random, testSeed } from '../support/seed.js'

const KILLS = 5
/** Kills of a process that has copied the tables. */
const LOG_KILLS = 2
const RUN_MS_MAX = 2_000
const KINDS: readonly MysqlKind[] = ['mysql', 'mariadb', 'mysql56']

const sourceOf = (db: MysqlTestDatabase) => ({
  type: 'mysql',
  url: db.captureUrl,
  tables: `${db.name}.w, ${db.name}.c`,
  'scan.incremental.snapshot.chunk.size': 1_000,
  'visibility.margin': '100ms',
})

async function syncThroughKills(t: Test, db: MysqlTestDatabase, pipeline: PipelineFile): Promise<void> {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const numbers = random(seed)
  const writer = await startMysqlWriter(db, seed)
  for (let i = 0; i < KILLS; i++) {
    const sync = startTidemark(t, ['sync', pipeline.file])
    if (i >= KILLS - LOG_KILLS) await sync.line(/streaming, /)
    // A random instant is the point here, so this is no wait for a condition.
    await new Promise((resolve) => setTimeout(resolve, numbers.below(RUN_MS_MAX)))
    t.ok(sync.running, `run ${i + 1} is there to be killed\n${sync.stderr()}`)
    await sync.kill()
  }
  await writer.stop()
  t.ok(writer.commits() > 100, `${writer.commits()} commits`)
  const last = await runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
  t.equal(last.code, 0, last.stderr)
}

const W = 'SELECT id, n, name, note FROM w'
const C = 'SELECT k, s, n FROM c'
const sorted = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).sort()

for (const kind of KINDS) {
  t.test(`${kind} to PostgreSQL`, async (t) => {
    const db = await createMysqlDatabase(t, kind)
    const target = await createDatabase(t)
    await createWriterTables(db)
    const pipeline = writePipeline(t, {
      source: sourceOf(db),
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: db.name, 'checkpoint.interval': '50ms' },
    })
    await syncThroughKills(t, db, pipeline)
    for (const [table, sql] of [
      ['w', W],
      ['c', C],
    ] as const) {
      const [ours, theirs] = [
        sorted(await db.query(sql)),
        sorted(await target.query(sql.replace(` ${table}`, ` ${db.name}.${table}`))),
      ]
      t.ok(ours.length > 300, `${ours.length} rows in ${table}`)
      t.equal(theirs.length, ours.length)
      t.same(theirs.filter((row, i) => row !== ours[i]).slice(0, 5), [], `${table} is equal`)
    }
  })

  t.test(`${kind} to files, every single change is right`, async (t) => {
    const db = await createMysqlDatabase(t, kind)
    await createWriterTables(db)
    const pipeline = writePipeline(t, {
      source: sourceOf(db),
      sink: { type: 'file', path: '{{DIR}}/out', 'file.size.max': '1mb' },
      pipeline: { name: db.name, 'checkpoint.interval': '50ms' },
    })
    await syncThroughKills(t, db, pipeline)
    const names = { w: `${db.name}.w`, c: `${db.name}.c` }
    const log = new Changelog({
      [names.w]: { key: ['id'], fullBefore: true },
      [names.c]: { key: ['k', 's'], fullBefore: true },
    }).addLines(committedRows(pipeline.path('out')))
    t.same(log.problems, [])
    t.same(log.differences(names.w, await db.query(W)), [])
    t.same(log.differences(names.c, await db.query(C)), [])
  })
}

t.test('T79: columns that were added, renamed and dropped are told to PostgreSQL as what they are', async (t) => {
  for (const kind of ['mysql', 'mariadb'] as const) {
    const db = await createMysqlDatabase(t, kind)
    const target = await createDatabase(t)
    await db.query(
      "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9), b INT); INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2)",
    )
    const pipeline = writePipeline(t, {
      source: { type: 'mysql', url: db.captureUrl, tables: `${db.name}.t` },
      sink: { type: 'postgres', url: target.url },
      pipeline: { name: db.name },
    })
    const sync = async () => runTidemark(t, ['sync', pipeline.file, '--until-caught-up'])
    t.equal((await sync()).code, 0)
    await db.query("ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 5; INSERT INTO t VALUES (3, 'three', 3, 33)")
    const added = await sync()
    t.equal(added.code, 3)
    const add = /ALTER TABLE .* ADD COLUMN .*DEFAULT '5'[^;]*;/.exec(added.stderr)
    t.ok(add, `${kind}: ${added.stderr}`)
    await target.query(add![0])
    t.equal((await sync()).code, 0)
    await db.query('ALTER TABLE t RENAME COLUMN a TO z; UPDATE t SET z = UPPER(z) WHERE id = 2')
    const renamed = await sync()
    const rename = /ALTER TABLE .* RENAME COLUMN .*;/.exec(renamed.stderr)
    t.ok(rename, `${kind}: ${renamed.stderr}`)
    await target.query(rename![0])
    const last = await sync()
    t.equal(last.code, 0, last.stderr)
    t.same(
      sorted(await target.query(`SELECT id, z, b, c FROM ${db.name}.t`)),
      sorted(await db.query('SELECT id, z, b, c FROM t')),
    )
    await db.query('ALTER TABLE t ADD COLUMN at TIMESTAMP DEFAULT CURRENT_TIMESTAMP; UPDATE t SET b = 0 WHERE id = 1')
    const unknown = await sync()
    t.match(unknown.stderr, /mysql\.table_changed/, kind)
  }
})
