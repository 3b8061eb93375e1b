/** Reading chunks when something is slow, locked or broken: a read makes progress, waits for nobody, and says what failed. */
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { postgresSource } from '../../connectors/postgres/index.js'
import type { ChunkRows, Source, SourceTable } from '../../core/source.js'
import { connectPg, pgOptionsFromUrl, sqlState } from '../../drivers/postgres.js'
import { CopyOut, FRAME_BYTES } from '../../drivers/postgres-copy.js'
import { createDatabase, type PostgresVersion, type TestDatabase } from '../support/postgres.js'
import { until } from '../support/until.js'

/** Longer than a chunk's transaction may take. */
const SLOW_MS = 6_000
/** Whoever waits for a lock would wait for ever; whoever does not is done well before this. */
const PROMPT_MS_MAX = 10_000
const LIMIT = { rowsMax: 1_000, bytesMax: 1 << 30 }
const signal = new AbortController().signal

async function opened(t: Test, url: string, name: string): Promise<{ source: Source; table: SourceTable }> {
  const options = postgresSource.options.parse({ url, tables: 'public.t', sslmode: 'disable' }) as never
  const source = postgresSource.create(options, { pipeline: name })
  t.teardown(() => source.close())
  const owner = { pipeline: name, durable: true, fenced: true, first: true }
  const context = { ...owner, known: new Map(), saved: null, signal, note: () => {} }
  const { tables } = await source.open(context)
  return { source, table: tables[0]! }
}

/** Fails when `work` takes longer than somebody may who waits for nobody. */
function promptly<T>(what: string, work: Promise<T>): Promise<T> {
  return within(PROMPT_MS_MAX, what, work)
}

async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms)
  })
  return await Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/** A way to the server on which what answers a COPY arrives late, as a large row does on a slow line. */
async function slowLine(t: Test, url: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = dial(Number(port), hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    upstream.on('close', () => void held.then(() => client.end()))
    client.on('close', () => upstream.destroy())
    let held: Promise<void> = Promise.resolve()
    client.on('data', (data) => {
      if (data.includes('copy (select')) held = new Promise((resolve) => setTimeout(resolve, SLOW_MS))
      upstream.write(data)
    })
    upstream.on('data', (data) => void held.then(() => client.write(data)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const slow = new URL(url)
  slow.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return slow.href
}

t.test('a row that takes longer to arrive than a chunk may take passes', async (t) => {
  const db = await createDatabase(t, { version: '15' })
  // More than the chunk's limit, so that the read ends behind a row and not with the table.
  await db.query(
    `create table t (id int primary key, v text); insert into t select i, 'v' || i from generate_series(1, 5000) i`,
  )
  const { source, table } = await opened(t, await slowLine(t, db.url), db.name)
  const session = await source.session({ signal })
  t.teardown(() => session.close())
  await session.lock(table, { signal })
  await session.cut(table, { signal })
  const begun = performance.now()
  const read = session.rows(table, { lo: null, hi: null }, LIMIT, { signal })
  const batches: ChunkRows[] = []
  for await (const batch of read) batches.push(batch)
  const { upTo } = await read.end
  t.ok(performance.now() - begun >= SLOW_MS, 'the row came late')
  const rows = batches.flatMap((batch) => batch.rows)
  t.ok(rows.length > 0, `${rows.length} rows passed`)
  t.same(upTo, { key: [rows.at(-1)![0]], side: 'after' }, 'the next read begins behind them')
  t.same(rows[0], ['1', 'v1'])
})

for (const version of ['15', '18'] as const satisfies readonly PostgresVersion[]) {
  t.test(`PostgreSQL ${version}: the catalog is read beside an ACCESS EXCLUSIVE lock`, async (t) => {
    const db = await createDatabase(t, { version })
    await db.query(`create table t (id int primary key default 1, v text default 'x', p int) partition by range (id)`)
    await db.query('create table t_1 partition of t for values from (0) to (10)')
    await db.query('create table t_more (like t including all)')
    const locker = await db.connect()
    await locker.query('begin; lock table t, t_1, t_more in access exclusive mode')
    const { source, table } = await promptly('open()', opened(t, db.url, db.name))
    t.same(
      table.schema.columns.map((c) => c.name),
      ['id', 'v', 'p'],
    )
    const again = await promptly('refresh()', source.refresh(table.schema.id, { signal }))
    t.equal(again.schema.fingerprint, table.schema.fingerprint)
    await promptly('heartbeat()', source.heartbeat!({ signal }))
    t.equal(await waiters(db), 0, 'nobody waits behind the lock')
    await locker.query('rollback')
  })
}

const waiters = async (db: TestDatabase) =>
  Number(
    (
      await db.query(
        'select count(*) as n from pg_locks l join pg_database d on d.oid = l.database where not granted and datname = current_database()',
      )
    )[0]!.n,
  )

t.test('a COPY that fails is reported, at its start, in its middle and with its connection', async (t) => {
  const db = await createDatabase(t, { version: '15' })
  const options = { ...pgOptionsFromUrl(db.url), sslmode: 'disable' } as const
  const connection = await connectPg(options, { signal })
  t.teardown(() => connection.close())
  const copied = async (sql: string) => {
    let lines = 0
    const copy = new CopyOut(connection, sql, (_, n) => {
      lines += n
    })
    const state = await promptly(
      sql,
      copy.over.then(
        () => 'done',
        (error: unknown) => sqlState(error),
      ),
    )
    return { state, lines }
  }
  t.same(await copied('copy (select * from missing) to stdout'), { state: '42P01', lines: 0 }, 'nothing to read')
  t.same(await connection.query('select 1'), [['1']], 'the connection goes on')
  const middle = await copied('copy (select 1 / (100000 - i) from generate_series(1, 200000) i) to stdout')
  t.equal(middle.state, '22012')
  t.ok(middle.lines > 10_000 && middle.lines < 100_000, `${middle.lines} lines came before`)
  t.same(await connection.query('select 1'), [['1']], 'the connection goes on')
  t.same(await copied('copy (select generate_series(1, 3)) to stdout'), { state: 'done', lines: 3 })
  const running = copied('copy (select pg_sleep(60)) to stdout')
  await until(
    async () =>
      (await db.query(`select 1 from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'`, [connection.pid]))
        .length === 1,
  )
  await db.query('select pg_terminate_backend($1)', [connection.pid])
  t.equal((await running).state, '57P01', 'ended with its connection')
})

t.test('what the server says between the rows of a COPY ends nothing', async (t) => {
  const db = await createDatabase(t, { version: '15' })
  const connection = await connectPg({ ...pgOptionsFromUrl(db.url), sslmode: 'disable' }, { signal })
  t.teardown(() => connection.close())
  const said: string[] = []
  connection.client.on('notice', ({ message }) => void said.push(message ?? ''))
  await db.query(`create function say(i int) returns int language plpgsql as $$ begin
    if i % 1000 = 1 then raise warning 'row %', i; end if;
    if i % 5000 = 2 then perform set_config('application_name', 'row ' || i, false); end if; return i; end $$`)
  // Sessions say nothing by themselves, but a notification or a changed setting comes all the same.
  t.same(await connection.query('show client_min_messages'), [['error']])
  await connection.query(`set client_min_messages = 'notice'`)
  const lines: string[] = []
  const copy = new CopyOut(
    connection,
    'copy (select public.say(i) from generate_series(1, 20000) i) to stdout',
    (piece, count) => {
      const before = lines.length
      for (let at = 0; at < piece.length; at += piece.readUInt32BE(at + 1) + 1)
        lines.push(piece.toString('utf8', at + FRAME_BYTES, at + piece.readUInt32BE(at + 1)))
      t.equal(lines.length - before, count)
    },
  )
  await promptly('copy', copy.over)
  t.strictSame(
    lines,
    Array.from({ length: 20_000 }, (_, i) => `${i + 1}`),
  )
  t.equal(said.length, 20, 'the warnings came')
  t.same(await connection.query('select 1'), [['1']], 'the connection goes on')
})

t.test('rows that went anywhere else are missed', async (t) => {
  const db = await createDatabase(t, { version: '15' })
  const connection = await connectPg({ ...pgOptionsFromUrl(db.url), sslmode: 'disable' }, { signal })
  t.teardown(() => connection.close())
  const copy = new CopyOut(connection, 'copy (select generate_series(1, 3)) to stdout', () => {})
  copy.handleCommandComplete({ text: 'COPY 3' })
  await t.rejects(copy.over, /0 rows of "COPY 3" arrived/)
})

t.test('a chunk whose COPY fails ends with the reason', async (t) => {
  const db = await createDatabase(t, { version: '15' })
  await db.query(
    `create table t (id int primary key, v text); insert into t select i, 'v' from generate_series(1, 10) i`,
  )
  const { source, table } = await opened(t, db.url, db.name)
  const session = await source.session({ signal })
  t.teardown(() => session.close())
  await session.lock(table, { signal })
  await session.cut(table, { signal })
  const range = { lo: { key: ['no number'], side: 'after' }, hi: null } as const
  const read = session.rows(table, range, LIMIT, { signal })
  const taken = (async () => {
    for await (const _ of read);
  })()
  await t.rejects(promptly('rows()', taken), { code: 'postgres.chunk_failed', message: /no number/ })
  await t.rejects(read.end, { code: 'postgres.chunk_failed' })
})
