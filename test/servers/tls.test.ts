/** sslmode as libpq documents it, on a server with an authority of its own, for every connection that a pipeline makes. */
import t, { type Test } from 'tap'
import { TidemarkError } from '../../core/errors.js'
import { connectPg, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { CopyOut, copyIn, FRAME_BYTES } from '../../drivers/postgres-copy.js'
import { ReplicationStream } from '../../drivers/postgres-replication.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { type At, startForgetfulProxy, startTlsServer } from '../support/tls.js'
import { until } from '../support/until.js'

const signal = new AbortController().signal
const server = await startTlsServer(t)
const file = (name: string) => server.certificates.path(name)

/** Whether the server calls the session encrypted; or how connecting failed. */
async function connect(options: At): Promise<boolean | TidemarkError> {
  try {
    const connection = await connectPg(pgOptionsFromUrl(server.at(options)), { signal })
    const [row] = await connection.query('select ssl::text from pg_stat_ssl where pid = pg_backend_pid()')
    await connection.close()
    return row![0] === 'true'
  } catch (error) {
    return error as TidemarkError
  }
}

/** One error for users: a code, what happened in one line, what to do. */
async function refused(t: Test, options: At, code: string, message: RegExp, fix: RegExp): Promise<void> {
  const error = await connect(options)
  if (!(error instanceof TidemarkError)) {
    t.fail(`connected, or an error without a code: ${error}`)
    return
  }
  t.equal(error.code, code, error.message)
  t.match(error.message, message)
  t.match(error.fix ?? '', fix)
  t.notMatch(error.message, /\n/, 'one line')
  t.equal(error.retriable, false, 'waiting does not help')
}

t.test('verify-full and verify-ca', async (t) => {
  const sslrootcert = file('ca.crt')
  t.equal(await connect({ sslmode: 'verify-full', sslrootcert }), true)
  const host = '127.0.0.1'
  const naming = /certificate is not for 127\.0\.0\.1.*localhost/
  await refused(t, { sslmode: 'verify-full', sslrootcert, host }, 'postgres.tls', naming, /localhost.*verify-ca/)
  t.equal(await connect({ sslmode: 'verify-ca', sslrootcert, host }), true)
  for (const sslmode of ['verify-ca', 'verify-full']) {
    const wrong = { sslmode, sslrootcert: file('other.crt') }
    await refused(t, wrong, 'postgres.tls', /certificate/, /sslrootcert/)
    await refused(t, { sslmode }, 'postgres.tls_options', /root\.crt/, /sslrootcert/)
  }
  await refused(t, { sslmode: 'verify-full', sslrootcert: 'system' }, 'postgres.tls', /certificate/, /sslrootcert/)
})

t.test('require, which verifies the authority once it has its certificate', async (t) => {
  t.equal(await connect({ sslmode: 'require' }), true)
  t.equal(await connect({ sslmode: 'require', sslrootcert: file('ca.crt'), host: '127.0.0.1' }), true)
  const wrong = { sslmode: 'require', sslrootcert: file('other.crt') }
  await refused(t, wrong, 'postgres.tls', /certificate/, /sslrootcert/)
  t.equal(await connect({ sslrootcert: 'system', sslmode: 'require' }).then(codeOf), 'postgres.tls_options')
  t.equal(await connect({ sslrootcert: 'system' }).then(codeOf), 'postgres.tls', 'means verify-full')
  await refused(t, { sslmode: 'require', user: 'plain_only' }, 'postgres.auth', /pg_hba\.conf/, /pg_hba\.conf/)
  await refused(t, { ...(await withoutTls(t)), sslmode: 'require' }, 'postgres.tls', /does not offer TLS/, /ssl = on/)
})

t.test('disable', async (t) => {
  t.equal(await connect({ sslmode: 'disable' }), false)
  const host = encodeURIComponent(server.dataDir)
  t.equal(await connect({ sslmode: 'require', host }), false, 'a Unix socket has no TLS, and libpq asks for none')
  await refused(t, { sslmode: 'disable', user: 'tls_only' }, 'postgres.auth', /no encryption/, /sslmode: require/)
})

t.test('prefer goes on without TLS only where TLS was refused', async (t) => {
  t.equal(await connect({}), true, 'prefer is the default')
  t.equal(await connect({ user: 'plain_only' }), false, 'refused by pg_hba.conf')
  t.equal(await connect({ sslrootcert: file('other.crt') }), false, 'refused by us')
  t.equal(await connect(await withoutTls(t)), false, 'not offered')
  const password = await connect({ user: 'secret:wrong' })
  t.equal(codeOf(password), 'postgres.auth')
  t.match(password, { message: /password authentication failed/ }, 'a wrong password is no refusal of TLS')
  t.equal(await connect({ user: 'secret:right' }), true)
  const both = await connect({ user: 'tls_only', sslrootcert: file('other.crt') })
  t.match(both, { message: /no encryption.*certificate/ }, 'both reasons when both ways fail')
})

t.test('allow goes on with TLS only where the server refused to go without', async (t) => {
  const sslmode = 'allow'
  t.equal(await connect({ sslmode }), false)
  t.equal(await connect({ sslmode, user: 'tls_only' }), true)
  t.equal(await connect({ sslmode, user: 'plain_only' }), false)
  t.equal(codeOf(await connect({ sslmode, user: 'cautious:wrong' })), 'postgres.auth')
  t.equal(codeOf(await connect({ sslmode, user: 'tls_only', sslrootcert: file('other.crt') })), 'postgres.tls')
  t.equal(codeOf(await connect({ sslmode, user: 'anyone', port: 1 })), 'postgres.connection')
})

t.test('client certificates', async (t) => {
  const own = { user: 'certified', sslmode: 'require', sslcert: file('certified.crt'), sslkey: file('certified.key') }
  t.equal(await connect(own), true)
  t.equal(await connect({ ...own, sslmode: 'allow' }), true)
  await refused(t, { ...own, sslcert: '', sslkey: '' }, 'postgres.auth', /client certificate/, /sslcert/)
  const stranger = { ...own, sslcert: file('stranger.crt'), sslkey: file('stranger.key') }
  await refused(t, stranger, 'postgres.tls', /unknown ca/, /sslcert/)
  await refused(t, { ...own, sslkey: file('stranger.key') }, 'postgres.tls_options', /sslkey/, /belong/)
  await refused(t, { ...own, sslkey: '/none.key' }, 'postgres.tls_options', /sslkey.*\/none\.key/, /PEM/)
  await refused(t, { ...own, sslcert: file('ca.key') }, 'postgres.tls_options', /sslcert/, /PEM/)
  await refused(t, { sslmode: 'require', sslrootcert: file('ca.key') }, 'postgres.tls_options', /sslrootcert/, /PEM/)
})

t.test('COPY in both directions, in many pieces', async (t) => {
  const db = await createDatabase(t, { server })
  const options = pgOptionsFromUrl(server.at({ user: 'tls_only', database: db.name, sslmode: 'require' }))
  const connection = await connectPg(options, { signal })
  t.teardown(() => connection.close())
  await connection.query('create table public.t (id int, v text)')
  const lines = Array.from({ length: 5_000 }, (_, i) => `${i}\t${'x'.repeat(i % 500)}\n`)
  t.equal(await copyIn(connection, 'copy public.t from stdin', lines), lines.length)
  const read: string[] = []
  let pieces = 0
  const copy: CopyOut = new CopyOut(connection, 'copy (select * from public.t order by id) to stdout', (piece) => {
    for (let at = 0; at < piece.length; at += piece.readUInt32BE(at + 1) + 1)
      read.push(piece.toString('utf8', at + FRAME_BYTES, at + piece.readUInt32BE(at + 1) + 1))
    pieces++
    copy.pause()
    setImmediate(() => copy.resume())
  })
  await copy.over
  t.ok(pieces > 10, `${pieces} pieces`)
  t.ok(read.length === lines.length && read.join('') === lines.join(''), 'every byte, in order')
  t.same(await connection.query('select 1'), [['1']], 'and pg has its socket back')
})

t.test('a log stream: verified, not slower for its many small records, and no fallback of its own', async (t) => {
  const db = await createDatabase(t, { server })
  await db.query('create table t (id int); create publication tls for table t')
  let rows = 0
  let pieces = 0
  const stream = (options: At) =>
    ReplicationStream.start(
      pgOptionsFromUrl(server.at({ user: 'tls_only', database: db.name, sslmode: 'verify-full', ...options })),
      {
        slot: `tls_${db.name}`,
        publication: 'tls',
        from: 0n,
        messages: true,
        temporary: true,
        statusIntervalMs: 10_000,
      },
      { message: (payload) => void (isInsert(payload) && rows++), drained: () => void pieces++ },
      signal,
    )
  const running = await stream({ sslrootcert: file('ca.crt') })
  await db.query('insert into t select generate_series(1, 5000)')
  await until(() => rows === 5_000)
  t.ok(pieces < 500, `${pieces} pieces: a wait for each row would take seconds`)
  await running.stop()
  const error = await stream({ sslrootcert: file('other.crt') }).catch((thrown: unknown) => thrown)
  t.equal(codeOf(error), 'postgres.tls')
  const password = await stream({ user: 'secret:wrong', sslmode: 'prefer' }).catch((thrown: unknown) => thrown)
  t.match(password, { code: 'postgres.auth', message: /password/ })
})

t.test('tidemark sync: log, chunks and sink are all encrypted', async (t) => {
  const source = await createDatabase(t, { server })
  const target = await createDatabase(t, { server })
  await source.query('create table t (id int primary key, v text)')
  await source.query(`insert into t select i, repeat('x', 100) from generate_series(1, 5000) i`)
  const tls = { sslmode: 'verify-full', sslrootcert: file('ca.crt') }
  const { file: pipeline } = writePipeline(t, {
    source: {
      type: 'postgres',
      url: server.at({ user: 'tls_only', database: source.name, ...tls }),
      tables: 'public.t',
      'scan.incremental.snapshot.chunk.size': 500,
    },
    sink: {
      type: 'postgres',
      hostname: 'localhost',
      port: server.port,
      username: 'tls_only',
      database: target.name,
      ...tls,
    },
    pipeline: { name: source.name },
  })
  const sync = startTidemark(t, ['sync', pipeline, '--once'], {
    failpoint: { step: 'chunk.rows', nth: 3, action: 'stop' },
  })
  await sync.stopped()
  const sessions = await source.query(
    `select case when backend_type = 'walsender' then 'log' when datname = $2 then 'sink' else 'source' end as kind,
       count(*)::text, bool_and(ssl)::text as encrypted
     from pg_stat_activity join pg_stat_ssl using (pid) where application_name = $1 group by 1 order by 1`,
    [`tidemark:${source.name}`, target.name],
  )
  t.same(
    sessions.map(({ kind, encrypted }) => [kind, encrypted]),
    [
      ['log', 'true'],
      ['sink', 'true'],
      ['source', 'true'],
    ],
  )
  t.ok(Number(sessions.at(-1)!.count) > 2, 'control connection and chunk readers')
  sync.signal('SIGCONT')
  const { code, stderr } = await sync.exit()
  t.equal(code, 0, stderr)
  t.same(await target.query('select count(*) from t'), [{ count: '5000' }])
  const wrong = await runTidemark(t, ['sync', pipeline, '--once', '--set', 'sink.hostname=127.0.0.1'])
  t.equal(wrong.code, 3)
  t.match(wrong.stderr, /postgres\.tls.*127\.0\.0\.1/)
  t.notMatch(wrong.stderr, /\n {4}at /, 'no stack trace')
})

t.test('a pooler that forgets the settings of the session', async (t) => {
  const port = await startForgetfulProxy(t, server)
  const slot = { slot: 's', publication: 'p', from: 0n, messages: true, temporary: true, statusIntervalMs: 10_000 }
  for (const sslmode of ['disable', 'prefer', 'require']) {
    await refused(t, { port, sslmode }, 'postgres.session', /IntervalStyle.*search_path/, /Connect directly/)
    const options = pgOptionsFromUrl(server.at({ user: 'postgres', port, sslmode }))
    const stream = ReplicationStream.start(options, slot, { message: () => {}, drained: () => {} }, signal)
    await t.rejects(stream, { code: 'postgres.session', fix: /Connect directly/ })
  }
})

t.test('an expired certificate', async (t) => {
  await server.present('expired')
  t.equal(await connect({ sslmode: 'require' }), true)
  for (const sslmode of ['verify-ca', 'verify-full']) {
    await refused(t, { sslmode, sslrootcert: file('ca.crt') }, 'postgres.tls', /expired/, /renew|clock/i)
  }
})

/** XLogData with an Insert of pgoutput in it. */
function isInsert(payload: Buffer): boolean {
  return payload[0] === 0x77 && payload[25] === 0x49
}

function codeOf(thrown: unknown): string | null {
  return thrown instanceof TidemarkError ? thrown.code : null
}

/** A database on a server that has no TLS. */
async function withoutTls(t: Test): Promise<At> {
  const { url, name } = await createDatabase(t, { version: '15' })
  return { user: 'postgres', host: '127.0.0.1', port: Number(new URL(url).port), database: name }
}
