import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadPipeline, type PipelineConfig } from '../../config/pipeline-file.js'
import { ConfigError, closest } from '../../config/problems.js'
import { connectorNamed } from '../../config/read-blocks.js'
import { BUILT_IN } from '../../config/registry.js'
import { Secrets } from '../../config/secrets.js'
import { removeStateFile, stateFile } from '../../config/state-file.js'
import { parseDurationMs } from '../../core/duration.js'
import { fakeConnectors } from '../support/fake-connectors.js'

interface Given {
  readonly env?: Record<string, string>
  readonly set?: string[]
  readonly files?: Record<string, string>
  readonly name?: string
}

const GOOD = 'source: {type: postgres, url: "postgres://h/d", tables: public.orders}\nsink: {type: stdout}\n'

function load(t: Test, text: string, given: Given = {}, secrets = new Secrets()): PipelineConfig {
  const cwd = t.testdir({ [given.name ?? 'p.yaml']: text, ...given.files })
  const { env = {}, set = [] } = given
  return loadPipeline({ file: given.name ?? 'p.yaml', registry: fakeConnectors().registry, env, cwd, set, secrets })
}

/** Each problem as `where  message`. */
function problems(t: Test, text: string, given: Given = {}): string[] {
  try {
    load(t, text, given)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    t.equal(error.code, 'config.invalid')
    t.equal(error.exitCode, 2)
    for (const p of error.problems) t.match(error.message, `${p.where}  ${p.message}`)
    return error.problems.map((p) => `${p.where}  ${p.message}`)
  }
  t.fail('the file was accepted')
  return []
}

t.test('a good file', async (t) => {
  const config = load(t, GOOD, { name: 'orders-to-stdout.yaml' })
  t.equal(config.name, 'orders-to-stdout')
  t.equal(config.source.definition.connector, 'postgres')
  t.equal(config.sink.definition.connector, 'stdout')
  t.match(config.source.options, { tables: 'public.orders', port: 5432, 'scan.startup.mode': 'initial' })
  t.equal(config.mode, 'initial')
  t.ok(config.readers >= 2)
  t.equal(config.checkpointIntervalMs, undefined)
  t.equal(config.stateFile, null)
  t.same(config.warnings, [])
})

t.test('several sources in one pipeline are refused with what to do; mariadb is another word for mysql', async (t) => {
  const one = '{type: postgres, url: "postgres://h/d", tables: public.a}'
  t.same(problems(t, `source: [${one}, ${one}]\nsink: {type: stdout}\n`), [
    'p.yaml:1:9  source must be one map of options: a pipeline has one source and one position in it. Write a pipeline file for each; they may write to one sink, each with a checkpoint of its own',
  ])
  for (const type of ['mysql', 'mariadb']) {
    t.equal(connectorNamed(BUILT_IN.sources, type)?.connector, 'mysql')
    t.equal(connectorNamed(BUILT_IN.sinks, type)?.connector, 'mysql')
  }
})

t.test('the pipeline block', async (t) => {
  const text = `${GOOD}pipeline:\n  name: shop\n  parallelism: 3\n  checkpoint.interval: 250ms\n  state: state/p.json\n`
  const config = load(t, text)
  t.equal(config.name, 'shop')
  t.equal(config.readers, 3)
  t.equal(config.checkpointIntervalMs, 250)
  t.match(config.stateFile, /\/state\/p\.json$/)
  t.same(problems(t, `${GOOD}pipeline:\n  checkpoint.interval: soon\n  parallelism: 0\n`), [
    'p.yaml:4:24  pipeline.checkpoint.interval: "soon" is not a length of time. Write for example 500ms, 1s or 2min.',
    'p.yaml:5:16  pipeline.parallelism must be at least 1, not 0',
  ])
  t.match(problems(t, `${GOOD}pipeline:\n  checkpoint:\n    interval: 1s\n`), [
    'p.yaml:4:3  pipeline has no option "checkpoint". Options are written in one line: "checkpoint.interval: ..."',
  ])
  t.match(problems(t, GOOD, { name: '#1.yaml' }), ['#1.yaml:1:1  the file\'s name "#1" cannot name the pipeline'])
})

t.test('startup mode and heartbeat reach the core', async (t) => {
  const text = GOOD.replace('tables:', 'scan.startup.mode: snapshot, heartbeat.interval: 5s, tables:')
  const config = load(t, text)
  t.equal(config.mode, 'snapshot')
  t.equal(config.heartbeatIntervalMs, 5000)
})

t.test('every problem at once, in the order of the file', async (t) => {
  const text = `source:
  type: postgres
  url: postgres://h/d
  tabels: public.orders
  port: many
  scan.startup.mode: intial
  slotName: x
sink:
  type: stdot
  value.format: x
transfrom: []
pipeline:
  parallelism: 2.5
  colour: red
`
  t.same(problems(t, text), [
    'p.yaml:4:3  source (postgres) has no option "tabels". Did you mean "tables"?',
    'p.yaml:5:9  source.port must be a whole number, not "many".',
    'p.yaml:6:22  source.scan.startup.mode must be "initial", "latest-offset" or "snapshot", not "intial". Did you mean "initial"?',
    'p.yaml:7:3  source (postgres) has no option "slotName". Did you mean "slot.name"?',
    'p.yaml:9:9  there is no sink "stdot". Did you mean "stdout"?',
    'p.yaml:11:1  there is no block "transfrom". Did you mean "transform"?',
    'p.yaml:13:16  pipeline.parallelism must be a whole number, not 2.5.',
    'p.yaml:14:3  pipeline has no option "colour". It has "name", "parallelism", "checkpoint.interval", "state" or "route-mode".',
  ])
})

t.test('checks between options show together with single mistakes', async (t) => {
  const both = 'source:\n  type: postgres\n  url: postgres://h/d\n  host: h\n  tables: a.b\nsink: {type: stdout}\n'
  t.same(problems(t, both), [
    'p.yaml:3:8  source.url: give url or hostname, not both',
    'p.yaml:4:3  source (postgres) has no option "host". Did you mean "hostname"?',
  ])
  const neither = 'source:\n  type: postgres\n  prot: 1\n  tables: a.b\nsink: {type: stdout}\n'
  t.same(problems(t, neither), [
    'p.yaml:1:1  source (postgres): give url, or hostname with port, username, password and database',
    'p.yaml:3:3  source (postgres) has no option "prot". Did you mean "port"?',
  ])
})

t.test('blocks and types', async (t) => {
  t.same(problems(t, ''), ['p.yaml:1:1  the file is empty; it needs "source" and "sink"'])
  t.same(problems(t, '- a\n'), ['p.yaml:1:1  the file must hold the blocks "source" and "sink"'])
  t.same(problems(t, 'sink: {type: stdout}\n'), ['p.yaml:1:1  the file needs "source"'])
  t.same(problems(t, 'source: {type: postgres, url: u, tables: a.b}\nsinks: {type: stdout}\n'), [
    'p.yaml:2:1  there is no block "sinks". Did you mean "sink"?',
  ])
  t.same(problems(t, 'source: postgres\nsink:\n  path: x\n'), [
    'p.yaml:1:9  source must be a map of options, with "type" one of postgres',
    'p.yaml:2:1  sink needs "type". It can be stdout, file or postgres.',
  ])
  t.same(problems(t, 'source: {type: 3}\nsink: {type: kafka}\n'), [
    'p.yaml:1:16  source.type must be a word. It can be postgres.',
    'p.yaml:2:14  there is no sink "kafka". It can be stdout, file or postgres.',
  ])
  t.same(problems(t, `${GOOD}route: {a: b}\ntransform: 3\npipeline: x\n`), [
    'p.yaml:3:8  route must be a list: start each entry with "- source-table: ..."',
    'p.yaml:4:12  transform must be a list: start each entry with "- source-table: ..."',
    'p.yaml:5:11  pipeline must be a map of options',
  ])
  t.same(problems(t, GOOD.replace('tables: public.orders', 'tables: {a: b}')), [
    'p.yaml:1:57  source.tables must be text or a list, not a map.',
  ])
})

t.test('YAML mistakes have line and column', async (t) => {
  t.match(problems(t, `${GOOD}pipeline:\n  name: a\n  name: b\n`), ['p.yaml:5:3  this option is given twice'])
  t.match(problems(t, 'source:\n\ttype: postgres\n'), [/^p\.yaml:2:1 {2}tabs cannot indent/])
  t.match(problems(t, 'source: "x\n'), [/^p\.yaml:\d+:\d+ {2}YAML: /])
  t.match(problems(t, `${GOOD}---\na: b\n`), [/^p\.yaml:3:1 {2}one file holds one pipeline/])
  t.match(problems(t, `${GOOD}pipeline: {name: *x}\n`), [/^p\.yaml:3:18 {2}the alias "\*x" refers to nothing/])
  t.match(problems(t, `${GOOD}pipeline: {name: !secret x}\n`), [/^p\.yaml:3:18 {2}YAML: Unresolved tag/])
  t.throws(() => load(t, GOOD, { files: { 'p.yaml': Buffer.from([0xff, 0xfe]) as unknown as string } }), {
    code: 'config.unreadable',
  })
  const missing = () =>
    loadPipeline({ file: 'no.yaml', registry: fakeConnectors().registry, env: {}, cwd: t.testdir() })
  t.throws(missing, { code: 'config.unreadable', message: 'there is no file no.yaml', exitCode: 2 })
})

t.test('aliases and odd names', async (t) => {
  const anchored = 'source: {type: postgres, url: &u "postgres://h/d", tables: a.b}\nsink: {type: postgres, url: *u}\n'
  t.match(load(t, anchored).sink.options, { url: 'postgres://h/d' })
  t.match(problems(t, `${GOOD}__proto__: {a: 1}\n`), [/^p\.yaml:3:1 {2}there is no block "__proto__"/])
  t.match(problems(t, `${GOOD}pipeline: {__proto__: 1, constructor: 2}\n`), [
    /pipeline has no option "__proto__"/,
    /pipeline has no option "constructor"/,
  ])
})

t.test('text options take plain scalars as written', async (t) => {
  const config = load(t, GOOD.replace('tables:', 'password: 007, username: true, tables:'))
  t.match(config.source.options, { password: '007', username: 'true' })
})

t.test('interpolation', async (t) => {
  const source = (extra: string) => `source:\n  type: postgres\n  url: u\n  tables: a.b\n${extra}sink: {type: stdout}\n`
  const env = { PW: 'a: b\n#"c', EMPTY: '', PORT: '6000', FLAG: 'false' }
  const files = { secret: 'from file\n', 'p.properties': '# c\nuser = joe\npass\\ word: x\\u0041\\\n  y\n' }
  const options = (extra: string) => load(t, source(extra), { env, files }).source.options
  t.match(options(`  password: \${PW}\n`), { password: 'a: b\n#"c' }, 'a secret cannot change the structure')
  t.match(options(`  password: x\${env:PORT}y\n`), { password: 'x6000y' })
  t.match(options(`  password: \${NO:-def}\n`), { password: 'def' })
  t.match(options(`  password: \${EMPTY:-\${PORT}}\n`), { password: '6000' })
  t.match(options(`  password: "\${EMPTY}"\n`), { password: '' })
  t.match(options(`  password: $\${PW}\n`), { password: `\${PW}` })
  t.match(options(`  password: \${file:secret}\n  username: \${file:p.properties:user}\n`), {
    password: 'from file',
    username: 'joe',
  })
  t.match(options(`  password: \${file:p.properties:pass word}\n`), { password: 'xAy' })
  t.match(options(`  port: \${PORT}\n  publication.create: \${FLAG}\n`), { port: 6000, 'publication.create': false })
  t.match(options(`  password: \${PORT}\n`), { password: '6000' }, 'text stays text')
  t.match(options(`  password: a$PW\n`), { password: 'a$PW' })
})

t.test('interpolation mistakes', async (t) => {
  const source = (extra: string) => `source:\n  type: postgres\n  url: u\n  tables: a.b\n${extra}sink: {type: stdout}\n`
  const files = { 'p.properties': 'a=1\n' }
  t.same(problems(t, source(`  port: \${NOPE}\n  password: \${file:none}\n`), { files }), [
    `p.yaml:5:9  source.port: the environment variable NOPE is not set. Set it, or give a default: \${NOPE:-...}`,
    'p.yaml:6:13  source.password: the file none cannot be read (ENOENT)',
  ])
  t.match(problems(t, source(`  password: \${file:p.properties:b}\n`), { files }), [/has no property "b"/])
  t.match(problems(t, source(`  password: "\${A"\n`)), [/p\.yaml:5:13 {2}source\.password: "\$\{" without "\}"/])
  t.match(problems(t, source(`  password: \${a:b}\n`)), [/"\$\{a:b\}" is not understood/])
  t.match(
    problems(t, source(`  tables.\${X}: 3\n`)),
    [/has no option "tables\.\$\{X\}"/],
    'names are never interpolated',
  )
})

t.test('--set', async (t) => {
  const config = load(t, GOOD, {
    set: [
      'source.scan.startup.mode=latest-offset',
      'source.port=7000',
      'pipeline.name=other',
      'sink.value.format="row-json"',
    ],
  })
  t.equal(config.mode, 'latest-offset')
  t.equal(config.name, 'other')
  t.match(config.source.options, { port: 7000 })
  t.match(config.sink.options, { 'value.format': 'row-json' })
  t.match(load(t, GOOD, { set: [`source.password=\${PW}`], env: { PW: 'x=y' } }).source.options, { password: 'x=y' })
  t.match(load(t, 'sink: {type: stdout}\n', { set: ['source.type=postgres', 'source.url=u', 'source.tables=a.b'] }), {
    name: 'p',
  })
  t.same(
    problems(t, GOOD, {
      set: [
        'source.prt=1',
        'sorce.port=1',
        'nonsense',
        'source.port=x',
        'route.a=b',
        'source.tables=[a, b]',
        'source.port: 3=4',
      ],
    }).map((line) => line.replace(/\. .*$/, '.')),
    [
      '--set sorce.port  there is no block "sorce".',
      '--set nonsense  is not understood.',
      '--set route.a  route is a list, and --set cannot reach into it.',
      '--set source.tables  the value must be a YAML scalar, not a list or a map',
      '--set source.port  source.port must be a whole number, not "x".',
      '--set source.prt  source (postgres) has no option "prt".',
      '--set source.port: 3  source (postgres) has no option "port: 3".',
    ],
  )
})

t.test('secrets never show', async (t) => {
  const text = `source:
  type: postgres
  url: postgres://me:hun%20ter2@h/d
  tables: a.b
  password: s3cr3t-in-file
  port: \${TOKEN}
  heartbeat.interval: \${TOKEN}
  scan.startup.mode: \${MODE}
sink:
  type: file
  path: ["\${TOKEN}"]
`
  const secrets = new Secrets()
  const env = { TOKEN: 'tok-12345', MODE: 'weird-value' }
  try {
    load(t, text, { env }, secrets)
    t.fail('accepted')
  } catch (error) {
    const said = `${(error as Error).message}${JSON.stringify(error)}`
    for (const secret of ['tok-12345', 'weird-value', 's3cr3t', 'hun%20ter2']) t.notMatch(said, secret)
    t.match(said, 'source.port must be a whole number, not the value that was interpolated')
  }
  const line = 'connect postgres://me:hun%20ter2@h failed: hun ter2, s3cr3t-in-file, "tok-12345"'
  t.equal(secrets.redact(line), 'connect postgres://me:***@h failed: ***, ***, "***"')
})

t.test('redaction', async (t) => {
  const secrets = new Secrets()
  secrets.learn('password', 'a"b\nc', [])
  secrets.learn('url', 'postgres://u:p%40ss@h/d', [])
  secrets.learn('password', '1', [])
  secrets.learn('properties.sasl.password', 'zzzz', [])
  secrets.learn('hostname', 'db.example', ['db.example'])
  secrets.learn('some.option', 'aval', ['aval'])
  t.equal(secrets.redact('a"b\nc'), '***')
  t.equal(secrets.redact(JSON.stringify({ x: 'a"b\nc' })), '{"x":"***"}')
  t.equal(secrets.redact('p%40ss and p@ss'), '*** and ***')
  t.equal(secrets.redact('port 5431, pid 1'), 'port 5431, pid 1', 'too short to be told from other text')
  t.equal(secrets.redact('at 127.0.0.1, postgres://u:1@h/d'), 'at 127.0.0.1, postgres://u:***@h/d')
  t.equal(secrets.redact('zzzz'), '***')
  t.equal(secrets.redact('zzzz in public.zzzz and "zzzz"."x", no zzzz.'), '*** in public.zzzz and "zzzz"."x", no ***.')
  const finding = { level: 'info', subject: 'zzzz', message: 'said zzzz', fix: 'DROP TABLE zzzz;' } as const
  t.same(secrets.redactFinding(finding), { ...finding, message: 'said ***' })
  t.equal(secrets.redact('db.example aval'), 'db.example ***')
  t.equal(secrets.redact('unknown mysql://root:topsecret@h:3306/x'), 'unknown mysql://root:***@h:3306/x')
  t.same(secrets.redactDeep({ a: ['zzzz', 1, null], b: { c: 'x zzzz' } }), { a: ['***', 1, null], b: { c: 'x ***' } })
})

t.test('options of Flink CDC', async (t) => {
  const text = `${GOOD}pipeline:\n  schema.change.behavior: evolve\n  local-time-zone: UTC\n  execution.runtime-mode: STREAMING\n`
  const { warnings } = load(t, text.replace('{type: stdout}', '{type: stdout, name: label}'))
  t.equal(warnings.length, 3)
  for (const name of ['schema.change.behavior', 'local-time-zone', 'execution.runtime-mode']) {
    t.ok(warnings.some((line) => line.startsWith(`pipeline.${name} has no effect: `) && !line.includes('\n')))
  }
  t.match(problems(t, `${GOOD}pipeline: {execution.runtime-mode: BATCH, user-defined-function: []}\n`), [
    /BATCH is not supported\. Use `scan\.startup\.mode: snapshot`/,
    /pipeline\.user-defined-function is not supported in this version/,
  ])
  t.match(
    problems(t, `${GOOD}transform:\n  - source-table: a.b\n    projection: \\*\n    exclude: x\n    filter: x > 1\n`),
    [
      /^p\.yaml:5:5 {2}transform\[0\]\.projection is not supported in this version \(expressions/,
      /^p\.yaml:7:5 {2}transform\[0\]\.filter is not supported/,
    ],
  )
})

t.test('route and transform entries', async (t) => {
  t.same(
    problems(
      t,
      `${GOOD}route:
  - source-table: orders
    sink-table: a.b
  - sink-tabel: x
transform:
  - source-table: a.b
  - source-table: a.b
    mask: {x: md5}
  - source-table: "a.[b"
    exclude: [1, x]
`,
    ),
    [
      'p.yaml:4:19  route[0].source-table: table pattern "orders" has one part. Write schema.table or database.schema.table, for example "public.orders".',
      'p.yaml:6:5  route[1] needs "source-table": The tables that the route applies to: a name, a glob or a pattern.',
      'p.yaml:6:5  route[1] has no option "sink-tabel". Did you mean "sink-table"?',
      'p.yaml:8:5  transform[0]: it does nothing: give include, exclude, mask or rename',
      'p.yaml:10:15  transform[1].mask.x must be "sha256", "redact" or "null", not "md5".',
      'p.yaml:11:19  transform[2].source-table: table pattern "a.[b": "[" has no meaning here. Globs know * and ?. Put an odd name in double quotes, or use Flink\'s syntax, where \\. is any character: "public.user_\\.*".',
    ],
  )
  t.ok(
    load(
      t,
      `${GOOD}transform:\n  - {source-table: a.b, mask: {x: null, y: sha256}, include: "a, b", description: d}\n`,
    ),
  )
  t.ok(load(t, `${GOOD}route:\ntransform:\npipeline:\n`), 'empty blocks are no blocks')
})

t.test('rules remember where they stand', async (t) => {
  const config = load(
    t,
    `${GOOD}transform:\n  - source-table: a.b\n    mask: {x: redact}\nroute:\n  - {source-table: c.*, sink-table: d.$1}\n`,
  )
  t.same(
    config.transform.idle([]).map(({ at }) => at),
    ['p.yaml:7:20 route[0].source-table', 'p.yaml:4:19 transform[0].source-table'],
  )
  t.same(
    problems(
      t,
      `${GOOD}route:\n  - source-table: x.*\n    sink-table: x.$1_$2\n  - {source-table: "a.b,c.*", sink-table: $1}\n`,
    ),
    [
      'p.yaml:5:17  route[0].sink-table: $2 stands for a wildcard or group of source-table, and "x.*" has 1 of them',
      'p.yaml:6:43  route[1].sink-table: $1 stands for a wildcard or group of source-table, and "a.b" has no wildcard or group',
    ],
  )
})

t.test('a misspelt type is one mistake at its place, beside the others', async (t) => {
  t.same(problems(t, 'source:\n  typ: postgres\n  ulr: u\n  tabels: a.b\nsink: {type: stdout}\n'), [
    'p.yaml:2:3  source has no option "typ". Did you mean "type"?',
    'p.yaml:3:3  source (postgres) has no option "ulr". Did you mean "url"?',
    'p.yaml:4:3  source (postgres) has no option "tabels". Did you mean "tables"?',
  ])
  t.same(problems(t, `${GOOD}pipeline: {name: ""}\n`), [
    'p.yaml:3:18  pipeline.name is "": use letters, digits, "_", "-" and "."',
  ])
})

t.test('--set takes nothing for nothing, and loses nothing', async (t) => {
  const said = (set: string) => problems(t, GOOD, { set: [set] })
  t.same(said('source.tables='), ['--set source.tables  source.tables must not be empty'])
  t.match(said('source.tables=null'), [/^--set source\.tables {2}source\.tables must be text or a list, not nothing/])
  t.match(said('source.tables=~'), [/must be text or a list, not nothing/])
  t.match(said('source.__proto__=1'), [/^--set source\.__proto__ {2}source \(postgres\) has no option "__proto__"/])
  t.match(said("pipeline.name=!!js 'x'"), [/^--set pipeline\.name {2}the value is not a YAML scalar: Unresolved tag/])
  t.match(load(t, GOOD, { set: ['source.password='] }).source.options, { password: '' })
  t.match(problems(t, GOOD.replace('tables: public.orders', 'tables: ~')), [
    /source\.tables must be text or a list, not/,
  ])
})

t.test('a text that YAML takes for something else is told of quotes', async (t) => {
  t.match(problems(t, 'source:\n  type: postgres\n  url: u\n  tables: *.*\nsink: {type: stdout}\n'), [
    /^p\.yaml:4:11 .*A text that begins with \* goes in quotes$/,
  ])
  const odd = problems(t, 'source:\n  type: postgres\n  tables: "Odd.Sch".*\nsink: {type: stdout}\n')
  t.match(odd[0], /^p\.yaml:3:\d+ .*goes in single quotes as a whole/)
})

t.test('interpolations inside a default', async (t) => {
  const value = (text: string, env: Record<string, string>) =>
    load(t, `source:\n  type: postgres\n  url: u\n  tables: a.b\n  password: ${text}\nsink: {type: stdout}\n`, { env })
      .source.options
  t.match(value(`\${A:-\${B}}`, { A: 'a' }), { password: 'a' })
  t.match(value(`\${A:-\${B}}`, { B: 'b' }), { password: 'b' })
  t.match(value(`\${A:-\${B:-\${C:-c}}}x`, {}), { password: 'cx' })
})

t.test('did you mean', async (t) => {
  const options = ['tables', 'hostname', 'slot.name', 'checkpoint.interval', 'username']
  t.equal(closest('tabels', options), 'tables')
  t.equal(closest('host', options), 'hostname')
  t.equal(closest('slot_name', options), 'slot.name')
  t.equal(closest('checkpointInterval', options), 'checkpoint.interval')
  t.equal(closest('user', options), 'username')
  t.equal(closest('zebra', options), null)
})

t.test('durations', async (t) => {
  t.equal(parseDurationMs('500ms'), 500)
  t.equal(parseDurationMs('1s'), 1000)
  t.equal(parseDurationMs('1.5 s'), 1500)
  t.equal(parseDurationMs('2 min'), 120_000)
  t.equal(parseDurationMs('1h'), 3_600_000)
  t.equal(parseDurationMs('250'), 250)
  t.equal(parseDurationMs(250), 250)
  for (const bad of ['', 'x', '1y', '-1s', '1s 2ms']) t.equal(parseDurationMs(bad), null, bad)
})

t.test('a file that is far too large is refused', async (t) => {
  const dir = t.testdir()
  writeFileSync(join(dir, 'p.yaml'), Buffer.alloc(5 * 1024 * 1024, 32))
  t.throws(() => loadPipeline({ file: 'p.yaml', registry: fakeConnectors().registry, env: {}, cwd: dir }), {
    name: 'TidemarkError',
    code: 'config.unreadable',
  })
})

t.test('the state file', async (t) => {
  const dir = t.testdir()
  const store = stateFile(join(dir, 's.json'))
  t.equal(await store.read(), null)
  await store.write('one')
  await store.write('two')
  t.equal(await store.read(), 'two')
  t.same(readdirSync(dir), ['s.json'])
  t.equal(await removeStateFile(join(dir, 's.json')), true)
  t.equal(await removeStateFile(join(dir, 's.json')), false)
  const wrong = { code: 'config.state_file', exitCode: 3, at: 'pipeline.state' }
  await t.rejects(stateFile(join(dir, 'no', 's.json')).write('x'), wrong)
  await t.rejects(stateFile(dir).read(), wrong)
})
