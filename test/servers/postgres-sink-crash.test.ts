/**
 * The sink laws (correctness.md 5.6) for the postgres sink: S1 to S5, S7, S9, S10. Processes are really killed and
 * stopped; a keyless table shows every change that arrives twice or never.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { StepName } from '../../core/steps.js'
import { startMuteProxy } from '../support/mute-proxy.js'
import { createDatabase, type PostgresVersion, type TestDatabase } from '../support/postgres.js'
import { batch, change, openSink, put, schemaOf, signal, truncate } from '../support/postgres-sink.js'
import { CHUNK_ROWS, changesOf, keyed } from '../support/postgres-sink-writer.js'
import { until } from '../support/until.js'

const WRITER = fileURLToPath(new URL('../support/postgres-sink-writer.ts', import.meta.url))
const COMMITS = 6
const { r, c, u, d } = change
/** Whatever the server or the socket said, the pipeline tries again. */
const RETRIABLE = { name: 'TidemarkError', retriable: true }
const VERSIONS: readonly PostgresVersion[] = ['15', '18']

interface Writer {
  readonly pid: number
  readonly stderr: () => string
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  signal(name: NodeJS.Signals): void
}

function startWriter(t: Test, db: TestDatabase, failpoint = '', fenceMs = 10_000): Writer {
  const loaders = process.execArgv.filter((arg) => !arg.includes('processinfo'))
  const child = spawn(process.execPath, [...loaders, WRITER, db.url, String(COMMITS), 'p', String(fenceMs)], {
    env: { ...process.env, TIDEMARK_FAILPOINT: failpoint },
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
async function whole(t: Test, db: TestDatabase): Promise<void> {
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
  const found = await db.query(`SELECT concat_ws('|', id, name, COALESCE(body, 'NULL')) AS row FROM keyed`)
  t.same(found.map((x) => x.row).sort(), [...expected.values()].sort(), 'keyed rows')
  const log = await db.query('SELECT n || what AS row FROM appended ORDER BY n, what')
  const numbers = Array.from({ length: COMMITS }, (_, n) => [`${n}first`, `${n}second`]).flat()
  t.same(
    log.map((x) => x.row),
    numbers,
    'every change once',
  )
}

async function stopped(pid: number): Promise<void> {
  const { readFileSync } = await import('node:fs')
  await until(() => / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')), { what: `process ${pid} is stopped` })
}

const crashes: readonly [string, StepName, number][] = [
  ['S1 killed between data and checkpoint', 'pg-sink.applied', 5],
  ['S1 killed before the COMMIT', 'pg-sink.before-commit', 3],
  ['S1 killed with the lock and no data', 'pg-sink.locked', 3],
  ['S2 killed after the COMMIT, before anybody knew', 'pg-sink.committed', 3],
  ['S9 killed inside a snapshot chunk, which is written again', 'pg-sink.applied', 3],
]
// Starting a process takes most of the time, so these run side by side.
t.jobs = 4
const running: Promise<unknown>[] = []
for (const version of VERSIONS) {
  for (const [name, at, nth] of crashes) {
    const test = t.test(`${name} (PostgreSQL ${version})`, { buffered: true }, async (t) => {
      const db = await createDatabase(t, { version })
      const first = startWriter(t, db, `${at}:${nth}`)
      t.equal((await first.exited).signal, 'SIGKILL', first.stderr())
      const second = startWriter(t, db)
      t.equal((await second.exited).code, 0, second.stderr())
      await whole(t, db)
    })
    running.push(test)
  }
}

for (const version of VERSIONS) {
  for (const [name, failpoint] of [
    ['with an open transaction', 'pg-sink.applied:5:stop'],
    ['about to commit', 'pg-sink.before-commit:3:stop'],
    ['between transactions', 'pg-sink.committed:3:stop'],
    ['just fenced itself', 'pg-sink.fenced:1:stop'],
  ] as const) {
    const title = `S3 a zombie ${name} wakes after its successor (PostgreSQL ${version})`
    const test = t.test(title, { buffered: true }, async (t) => {
      const db = await createDatabase(t, { version })
      const zombie = startWriter(t, db, failpoint)
      await stopped(zombie.pid)
      const successor = startWriter(t, db, '', 300)
      t.equal((await successor.exited).code, 0, successor.stderr())
      await whole(t, db)
      zombie.signal('SIGCONT')
      t.equal((await zombie.exited).code, 1, 'the zombie ends')
      t.match(zombie.stderr(), /sink\.fenced|postgres\.connection|57P01|terminat/i)
      await whole(t, db)
    })
    running.push(test)
  }
}
await Promise.all(running)

await t.test('S3 a fence that may not end the holder names its pid', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'])
  await (await openSink(db.url, [table])).close()
  const holder = await db.connect()
  await holder.query("BEGIN; SELECT FROM tidemark.checkpoint WHERE pipeline = 'p' FOR UPDATE")
  await t.rejects(openSink(db.url, [table], { 'fence.timeout': 200 }), {
    code: 'sink.fence_blocked',
    message: new RegExp(`pid ${holder.pid}`),
  })
  await holder.query('ROLLBACK')
  const session = await openSink(db.url, [table])
  await session.close()
})

await t.test('S4 the backend is ended during COMMIT: nothing of it is there', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'])
  await (await openSink(db.url, [table])).close()
  // A deferred trigger makes COMMIT wait for a lock of ours.
  await db.query(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER w AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()`)
  const holder = await db.connect()
  await holder.query('SELECT pg_advisory_lock(1)')
  const session = await openSink(db.url, [table], { 'target.constraints': 'allow' })
  const attempt = put(session, '1', batch(table, c(['1'])))
  const failed = t.rejects(attempt, RETRIABLE)
  const waiting = await until(
    async () =>
      (
        await db.query(`SELECT pid FROM pg_stat_activity WHERE application_name = 'tidemark:p' AND datname = current_database()
        AND wait_event = 'advisory'`)
      )[0]?.pid,
    { what: 'the COMMIT waits' },
  )
  await db.query('SELECT pg_terminate_backend($1)', [waiting])
  await failed
  await session.close()
  await holder.query('SELECT pg_advisory_unlock(1)')
  const next = await openSink(db.url, [table], { 'target.constraints': 'allow' })
  t.equal(next.checkpoint, null)
  t.same(await db.query('SELECT id FROM items'), [])
  await put(next, '1', batch(table, c(['1'])))
  await next.close()
})

await t.test('S4 the answer to a COMMIT is lost: the next session reads back that it happened', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'])
  const proxy = await startMuteProxy(t, db.url)
  const session = await openSink(proxy.url, [table], { sslmode: 'disable' })
  await put(session, '1', batch(table, c(['1'])))
  await session.write([batch(table, c(['2']))], { signal })
  proxy.loseAnswersTo('COMMIT')
  const failed = t.rejects(session.commit('2', { signal }), RETRIABLE)
  await until(async () => (await db.query('SELECT checkpoint FROM tidemark.checkpoint'))[0]?.checkpoint === '2')
  proxy.cut()
  await failed
  await t.rejects(session.write([batch(table, c(['3']))], { signal }), 'the session is over')
  await session.close()
  const next = await openSink(db.url, [table])
  t.equal(next.checkpoint, '2')
  t.same(await db.query('SELECT id FROM items ORDER BY 1'), [{ id: '1' }, { id: '2' }])
  await next.close()
})

await t.test('S4 a COMMIT that takes too long is cut and decided by reading back', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'])
  const proxy = await startMuteProxy(t, db.url)
  const session = await openSink(proxy.url, [table], { sslmode: 'disable', 'commit.timeout': 200 })
  await session.write([batch(table, c(['1']))], { signal })
  proxy.loseAnswersTo('COMMIT')
  await t.rejects(session.commit('1', { signal }), RETRIABLE)
  await session.close()
  const next = await openSink(db.url, [table])
  t.equal(next.checkpoint, '1')
  await next.close()
})

await t.test('S4 the connection is cut inside a COPY', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'])
  const rows = batch(table, ...Array.from({ length: 1000 }, (_, i) => r([String(i)])))
  for (const how of ['server', 'abort', 'close'] as const) {
    const session = await openSink(db.url, [table], { first: [] }).catch(() => openSink(db.url, [table]))
    const holder = await db.connect()
    await holder.query('BEGIN; LOCK TABLE items IN EXCLUSIVE MODE')
    const stop = new AbortController()
    await session.write([rows], { signal: stop.signal })
    const pid = await until(
      async () =>
        (
          await db.query(`SELECT pid FROM pg_stat_activity WHERE application_name = 'tidemark:p' AND datname = current_database()
          AND wait_event_type = 'Lock' AND query LIKE 'COPY%'`)
        )[0]?.pid,
      { what: 'the COPY waits for the lock' },
    )
    const commit = session.commit('1', { signal: stop.signal })
    const failed = how === 'server' ? t.rejects(commit, RETRIABLE, how) : t.rejects(commit, how)
    if (how === 'server') await db.query('SELECT pg_terminate_backend($1)', [pid])
    else if (how === 'abort') stop.abort(new Error('enough'))
    else await session.close()
    await failed
    await session.close()
    await holder.query('ROLLBACK')
    await holder.end()
  }
  t.same(await db.query('SELECT id FROM items'), [])
})

await t.test('S5 the last three batches again leave the same rows', async (t) => {
  const db = await createDatabase(t)
  const session = await openSink(db.url, [keyed])
  for (let n = 0; n < COMMITS; n++) await put(session, String(n), batch(keyed, ...changesOf(n).slice(0, CHUNK_ROWS)))
  const full = [
    c(['1', 'a', 'b']),
    u(['2', 'x', null]),
    d(['3', undefined, undefined]),
    d(['4', undefined, undefined]),
    c(['4', 'z', null]),
  ]
  await put(session, 'x', batch(keyed, ...full))
  const rows = () => db.query('SELECT keyed::text AS row FROM keyed ORDER BY id')
  const before = await rows()
  for (const n of [COMMITS - 2, COMMITS - 1])
    await put(session, `again ${n}`, batch(keyed, ...changesOf(n).slice(0, CHUNK_ROWS)))
  await put(session, 'again x', batch(keyed, ...full))
  t.same(await rows(), before)
  await session.close()
})

await t.test('S7 a column that the target lacks stops with the exact statement, then resumes', async (t) => {
  const db = await createDatabase(t)
  const old = schemaOf('items', { id: 'integer', name: 'text' }, ['id'])
  const now = schemaOf('items', { id: 'integer', name: 'text', 'The Price': 'numeric(10,2)' }, ['id'])
  const without = schemaOf('items', { id: 'integer', 'The Price': 'numeric(10,2)' }, ['id'])
  const session = await openSink(db.url, [old])
  await put(session, '1', batch(old, c(['1', 'a'])))
  let fix = ''
  await t.rejects(
    put(session, '2', batch(old, c(['2', 'b'])), batch(now, c(['3', 'c', '1.50']))).catch(
      (error: { code: string; fix: string }) => {
        t.equal(error.code, 'sink.column_missing')
        fix = error.fix
        throw error
      },
    ),
  )
  t.equal(fix, 'ALTER TABLE "public"."items" ADD COLUMN "The Price" numeric(10,2);')
  await session.close()
  t.same(await db.query('SELECT id FROM items'), [{ id: '1' }], 'nothing of the batch is visible')
  await db.query(fix)
  const next = await openSink(db.url, [now])
  t.equal(next.checkpoint, '1')
  await put(next, '2', batch(old, c(['2', 'b'])), batch(now, c(['3', 'c', '1.50']), u(['1', undefined, '2.00'])))
  await put(next, '3', batch(without, u(['2', '3.00'])))
  t.same(await db.query('SELECT x::text AS row FROM items x ORDER BY id'), [
    { row: '(1,a,2.00)' },
    { row: '(2,b,3.00)' },
    { row: '(3,c,1.50)' },
  ])
  await next.close()
})

await t.test('S10 two pipelines write one target at the same time, each with its own checkpoint', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer', name: 'text', body: 'text' }, ['id'])
  await (await openSink(db.url, [table], { pipeline: 'maker' })).close()
  const run = async (pipeline: string, first: number) => {
    const session = await openSink(db.url, [table], { pipeline, existing: 'upsert' })
    for (let n = 0; n < 20; n++) {
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
  await Promise.all([run('even', 0), run('odd', 1)])
  const states = await db.query('SELECT checkpoint FROM tidemark.checkpoint WHERE checkpoint IS NOT NULL ORDER BY 1')
  t.same(
    states.map((s) => s.checkpoint),
    ['even 19', 'odd 19'],
  )
  const counts = await db.query(
    "SELECT name, count(*) AS n FROM items WHERE id < 1000 AND body = '19' GROUP BY 1 ORDER BY 1",
  )
  t.same(counts, [
    { name: 'even', n: '100' },
    { name: 'odd', n: '100' },
  ])
})

await t.test('two first starts at once both work, in every run of twenty', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'], { namespace: 'fresh' })
  for (let i = 0; i < 20; i++) {
    await db.query('DROP SCHEMA IF EXISTS tidemark CASCADE; DROP SCHEMA IF EXISTS fresh CASCADE')
    const sessions = await Promise.all(['a', 'b', 'c'].map((pipeline) => openSink(db.url, [table], { pipeline })))
    await Promise.all(sessions.map((session, n) => put(session, 'x', batch(table, r([String(n)])))))
    await Promise.all(sessions.map((session) => session.close()))
  }
  t.same(await db.query('SELECT count(*) AS n FROM fresh.items'), [{ n: '3' }])
})

await t.test('an abort ends a write that waits for a lock, and truncate waits for nobody else', async (t) => {
  const db = await createDatabase(t)
  const table = schemaOf('items', { id: 'integer' }, ['id'])
  const session = await openSink(db.url, [table])
  await put(session, '1', batch(table, c(['1'])), truncate(table), batch(table, c(['2'])))
  const holder = await db.connect()
  await holder.query('BEGIN; LOCK TABLE items')
  const stop = new AbortController()
  await session.write([batch(table, c(['3']))], { signal: stop.signal })
  const waiting = session.commit('2', { signal: stop.signal })
  stop.abort(new Error('enough'))
  await t.rejects(waiting, /enough/)
  await session.close()
  await holder.query('ROLLBACK')
  const late = await openSink(db.url, [table], { 'lock.timeout': 100 })
  await holder.query('BEGIN; LOCK TABLE items')
  await t.rejects(put(late, '2', batch(table, c(['3']))), {
    name: 'TidemarkError',
    code: 'sink.locked',
    retriable: true,
  })
  await late.close()
  await holder.query('ROLLBACK')
  t.same(await db.query('SELECT id FROM items'), [{ id: '2' }])
})
