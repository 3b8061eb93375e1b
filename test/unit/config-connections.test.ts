/** Connection options as the built-in connectors check them: URLs above all, and what is said of wrong ones. */
import t, { type Test } from 'tap'
import { changes } from '../../config/changes.js'
import { loadPipeline } from '../../config/pipeline-file.js'
import { ConfigError } from '../../config/problems.js'
import { BUILT_IN } from '../../config/registry.js'
import { type PostgresOptions, connectionOf as postgresConnection } from '../../connectors/postgres/options.js'
import type { TidemarkError } from '../../core/errors.js'
import { pgOptionsFromUrl, pgUrlProblem } from '../../drivers/postgres.js'

const text = (source: string) => `source:\n  type: postgres\n  tables: public.*\n${source}sink: {type: stdout}\n`

function load(t: Test, source: string, env: Record<string, string> = {}) {
  const cwd = t.testdir({ 'p.yaml': text(source) })
  return loadPipeline({ file: 'p.yaml', registry: BUILT_IN, env, cwd })
}

/** Each problem as `where  message`. */
function problems(t: Test, source: string, env: Record<string, string> = {}): string[] {
  try {
    load(t, source, env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map((p) => `${p.where}  ${p.message}`)
  }
  t.fail('the file was accepted')
  return []
}

const connectionOf = (t: Test, source: string, env: Record<string, string>) =>
  pgOptionsFromUrl((load(t, source, env).source.options as { url: string }).url)

t.test('a password from outside stays a password, whatever it holds', async (t) => {
  const source = `  url: postgres://app:\${PW}@db.example.com:6000/shop?sslmode=require\n`
  const where = { host: 'db.example.com', port: 6000, user: 'app', database: 'shop', sslmode: 'require' }
  for (const password of ['p@ss:w/o?r#d%zz', 'secret%zz', 'secretA@host2/x', '12#rest', 'x%41y', 'a\nb', 'é ü', '[1]'])
    t.match(connectionOf(t, source, { PW: password }), { ...where, password }, password)
})

t.test('each part of a URL that is spelled out takes values as they are', async (t) => {
  const source = `  url: postgres://\${USER}:\${file:pw}@\${HOST:-db:6000}/\${DB}?application_name=\${NAME}\n`
  const cwd = t.testdir({ 'p.yaml': text(source), pw: 'a/b@c\n' })
  const env = { USER: 'me@corp:x', HOST: '[::1]:7000', DB: 'a/b?c', NAME: 'x&sslmode=disable' }
  const { url } = loadPipeline({ file: 'p.yaml', registry: BUILT_IN, env, cwd }).source.options as { url: string }
  const expected = { user: 'me@corp:x', password: 'a/b@c', host: '::1', port: 7000, database: 'a/b?c' }
  t.match(pgOptionsFromUrl(url), { ...expected, applicationName: 'x&sslmode=disable', sslmode: undefined })
  t.match(connectionOf(t, `  url: \${URL}?sslmode=require\n`, { URL: 'postgres://u:p%40@h/d' }), {
    ...{ user: 'u', password: 'p@', host: 'h', database: 'd', sslmode: 'require' },
  })
})

t.test('a wrong URL is found in the file, and no piece of its password is shown', async (t) => {
  const password = ['p@ss:w/o?r#d%zz', 'secret%zz', 'secretA@host2/x', '12#secretRest', '5/secret', '5?secret', 'a\nb']
  for (const piece of password) {
    const [line, ...more] = problems(t, `  url: \${URL}\n`, { URL: `postgres://me:${piece}@h/d` })
    t.same(more, [])
    t.match(line, /^p\.yaml:4:8 {2}source\.url: the url holds /, piece)
    for (const part of ['secret', 'Rest', 'host2', 'w/o', 'r#d', 'ss:']) t.notMatch(line, part)
  }
  const cases: [string, RegExp][] = [
    ['h:5432/d', /^p\.yaml:4:8 {2}source\.url: the url is not a URL\. Write postgres:/],
    ['mysql://h/d', /has the scheme mysql\./],
    ['postgres://u@/d', /names no host/],
    ['postgres://h:x/d', /has a port that is not a number/],
    ['postgres://h:99999/d', /is not a URL/],
    ['postgres://h/d?sslmod=require', /has an unknown parameter sslmod; known are sslmode, /],
    ['postgres://h/d?sslmode=on', /has sslmode=on; known are disable, /],
    ['postgres://h/d?connect_timeout=1s', /has connect_timeout=1s/],
    ['postgres://u:%ff@h/d', /no UTF-8 text/],
  ]
  for (const [url, pattern] of cases) t.match(problems(t, `  url: ${url}\n`), [pattern], url)
  t.equal(pgUrlProblem('postgresql://u:p%40@[::1]:5432/d'), null)
  t.throws(() => pgOptionsFromUrl('postgres://u:secret%zz@h/d'), { code: 'postgres.url', exitCode: 2 })
})

t.test('url or its parts, never both', async (t) => {
  t.same(problems(t, '  url: postgres://h/d\n  hostname: h\n  password: x\n'), [
    'p.yaml:5:13  source.hostname: give either `url` or `hostname`',
    'p.yaml:6:13  source.password: give either `url` or `password`',
  ])
  t.match(problems(t, '  hostname: h\n'), [/^p\.yaml:1:1 {2}source \(postgres\): give `url`, or `hostname`, /])
})

t.test('the database may be the first part of every table pattern, as in files of Flink CDC', async (t) => {
  const wanted = (tables: string, more = '') => {
    const source = `source:\n  type: postgres\n  hostname: h\n  username: u\n  tables: ${tables}\n${more}`
    const cwd = t.testdir({ 'p.yaml': `${source}sink: {type: stdout}\n` })
    const { options } = loadPipeline({ file: 'p.yaml', registry: BUILT_IN, env: {}, cwd }).source
    return postgresConnection(options as PostgresOptions, 'source', 'test').database
  }
  t.equal(wanted('adb.\\.*.\\.*, adb.public.x'), 'adb')
  t.equal(wanted('adb.public.x', '  database: other\n'), 'other')
  for (const tables of ['adb.a.b, bdb.a.b', 'adb.a.b, a.b', 'a\\.*.b.c', 'public.x'])
    t.throws(() => wanted(tables), { message: /give `url`, or .* and `database`/ }, tables)
})

t.test('table patterns and other options are read before anything connects', async (t) => {
  const said = (source: string) => {
    const cwd = t.testdir({
      'p.yaml': `source:\n  type: postgres\n  url: postgres://h/d\n${source}sink: {type: stdout}\n`,
    })
    try {
      loadPipeline({ file: 'p.yaml', registry: BUILT_IN, env: {}, cwd })
      return []
    } catch (error) {
      return (error as ConfigError).problems.map((p) => `${p.where}  ${p.message}`)
    }
  }
  t.same(said('  tables: ""\n'), ['p.yaml:4:11  source.tables must not be empty'])
  t.same(said('  tables: ","\n'), ['p.yaml:4:11  source.tables: it names no table'])
  t.match(said('  tables: orders\n'), [/^p\.yaml:4:11 {2}source\.tables: table pattern "orders" has one part\. Write /])
  t.match(said('  tables: [a.b, a.b.c.d]\n'), [
    /^p\.yaml:4:17 {2}source\.tables\[1\]: table pattern "a\.b\.c\.d" has 4 parts/,
  ])
  t.match(said('  tables: a.(\\.*\n'), [/^p\.yaml:4:11 .*is not a regular expression/])
  t.match(said('  tables: a.b\n  tables.exclude: b\n'), [/^p\.yaml:5:19 {2}source\.tables\.exclude: .*has one part/])
  t.same(said('  tables: a.b\n  slot.name: My-Slot\n'), [
    'p.yaml:5:14  source.slot.name is "My-Slot": use only a-z, 0-9 and "_", at most 63 of them',
  ])
  t.same(said('  tables: a.b\n  heartbeat.interval: soon\n'), [
    'p.yaml:5:23  source.heartbeat.interval: "soon" is not a length of time. Write for example 500ms, 1s or 2min.',
  ])
})

t.test('changes() says what is missing and what is unknown, with no secret', async (t) => {
  const said = (options: object, tables?: string) =>
    changes({ source: { type: 'postgres', ...options }, ...(tables ? { tables } : {}) })
      .next()
      .then(
        () => 'accepted',
        (error: TidemarkError) => `${error.code} ${error.message} ${error.fix}`,
      )
  const missing = await said({ url: 'postgres://h/d' })
  t.match(missing, /^config\.invalid source \(postgres\) needs "tables" For example: changes\(/)
  t.match(await said({ ulr: 'x' }, 'a.b'), /has no option "ulr"\. Did you mean "url"\?/)
  t.notMatch(await said({ url: 'postgres://h/d', pasword: 'hunter2' }, 'a.b'), 'hunter2')
})
