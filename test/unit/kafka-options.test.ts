/** What a pipeline file may ask of the kafka sink: each mistake with its place, before anything connects. */
import t, { type Test } from 'tap'
import { loadPipeline, type PipelineConfig } from '../../config/pipeline-file.js'
import { ConfigError } from '../../config/problems.js'
import { BUILT_IN } from '../../config/registry.js'

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
