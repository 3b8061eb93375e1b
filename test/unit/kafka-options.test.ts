/** What a pipeline file may ask of the kafka sink: each mistake with its place, before anything connects. */
import t, { type Test } from 'tap'
import { loadPipeline, type PipelineConfig } from '../../config/pipeline-file.js'
import { ConfigError } from '../../config/problems.js'
import { BUILT_IN } from '../../config/registry.js'
import { type TableSchema, tableId } from '../../core/model.js'
import { createMessageFormat } from '../../sinks/formats/messages.js'
import type { KafkaSinkOptions } from '../../sinks/kafka/options.js'
import { messageFormatFrom } from '../../sinks/message-format.js'
import { column, columnType, table } from '../support/format-tables.js'

const HEAD = `source: {type: postgres, url: "postgres://h/d", tables: public.*}
sink:
  type: kafka
  properties.bootstrap.servers: localhost:9092
`

/** The sink's options begin in line 5. */
function load(t: Test, options: string, name = 'shop.yaml'): PipelineConfig {
  const lines = options.split('\n').map((line) => `  ${line}\n`)
  const cwd = t.testdir({ [name]: `${HEAD}${lines.join('')}` })
  return loadPipeline({ file: name, registry: BUILT_IN, env: {}, cwd })
}

/** Each problem as `where  message`. */
function problems(t: Test, options: string): string[] {
  try {
    load(t, options)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(({ where, message }) => `${where}  ${message}`)
  }
  return []
}

t.test('a placeholder that nothing fills in', async (t) => {
  t.same(problems(t, "topic.template: '{prefix}.{tabel}'"), [
    'shop.yaml:5:19  sink.topic.template: nothing is called {tabel}. Did you mean "{table}"? It has {prefix}, {database}, {schema}, {table}.',
  ])
  t.match(problems(t, "topic.template: '${databse}-${table}'"), [/\{databse\}. Did you mean "\{database\}"\?/])
  t.match(problems(t, "topic.template: '{Table}'"), [/\{Table\}. Did you mean "\{table\}"\?/])
  t.match(problems(t, "topic.template: '{table'"), [/a brace has no other half/])
  t.match(problems(t, "topic.template: '{}.{table}'"), [/nothing is called \{\}/])
  t.match(
    problems(t, "topic.template: '{nope}'\ntopic.prefix: ''"),
    [/\{nope\}/, /topic.prefix/],
    'with other mistakes',
  )
  t.same(problems(t, "topic.template: '{database}.{schema}-${table}'"), [])
  t.match(problems(t, "topic.regex: '(a)b'\ntopic.replacement: $2"), [
    /^shop\.yaml:6:22 {2}sink\.topic\.replacement: \$2 is no group of topic\.regex, which has 1/,
  ])
  t.same(problems(t, "topic.regex: '(a)(b)'\ntopic.replacement: $2-$1"), [])
  t.match(problems(t, "topic.regex: a\ntopic.replacement: 'b c'"), [/"b c" cannot be in a topic's name/])
})

t.test('names that no topic can have', async (t) => {
  t.same(problems(t, "topic: 'a b/c'"), [
    'shop.yaml:5:10  sink.topic: "a b/c" cannot name a topic: up to 249 letters, digits, ".", "_" and "-".',
  ])
  t.match(problems(t, "topic: '{table}'"), [/Placeholders belong into topic\.template/])
  for (const option of ['checkpoint.topic', 'dead.letter.topic', 'schema.changes.topic']) {
    t.match(problems(t, `${option}: a/b`)[0], `sink.${option}: "a/b" cannot name a topic`, option)
  }
  t.match(problems(t, 'sink.tableId-to-topic.mapping: public.a:x;public.b:y/z'), [/"y\/z" cannot name a topic/])
  t.match(problems(t, "topic.template: 'a/{table}'"), [/sink\.topic\.template: "a\/\{table\}" cannot name topics/])
  t.same(
    problems(t, "topic.template: '{schema}/{table}'\ntopic.regex: /\ntopic.replacement: _"),
    [],
    'the regex takes it',
  )
})

t.test('topics with two roles', async (t) => {
  t.same(problems(t, 'topic: tidemark-checkpoint-shop'), [
    'shop.yaml:5:10  sink.topic: rows would go to topic tidemark-checkpoint-shop, which holds checkpoints (checkpoint.topic)',
  ])
  const dead = 'message.too.large: dead-letter\ndead.letter.topic: x'
  const pairs: [options: string, want: RegExp][] = [
    [`${dead}\ncheckpoint.topic: x`, /dead\.letter\.topic: dead letters .* holds checkpoints \(checkpoint\.topic\)/],
    [`${dead}\ntopic: x`, /sink\.topic: rows .* holds dead letters \(dead\.letter\.topic\)/],
    [`${dead}\nsink.tableId-to-topic.mapping: public.a:x`, /mapping: rows of public\.a .* dead letters/],
    ['provide.transaction.metadata: true\ntopic: shop.transaction', /rows .* holds transactions \(provide\.tr/],
    ['include.schema.changes: true\ntopic: shop', /rows .* holds schema changes \(include\.schema\.changes\)/],
    [
      'provide.transaction.metadata: true\ninclude.schema.changes: true\nschema.changes.topic: shop.transaction',
      /schema\.changes\.topic: schema changes .* holds transactions/,
    ],
  ]
  for (const [options, want] of pairs) {
    const found = problems(t, options)
    t.equal(found.length, 1, options)
    t.match(found[0], want)
  }
  t.same(problems(t, 'topic: x\nsink.tableId-to-topic.mapping: public.a:x'), [], 'rows may share a topic')
})

const named = (name: string): TableSchema => ({
  ...table(name, [column('id', columnType('int64', 'int8')), column('customer', columnType('int64', 'int8'))]),
  database: 'd',
  namespace: 'public',
  name,
  id: tableId('public', name),
})

/** What of the sink's options does not fit the tables: `place  message  fix`. */
function mistakes(t: Test, options: string, complete = true): string[] | null {
  const config = load(t, options)
  const judge = config.sink.definition.tableMistakes!(config.sink.options, { pipeline: config.name })
  if (judge === null) return null
  const found = judge([named('orders'), named('users')], complete)
  return found.map(({ at, message, fix }) => `${config.place(at!)}  ${message}  ${fix}`)
}

t.test('options that speak of tables are held against them', async (t) => {
  t.equal(mistakes(t, 'topic.prefix: p'), null, 'nothing to look at')
  t.match(mistakes(t, 'message.key.columns: public.users:custmer;public.orders:id'), [
    /^shop\.yaml:5:24 sink\.message\.key\.columns {2}.*table public\.users has no column custmer.*Did you mean "customer"\?/,
  ])
  t.match(mistakes(t, 'message.key.columns: public.user:id'), [
    /no captured table is called public\.user.*"public\.users"\?/,
  ])
  t.match(mistakes(t, 'sink.tableId-to-topic.mapping: public.order:o;d.public.users:u'), [
    /^shop\.yaml:5:34 .*no captured table is called public\.order .*Did you mean "public\.orders"\?/,
  ])
  t.same(mistakes(t, 'sink.tableId-to-topic.mapping: public.order:o', false), [], 'the table may yet come up')
  t.same(mistakes(t, 'sink.tableId-to-topic.mapping: orders:o;d.public.users:u\nmessage.key.columns: .*:id'), [])
  t.match(mistakes(t, 'checkpoint.topic: shop.public.users'), [
    /sink\.topic\.template {2}rows of table public\.users would go to topic shop\.public\.users, which holds checkpoints \(checkpoint\.topic\)/,
  ])
  t.match(mistakes(t, "provide.transaction.metadata: true\ntopic.template: '{prefix}.transaction'"), [
    /holds transactions/,
    /public\.users/,
  ])
})

t.test('key columns are looked up before the first message', async (t) => {
  const given = load(t, 'message.key.columns: public.users:nope').sink.options as KafkaSinkOptions
  const format = createMessageFormat(messageFormatFrom(given, { logicalName: 's' }))
  const prepared = format.prepare([named('users')], () => 'topic', new AbortController().signal)
  await t.rejects(prepared, { code: 'config.invalid', at: 'sink.message.key.columns' })
})

t.test('options without effect beside the others are named once', async (t) => {
  const warned = (options: string) => load(t, options).warnings
  t.same(warned('value.format: canal-json\ndebezium-json.flavor: flink'), [
    'sink.debezium-json.flavor has no effect: value.format is canal-json',
  ])
  t.same(warned('username: u\npassword: p'), [
    'sink.username has no effect: properties.security.protocol is PLAINTEXT: nobody logs in',
    'sink.password has no effect: properties.security.protocol is PLAINTEXT: nobody logs in',
  ])
  const pairs: [options: string, option: string][] = [
    ['value.format: row-json\ndecimal.handling.mode: string', 'decimal.handling.mode'],
    ['debezium-json.flavor: flink\ntime.precision.mode: connect', 'time.precision.mode'],
    ['schema.registry.url: http://h', 'schema.registry.url'],
    ['transaction.id.mode: event', 'transaction.id.mode'],
    ['dead.letter.topic: d', 'dead.letter.topic'],
    ['claim.check.path: /d', 'claim.check.path'],
    ['delivery: at-least-once\ntransactional.id: x', 'transactional.id'],
    ["topic: x\ntopic.template: '{table}'", 'topic.template'],
    ['topic.creation.enable: false\ntopic.creation.default.partitions: 3', 'topic.creation.default.partitions'],
    ['schema.changes.topic: s', 'schema.changes.topic'],
    ['properties.ssl.truststore.location: /x.pem', 'properties.ssl.truststore.location'],
    [
      'properties.security.protocol: SASL_SSL\nproperties.sasl.mechanism: PLAIN\nusername: u\npassword: p\noauth.token: t',
      'oauth.token',
    ],
    ['table-id.include-database: true', 'table-id.include-database'],
  ]
  for (const [options, option] of pairs) {
    const lines = warned(options)
    t.equal(lines.length, 1, options)
    t.match(lines[0], `sink.${option} has no effect: `)
  }
  t.same(warned('value.format: maxwell-json\nmaxwell-json.snapshot.type: insert\ntopic.prefix: p'), [])
})

t.test('the login option that is wrong is blamed, without what it holds', async (t) => {
  const sasl = 'properties.security.protocol: SASL_PLAINTEXT\nproperties.sasl.mechanism: PLAIN\n'
  const refused = async (options: string) => {
    const config = load(t, `${sasl}${options}`)
    const context = { pipeline: config.name, signal: new AbortController().signal }
    const error = await config.sink.definition.check(config.sink.options, context).catch((thrown) => thrown)
    return `${error.code} ${config.place(error.at)} ${error.message} ${error.fix}`
  }
  const jaas = await refused(`properties.sasl.jaas.config: 'foo password="hunter2"'`)
  t.match(jaas, /^kafka\.auth shop\.yaml:7:32 sink\.properties\.sasl\.jaas\.config .* has no username= /)
  t.notMatch(jaas, 'hunter2')
  t.match(await refused("properties.sasl.jaas.config: 'nonsense'"), /has no username= and no password=/)
  t.match(await refused('username: u'), /shop\.yaml:7:13 sink\.username SASL PLAIN needs `password` as well/)
  t.match(await refused('password: u'), /shop\.yaml:7:13 sink\.password SASL PLAIN needs `username` as well/)
  t.match(await refused(''), /shop\.yaml:6:30 sink\.properties\.sasl\.mechanism .*needs a user and a password/)
})
