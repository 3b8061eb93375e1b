/**
 * What a user must be allowed, on a broker with an authorizer: `check` names each operation that is missing and changes
 * nothing, and the operations that docs/kafka.md lists are enough for a whole sync.
 */
import t, { type Test } from 'tap'
import { kafkaSource } from '../../connectors/kafka/index.js'
import type { Finding } from '../../core/define.js'
import { ITEMS } from '../../core/testing/items.js'
import { kafkaSink } from '../../sinks/kafka/index.js'
import { committedRows } from '../support/committed-files.js'
import { startKafka } from '../support/kafka.js'
import { kafkaPipeline, parsedSinkOptions } from '../support/kafka-sink.js'
import { fromKafka, parsedSourceOptions, put } from '../support/kafka-source.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark } from '../support/process.js'
import { until } from '../support/until.js'

const { signal } = new AbortController()
const PASSWORD = 'right'
/** Stopped at a checkpoint, as asked. */
const SIGTERM_EXIT = 143

type Grant = readonly [operation: string, resource: 'TOPIC' | 'TRANSACTIONAL_ID', name: string]

const [data, checkpoint, id] = ['acl-data', 'acl-checkpoint', 'acl-id']
const LISTED: readonly Grant[] = [
  ['WRITE', 'TRANSACTIONAL_ID', id],
  ['DESCRIBE', 'TRANSACTIONAL_ID', id],
  ['WRITE', 'TOPIC', data],
  ['DESCRIBE', 'TOPIC', data],
  ['READ', 'TOPIC', checkpoint],
  ['WRITE', 'TOPIC', checkpoint],
  ['DESCRIBE', 'TOPIC', checkpoint],
  ['DESCRIBE_CONFIGS', 'TOPIC', data],
  ['DESCRIBE_CONFIGS', 'TOPIC', checkpoint],
  ['CREATE', 'TOPIC', data],
  ['CREATE', 'TOPIC', checkpoint],
]
const without = (...gone: readonly Grant[]) =>
  LISTED.filter((grant) => !gone.some((other) => other.join() === grant.join()))

const missing = (operations: string, what: string) => new RegExp(`^user \\w+ lacks ${operations} on ${what}$`)

interface Case {
  readonly grants: readonly Grant[]
  readonly problems: readonly RegExp[]
  /** Part of the first problem's fix. */
  readonly fix?: string
  readonly infos?: readonly RegExp[]
}

/** Before any topic exists, and then with both: a user each. */
const ABSENT: Readonly<Record<string, Case>> = {
  all: { grants: LISTED, problems: [] },
  nocreate: {
    grants: without(['CREATE', 'TOPIC', data]),
    problems: [missing('Create', `topic ${data}, which does not exist`)],
    fix: `--operation Create --topic '${data}'`,
  },
  nocreatecp: {
    grants: without(['CREATE', 'TOPIC', checkpoint]),
    problems: [missing('Create', `the checkpoint topic ${checkpoint}, which does not exist`)],
  },
}
const PRESENT: Readonly<Record<string, Case>> = {
  nowrite: {
    grants: without(['WRITE', 'TOPIC', data]),
    problems: [missing('Write', `topic ${data}`)],
    fix: `--allow-principal 'User:nowrite' --operation Write --topic '${data}'`,
  },
  nosee: {
    grants: LISTED.filter(([, , name]) => name !== data),
    problems: [missing('Write and Describe', `topic ${data}`)],
  },
  noread: {
    grants: without(['READ', 'TOPIC', checkpoint]),
    problems: [missing('Read', `the checkpoint topic ${checkpoint}`)],
  },
  nowritecp: {
    grants: without(['WRITE', 'TOPIC', checkpoint]),
    problems: [missing('Write', `the checkpoint topic ${checkpoint}`)],
  },
  notxnwrite: {
    grants: without(['WRITE', 'TRANSACTIONAL_ID', id]),
    problems: [missing('Write', `transactional id ${id}`)],
    fix: `--operation Write --transactional-id '${id}'`,
  },
  notxn: {
    grants: LISTED.filter(([, , name]) => name !== id),
    problems: [missing('Write and Describe', `transactional id ${id}`)],
  },
  noconfigs: {
    grants: LISTED.filter(([operation]) => operation !== 'DESCRIBE_CONFIGS'),
    problems: [],
    infos: [
      /^user noconfigs may not read the settings of the checkpoint topic acl-checkpoint \(DescribeConfigs\)/,
      /^user noconfigs may not read the settings of topic acl-data/,
    ],
  },
  nothing: {
    grants: [],
    problems: [
      missing('Write and Describe', `transactional id ${id}`),
      missing('Read and Write and Describe', `the checkpoint topic ${checkpoint}`),
      missing('Write and Describe', `topic ${data}`),
    ],
  },
}

const users = [...Object.keys(ABSENT), ...Object.keys(PRESENT), 'sync', 'loose', 'reader', 'describer', 'blind']
const login = 'org.apache.kafka.common.security.plain.PlainLoginModule'
const { kafka, server } = await startKafka(t, {
  properties: {
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:ANONYMOUS',
  },
  listeners: {
    SASL: {
      protocol: 'SASL_PLAINTEXT',
      properties: {
        'sasl.enabled.mechanisms': 'PLAIN',
        'plain.sasl.jaas.config': `${login} required ${users.map((user) => `user_${user}="${PASSWORD}"`).join(' ')};`,
      },
    },
  },
})

const as = (user: string) => ({
  'properties.bootstrap.servers': server.address('SASL'),
  'properties.security.protocol': 'SASL_PLAINTEXT',
  'properties.sasl.mechanism': 'PLAIN',
  'properties.sasl.jaas.config': `${login} required username="${user}" password="${PASSWORD}";`,
})

async function allow(user: string, grants: readonly Grant[]): Promise<void> {
  for (const [operation, resource, name] of grants) await kafka.allow(user, operation, resource, name)
}

function check(user: string): Promise<readonly Finding[]> {
  const names = { topic: data, 'checkpoint.topic': checkpoint, 'transactional.id': id }
  const options = parsedSinkOptions(kafka, { ...as(user), ...names })
  return kafkaSink.check(options, { pipeline: 'acl', signal, tables: [ITEMS] })
}

async function expect(t: Test, cases: Readonly<Record<string, Case>>): Promise<void> {
  for (const [user, { grants, problems, fix, infos = [] }] of Object.entries(cases)) {
    await allow(user, grants)
    const findings = await check(user)
    const found = findings.filter(({ level }) => level === 'problem')
    t.equal(found.length, problems.length, `${user}: ${JSON.stringify(found)}`)
    problems.forEach((problem, i) => {
      t.match(found[i]?.message, problem, user)
    })
    if (fix !== undefined) t.ok(found[0]?.fix?.includes(fix), `${user}: ${found[0]?.fix}`)
    const said = findings.map(({ message }) => message)
    for (const info of infos)
      t.ok(
        said.some((message) => info.test(message)),
        `${user}: ${info}`,
      )
  }
}

t.test('check names each operation that is missing, and makes nothing', async (t) => {
  const before = await kafka.topics()
  t.same(before, [])
  await expect(t, ABSENT)
  t.same(await kafka.topics(), before, 'not even a topic of the transaction coordinator')
  await kafka.createNamed(data, {})
  await kafka.createNamed(checkpoint, { config: { 'cleanup.policy': 'compact' } })
  await expect(t, PRESENT)
  t.same(await kafka.topics(), [checkpoint, data])
})

t.test('the listed operations are enough for a whole sync, and no IdempotentWrite', async (t) => {
  const source = await createDatabase(t)
  await source.query('create table w (id int primary key); insert into w select generate_series(1, 2000)')
  const name = source.name
  const [topic, own] = [`${name}.public.w`, `tidemark-checkpoint-${name}`]
  const renamed: Readonly<Record<string, string>> = { [data]: topic, [checkpoint]: own, [id]: `tidemark-${name}` }
  await allow(
    'sync',
    LISTED.map(([operation, resource, of]) => [operation, resource, renamed[of]!] as const),
  )
  const { file } = kafkaPipeline(t, { source, kafka, name, sink: as('sync') })
  const first = await runTidemark(t, ['check', file])
  t.equal(first.code, 0, first.stdout + first.stderr)
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  t.equal(await kafka.count(topic), 2000)

  const running = startTidemark(t, ['sync', file])
  await source.query('insert into w select generate_series(2001, 2010)')
  await until(async () => (await kafka.count(topic)) === 2010, { what: 'the changes arrived' })
  const during = await runTidemark(t, ['check', file])
  t.notMatch(during.stdout, /lacks/)
  await source.query('insert into w select generate_series(2011, 2020)')
  await until(async () => (await kafka.count(topic)) === 2020, { what: 'the owner was not fenced by check' })
  running.signal('SIGTERM')
  const ended = await running.exit()
  t.equal(ended.code, SIGTERM_EXIT, ended.stderr)
  t.notMatch(ended.stderr, /fenced|took over/)
  const drop = await runTidemark(t, ['drop', file, '--yes'])
  t.equal(drop.code, 0, drop.stderr)
})

t.test('at-least-once needs no transactional id, and settings that may not be read are assumed', async (t) => {
  const source = await createDatabase(t)
  await source.query('create table w (id int primary key); insert into w select generate_series(1, 500)')
  const name = source.name
  const renamed: Readonly<Record<string, string>> = {
    [data]: `${name}.public.w`,
    [checkpoint]: `tidemark-checkpoint-${name}`,
  }
  const grants = LISTED.filter(([operation, , of]) => of !== id && operation !== 'DESCRIBE_CONFIGS')
  await allow(
    'loose',
    grants.map(([operation, resource, of]) => [operation, resource, renamed[of]!] as const),
  )
  const { file } = kafkaPipeline(t, { source, kafka, name, sink: { ...as('loose'), delivery: 'at-least-once' } })
  const checked = await runTidemark(t, ['check', file])
  t.equal(checked.code, 0, checked.stdout)
  const once = await runTidemark(t, ['sync', file, '--once'])
  t.equal(once.code, 0, once.stderr)
  t.equal(await kafka.count(renamed[data]!), 500)
})

t.test('a source needs Read and Describe on its topics, no group, and says what it lacks', async (t) => {
  const topic = 'acl-source'
  await kafka.createNamed(topic, {})
  const envelope = { op: 'c', before: null, after: { id: 1 }, source: { db: 'shop', schema: 'public', table: 'w' } }
  await put(kafka, { topic }, [{ key: '{"id":1}', value: JSON.stringify(envelope) }])
  const options = (user: string) => parsedSourceOptions(kafka, { ...as(user), topics: topic })
  const findings = (user: string) => kafkaSource.check(options(user), { pipeline: 'acl', signal })
  await allow('reader', [
    ['READ', 'TOPIC', topic],
    ['DESCRIBE', 'TOPIC', topic],
  ])
  const found = await findings('reader')
  t.same(
    found.filter(({ level }) => level === 'problem'),
    [],
  )
  t.match(
    found.map(({ message }) => message).join('; '),
    /may not be read \(DescribeConfigs\).*1 messages read as debezium-json/,
  )
  const folder = fromKafka(t, {
    kafka,
    name: 'acl_source',
    source: { ...as('reader'), topics: topic },
    sink: { type: 'file', path: '{{DIR}}/out', 'value.format': 'row-json' },
  })
  const run = await runTidemark(t, ['sync', folder.file, '--until-caught-up'])
  t.equal(run.code, 0, run.stderr)
  t.match(committedRows(folder.path('out')), /"id":1/)

  await allow('describer', [['DESCRIBE', 'TOPIC', topic]])
  const [lacking] = (await findings('describer')).filter(({ level }) => level === 'problem')
  t.match(lacking?.message, /^user describer lacks Read on topic acl-source$/)
  t.ok(
    lacking?.fix?.includes(`--allow-principal 'User:describer' --operation Read --topic '${topic}'`),
    lacking?.fix ?? '',
  )
  await t.rejects(findings('blind'), { code: 'kafka.permission' })
})
