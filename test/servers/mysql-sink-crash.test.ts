/**
 * The sink laws (correctness.md 5.6) for the mysql sink on MySQL and MariaDB: S1 to S5, S7, S9, S10. Processes are really
 * killed and stopped; a keyless table shows every change that arrives twice or never.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { StepName } from '../../core/steps.js'
import { startMuteProxy } from '../support/mute-proxy.js'
import { createMysqlDatabase, type MysqlKind, type MysqlTestDatabase } from '../support/mysql.js'
import { openMysqlSink } from '../support/mysql-sink.js'
import { batch, change, put, schemaOf, signal, truncate } from '../support/postgres-sink.js'
import { appended, CHUNK_ROWS, changesOf, keyed } from '../support/postgres-sink-writer.js'
import { withoutTap } from '../support/process.js'
import { until } from '../support/until.js'

const WRITER = fileURLToPath(new URL('../support/sink-writer.mjs', import.meta.url))
const COMMITS = 6
const { r, c, u, d } = change
/** Whatever the server or the socket said, the pipeline tries again. */
const RETRIABLE = { name: 'TidemarkError', retriable: true }
const KINDS: readonly MysqlKind[] = ['mysql', 'mariadb']

interface Writer {
  readonly pid: number
  readonly stderr: () => string
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  signal(name: NodeJS.Signals): void
}

/** Commit n writes the changes of step n; a keyless table shows every change that is written twice or never. */
function job(db: MysqlTestDatabase, fenceMs: number): object {
  const log = (n: number, what: string) => ({ table: 1, changes: [c([String(n), what])] })
  const commits = Array.from({ length: COMMITS }, (_, n) => {
    const changes = changesOf(n)
    const [chunk, others] = [changes.slice(0, CHUNK_ROWS), changes.slice(CHUNK_ROWS)]
    return [
      [{ table: 0, changes: chunk }, log(n, 'first')],
      [{ table: 0, changes: others }, log(n, 'second')],
    ]
  })
  const options = { url: db.url, 'state.database': db.name, 'fence.timeout': fenceMs }
  return { connector: 'mysql', options, pipeline: 'p', tables: [keyed, appended], commits }
}

function startWriter(t: Test, db: MysqlTestDatabase, failpoint = '', fenceMs = 10_000): Writer {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-writer-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'job.json')
  const unsent = (_: string, value: unknown) =>
    Array.isArray(value) ? value.map((v: unknown) => (v === undefined ? { unsent: true } : v)) : value
  writeFileSync(file, JSON.stringify(job(db, fenceMs), unsent))
  const child = spawn(process.execPath, [WRITER, file], {
    env: { ...withoutTap(process.env), TIDEMARK_FAILPOINT: failpoint },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  return { pid: child.pid!, stderr: () => stderr, exited, signal: (name) => void child.kill(name) }
}

/** What the whole stream leaves, worked out from the changes themselves. */
async function whole(t: Test, db: MysqlTestDatabase): Promise<void> {
  const expected = new Map<string, string>()
  for (let n = 0; n < COMMITS; n++) {
    for (const { op, before, after } of changesOf(n)) {
      const old = before ? String(before[0]) : op === 'd' ? '' : String(after![0])
      const image = expected.get(old)?.split('|') ?? []
      if (before) expected.delete(old)
      if (after)
        expected.set(String(after[0]), after.map((v, i) => (v === undefined ? image[i] : (v ?? 'NULL'))).join('|'))
    }
  }
  const found = await db.query(`SELECT CONCAT_WS('|', id, name, COALESCE(body, 'NULL')) AS line FROM keyed`)
  t.same(found.map((x) => x.line).sort(), [...expected.values()].sort(), 'keyed rows')
  const log = await db.query('SELECT CONCAT(n, what) AS line FROM appended ORDER BY n, what')
  const numbers = Array.from({ length: COMMITS }, (_, n) => [`${n}first`, `${n}second`]).flat()
  t.same(
    log.map((x) => x.line),
    numbers,
    'every change once',
  )
}

const crashes: readonly [string, StepName, number][] = [
  ['S1 killed just fenced', 'mysql-sink.fenced', 1],
  ['S7 killed between the DDL and what is known of it', 'mysql-sink.created', 1],
  ['S7 killed behind the DDL', 'mysql-sink.prepared', 1],
  ['S1 killed between data and checkpoint', 'mysql-sink.applied', 5],
  ['S1 killed before the COMMIT', 'mysql-sink.before-commit', 3],
  ['S1 killed with the lock and no data', 'mysql-sink.locked', 3],
  ['S2 killed after the COMMIT, before anybody knew', 'mysql-sink.committed', 3],
  ['S9 killed inside a snapshot chunk, which is written again', 'mysql-sink.applied', 3],
]
// Starting a process takes most of the time, so these run side by side.
t.jobs = 4
const running: Promise<unknown>[] = []
for (const kind of KINDS) {
  for (const [name, at, nth] of crashes) {
    const test = t.test(`${name} (${kind})`, { buffered: true }, async (t) => {
      const db = await createMysqlDatabase(t, kind)
      const first = startWriter(t, db, `${at}:${nth}`)
      t.equal((await first.exited).signal, 'SIGKILL', first.stderr())
      const second = startWriter(t, db)
      t.equal((await second.exited).code, 0, second.stderr())
      await whole(t, db)
    })
    running.push(test)
  }
  for (const [name, failpoint] of [
    ['with an open transaction', 'mysql-sink.applied:5:stop'],
    ['about to commit', 'mysql-sink.before-commit:3:stop'],
    ['between transactions', 'mysql-sink.committed:3:stop'],
    ['just fenced itself', 'mysql-sink.fenced:1:stop'],
    ['behind its DDL', 'mysql-sink.created:1:stop'],
  ] as const) {
    const test = t.test(`S3 a zombie ${name} wakes after its successor (${kind})`, { buffered: true }, async (t) => {
      const db = await createMysqlDatabase(t, kind)
      const zombie = startWriter(t, db, failpoint)
      await until(() => / T /.test(readFileSync(`/proc/${zombie.pid}/stat`, 'utf8')), { what: 'the zombie is stopped' })
      const successor = startWriter(t, db, '', 300)
      t.equal((await successor.exited).code, 0, successor.stderr())
      await whole(t, db)
      zombie.signal('SIGCONT')
      t.equal((await zombie.exited).code, 1, 'the zombie ends')
      t.match(zombie.stderr(), /sink\.fenced|mysql\.connection/)
      await whole(t, db)
    })
    running.push(test)
  }
}

function each(name: string, test: (t: Test, db: MysqlTestDatabase, kind: MysqlKind) => Promise<void>): void {
  for (const kind of KINDS) {
    const body = async (t: Test) => test(t, await createMysqlDatabase(t, kind), kind)
    running.push(t.test(`${name} (${kind})`, { buffered: true }, body))
  }
}

const items = () => schemaOf('items', { id: 'integer' }, ['id'])

/** The server's number of the connection of our session that waits, as its process list has it. */
async function waiting(db: MysqlTestDatabase, statement: RegExp): Promise<string> {
  const found = await until(
    async () => {
      const list = await db.query('SHOW FULL PROCESSLIST')
      return list.find((row) => statement.test(row.Info ?? '') && row.Info!.includes(db.name))?.Id
    },
    { what: `a statement like ${statement} waits` },
  )
  return found!
}

each('S3 a fence that may not end the holder says who it may be', async (t, db) => {
  await (await openMysqlSink(db, [items()])).close()
  const holder = await db.connect()
  const [id] = await holder.query('SELECT CONNECTION_ID() AS id')
  await holder.query("BEGIN; SELECT * FROM checkpoint WHERE pipeline = 'p' FOR UPDATE")
  await t.rejects(openMysqlSink(db, [items()], { 'fence.timeout': 200 }), {
    code: 'sink.fence_blocked',
    message: new RegExp(`\\b${id!.id}\\b`),
  })
  await holder.query('ROLLBACK')
  const session = await openMysqlSink(db, [items()])
  await session.close()
})

each('S4 the connection is ended inside a transaction: nothing of it is there', async (t, db) => {
  const session = await openMysqlSink(db, [items()])
  const holder = await db.connect()
  await holder.query('BEGIN; INSERT INTO items VALUES (2)')
  const failed = t.rejects(put(session, '1', batch(items(), c(['1']), c(['2']))), RETRIABLE)
  await db.query(`KILL ${await waiting(db, /^INSERT/)}`)
  await failed
  await session.close()
  await holder.query('ROLLBACK')
  const next = await openMysqlSink(db, [items()])
  t.equal(next.checkpoint, null)
  t.same(await db.query('SELECT id FROM items'), [])
  await next.close()
})

each('S4 the answer to a COMMIT is lost: the next session reads back that it happened', async (t, db) => {
  const proxy = await startMuteProxy(t, db.url)
  const through = { ...db, url: proxy.url }
  const session = await openMysqlSink(through, [items()], { 'ssl-mode': 'disabled' })
  await put(session, '1', batch(items(), c(['1'])))
  await session.write([batch(items(), c(['2']))], { signal })
  proxy.loseAnswersTo('COMMIT')
  const failed = t.rejects(session.commit('2', { signal }), RETRIABLE)
  await until(async () => (await db.query('SELECT checkpoint FROM checkpoint'))[0]?.checkpoint === '2')
  proxy.cut()
  await failed
  await t.rejects(session.write([batch(items(), c(['3']))], { signal }), 'the session is over')
  await session.close()
  const next = await openMysqlSink(db, [items()])
  t.equal(next.checkpoint, '2')
  t.same(await db.query('SELECT id FROM items ORDER BY 1'), [{ id: '1' }, { id: '2' }])
  await next.close()
})

each('S4 a COMMIT that takes too long is cut and decided by reading back', async (t, db) => {
  const proxy = await startMuteProxy(t, db.url)
  const options = { 'ssl-mode': 'disabled', 'commit.timeout': 200 }
  const session = await openMysqlSink({ ...db, url: proxy.url }, [items()], options)
  await session.write([batch(items(), c(['1']))], { signal })
  proxy.loseAnswersTo('COMMIT')
  await t.rejects(session.commit('1', { signal }), RETRIABLE)
  await session.close()
  const next = await openMysqlSink(db, [items()])
  t.equal(next.checkpoint, '1')
  await next.close()
})

each('S5 the last three batches again leave the same rows', async (t, db) => {
  const session = await openMysqlSink(db, [keyed])
  for (let n = 0; n < COMMITS; n++) await put(session, String(n), batch(keyed, ...changesOf(n).slice(0, CHUNK_ROWS)))
  const full = [
    c(['1', 'a', 'b']),
    u(['2', 'x', null]),
    d(['3', undefined, undefined]),
    d(['4', undefined, undefined]),
    c(['4', 'z', null]),
  ]
  await put(session, 'x', batch(keyed, ...full))
  const rows = () => db.query('SELECT * FROM keyed ORDER BY id')
  const before = await rows()
  for (const n of [COMMITS - 2, COMMITS - 1])
    await put(session, `again ${n}`, batch(keyed, ...changesOf(n).slice(0, CHUNK_ROWS)))
  await put(session, 'again x', batch(keyed, ...full))
  t.same(await rows(), before)
  await session.close()
})

each('S7 a column that the target lacks stops with the exact statement, then resumes', async (t, db) => {
  const old = schemaOf('items', { id: 'integer', name: 'text' }, ['id'])
  const now = schemaOf('items', { id: 'integer', name: 'text', 'The Price': 'bigint' }, ['id'])
  const without = schemaOf('items', { id: 'integer', 'The Price': 'bigint' }, ['id'])
  const session = await openMysqlSink(db, [old])
  await put(session, '1', batch(old, c(['1', 'a'])))
  const attempt = put(session, '2', batch(old, c(['2', 'b'])), batch(now, c(['3', 'c', '1'])))
  const error = (await attempt.catch((thrown: unknown) => thrown)) as { code: string; fix: string }
  t.equal(error.code, 'sink.column_missing')
  t.equal(error.fix, `ALTER TABLE \`${db.name}\`.\`items\` ADD COLUMN \`The Price\` bigint NULL DEFAULT NULL;`)
  await session.close()
  t.same(await db.query('SELECT id FROM items'), [{ id: '1' }], 'nothing of the batch is visible')
  await db.query(error.fix)
  const next = await openMysqlSink(db, [now])
  t.equal(next.checkpoint, '1')
  await put(next, '2', batch(old, c(['2', 'b'])), batch(now, c(['3', 'c', '1']), u(['1', undefined, '2'])))
  await put(next, '3', batch(without, u(['2', '3'])))
  const rows = await db.query('SELECT * FROM items ORDER BY id')
  t.same(
    rows.map((row) => Object.values(row)),
    [
      ['1', 'a', '2'],
      ['2', 'b', '3'],
      ['3', 'c', '1'],
    ],
  )
  await next.close()
})

each('S10 two pipelines write one target at the same time, each with its own checkpoint', async (t, db) => {
  const table = schemaOf('items', { id: 'integer', name: 'text', body: 'text' }, ['id'])
  await (await openMysqlSink(db, [table], { pipeline: 'maker' })).close()
  const run = async (pipeline: string, first: number) => {
    const session = await openMysqlSink(db, [table], { pipeline, existing: 'upsert' })
    for (let n = 0; n < 10; n++) {
      const ids = Array.from({ length: 100 }, (_, i) => String(first + 2 * i))
      // The opposite order of the other one: only one common order of locking keeps them from a deadlock.
      if (first === 1) ids.reverse()
      await put(
        session,
        `${pipeline} ${n}`,
        batch(table, ...ids.map((id) => u([id, pipeline, String(n)]))),
        batch(table, u(['1000', pipeline, String(n)]), u(['1001', pipeline, String(n)])),
      )
    }
    await session.close()
  }
  // A first round alone, because gaps that both insert into are locked in no order.
  await run('even', 0)
  await run('odd', 1)
  await Promise.all([run('even', 0), run('odd', 1)])
  const states = await db.query('SELECT checkpoint FROM checkpoint WHERE checkpoint IS NOT NULL ORDER BY 1')
  t.same(
    states.map((s) => s.checkpoint),
    ['even 9', 'odd 9'],
  )
  const counts = await db.query(
    "SELECT name, COUNT(*) AS n FROM items WHERE id < 1000 AND body = '9' GROUP BY 1 ORDER BY 1",
  )
  t.same(counts, [
    { name: 'even', n: '100' },
    { name: 'odd', n: '100' },
  ])
})

each('three first starts at once all work', async (t, db) => {
  for (let i = 0; i < 5; i++) {
    await db.query('DROP TABLE IF EXISTS items; DROP TABLE IF EXISTS checkpoint')
    const names = ['a', 'b', 'c']
    const sessions = await Promise.all(names.map((pipeline) => openMysqlSink(db, [items()], { pipeline })))
    for (const [n, session] of sessions.entries()) await put(session, 'x', batch(items(), r([String(n)])))
    await Promise.all(sessions.map((session) => session.close()))
  }
  t.same(await db.query('SELECT COUNT(*) AS n FROM items'), [{ n: '3' }])
})

each('a deadlock and a lock of another session are tried again; an abort waits for nobody', async (t, db) => {
  const session = await openMysqlSink(db, [items()])
  await put(session, '1', batch(items(), c(['1'])), truncate(items()), batch(items(), c(['2'])))
  const holder = await db.connect()
  await holder.query('BEGIN; INSERT INTO items VALUES (3)')
  const stop = new AbortController()
  await session.write([batch(items(), c(['3']))], { signal: stop.signal })
  const commit = session.commit('2', { signal: stop.signal })
  await waiting(db, /^INSERT/)
  stop.abort(new Error('enough'))
  await t.rejects(commit, /enough/)
  await session.close()
  const late = await openMysqlSink(db, [items()], { 'lock.timeout': 100, 'fence.timeout': 1_000 })
  await t.rejects(put(late, '2', batch(items(), c(['3']))), { code: 'sink.locked', retriable: true })
  await late.close()
  const dead = await openMysqlSink(db, [items()])
  await holder.query(
    'ROLLBACK; BEGIN; DELETE FROM items WHERE id = 2; INSERT INTO items VALUES (10), (11), (12), (13), (14)',
  )
  await dead.write([batch(items(), c(['9']))], { signal })
  await dead.write([batch(items(), u(['2']))], { signal })
  const failed = t.rejects(dead.commit('2', { signal }), { retriable: true, cause: { errno: 1213 } })
  await waiting(db, /^INSERT/)
  await holder.query('SELECT * FROM items WHERE id = 9 FOR UPDATE')
  await failed
  await dead.close()
  await holder.query('ROLLBACK')
  t.same(await db.query('SELECT id FROM items'), [{ id: '2' }])
})

await Promise.all(running)
