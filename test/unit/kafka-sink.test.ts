/** The parts of the kafka sink that need no broker: partitions, topics, options. */
import t from 'tap'
import { type Origin, type TableSchema, tableId } from '../../core/model.js'
import { kafkaOptions, parseBroker } from '../../drivers/kafka-options.js'
import { Definitions } from '../../sinks/kafka/definitions.js'
import { kafkaSinkOptions } from '../../sinks/kafka/options.js'
import { createPartitioner, murmur2 } from '../../sinks/kafka/partition.js'
import { kafkaSettings } from '../../sinks/kafka/settings.js'
import { topicOf, topicsOf } from '../../sinks/kafka/topics.js'
import { column, columnType, logOrigin, SNAPSHOT, table } from '../support/format-tables.js'

const SERVERS = { 'properties.bootstrap.servers': 'localhost:9092' }

/** Hashes that Kafka's Java client gives, also checked against it in test/servers/kafka-sink.test.ts. */
const JAVA_HASHES: readonly (readonly [string, number])[] = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
]

t.test('murmur2 is that of the Java client, at any place of a buffer', async (t) => {
  for (const [text, hash] of JAVA_HASHES) {
    const bytes = Buffer.from(`xx${text}yyy`)
    t.equal(murmur2(bytes, 2, bytes.length - 3), hash, text)
  }
})

t.test('partition strategies', async (t) => {
  const id = tableId('public', 't')
  const key = Buffer.from('foobar')
  const spread = createPartitioner('hash-by-key', id, 7)
  t.equal(spread.of(key, 0, key.length), (-790332482 & 0x7fffffff) % 7)
  const own = spread.of(key, -1, 0)
  t.equal(createPartitioner('by-table', id, 7).of(key, 0, 6), own, 'a null key goes to its table')
  t.equal(createPartitioner('all-to-zero', id, 7).of(key, 0, 6), 0)
  const turns = createPartitioner('round-robin', id, 3)
  t.same(
    Array.from({ length: 5 }, () => turns.of(key, 0, 6)),
    [0, 1, 2, 0, 1],
  )
})

const named = (namespace: string, name: string): TableSchema => ({
  ...table(name, [column('id', columnType('int64', 'int8'))]),
  database: 'shop',
  namespace,
  name,
  id: tableId(namespace, name),
})

t.test('topics of tables', async (t) => {
  const base = { template: '{prefix}.{schema}.{table}', prefix: 'p', mapping: new Map<string, string>() }
  t.equal(topicOf(named('public', 'orders'), base), 'p.public.orders')
  t.equal(topicOf(named('My Schema', 'a.b/c'), base), 'p.My_Schema.a.b_c')
  t.equal(topicOf(named('public', 'x'), { ...base, template: '${database}-${table}' }), 'shop-x')
  t.equal(topicOf(named('public', 'x'), { ...base, topic: 'all' }), 'all')
  const regex = { ...base, regex: /^p\.public\.(\w+)_\d+$/, replacement: 'p.$1' }
  t.equal(topicOf(named('public', 'orders_17'), regex), 'p.orders')
  const mapping = new Map([
    ['shop.public.orders', 'o1'],
    ['public.users', 'o2'],
  ])
  t.equal(topicOf(named('public', 'orders'), { ...base, topic: 'all', mapping }), 'o1')
  t.equal(topicOf(named('public', 'users'), { ...base, mapping }), 'o2')
  t.throws(() => topicsOf([named('public', 'a b'), named('public', 'a_b')], base), { code: 'kafka.topic_collision' })
  t.equal(topicsOf([named('a', 'x'), named('b', 'x')], { ...base, topic: 'all' }).size, 2, 'sharing on purpose')
})

t.test('options of other clients', async (t) => {
  t.equal(parseBroker('PLAINTEXT://localhost:62510'), 'localhost:62510')
  t.equal(parseBroker(' [::1]:9092'), '[::1]:9092')
  for (const wrong of ['localhost', 'a:b', 'a:99999', '']) t.equal(parseBroker(wrong), null, wrong)
  const given = kafkaSinkOptions.parse({
    'properties.bootstrap.servers': 'SASL_SSL://a:1,b:2',
    'properties.security.protocol': 'SASL_SSL',
    'properties.sasl.mechanism': 'SCRAM-SHA-512',
    'properties.sasl.jaas.config':
      'org.apache.kafka.common.security.scram.ScramLoginModule required username="me" password="p\\"w d";',
    'sink.delivery-guarantee': 'at-least-once',
  })
  const options = kafkaOptions(given, 'shop', 'sink')
  t.same(options.brokers, ['a:1', 'b:2'])
  t.same(options.sasl, { mechanism: 'scram-sha-512', username: 'me', password: 'p"w d' })
  t.match(options, { clientId: 'tidemark-shop', tls: { rejectUnauthorized: true, verifyName: true } })
  t.equal(kafkaSettings(given, 'shop').exactlyOnce, false)
  t.throws(() => kafkaOptions({ ...given, 'properties.sasl.jaas.config': undefined }, 'shop', 'sink'), {
    code: 'kafka.auth',
  })
})

t.test('defaults', async (t) => {
  const settings = kafkaSettings(kafkaSinkOptions.parse(SERVERS), 'my shop')
  t.match(settings, {
    exactlyOnce: true,
    transactionalId: 'tidemark-my shop',
    checkpointTopic: 'tidemark-checkpoint-my_shop',
    transactionTimeoutMs: 60_000,
  })
  for (const wrong of [
    { 'message.too.large': 'dead-letter' },
    { 'message.too.large': 'claim-check' },
    { 'topic.regex': '(' },
    { 'topic.regex': 'a' },
    { 'sink.tableId-to-topic.mapping': 'nonsense' },
    { 'properties.acks': '1' },
  ])
    t.equal(kafkaSinkOptions.safeParse({ ...SERVERS, ...wrong }).success, false, JSON.stringify(wrong))
})

t.test('a definition is announced when it is new, also while a copy is ahead of the log', async (t) => {
  const version = (fingerprint: string): TableSchema => ({ ...named('public', 'w'), fingerprint })
  const [old, now] = [version('old'), version('now')]
  const LOG = logOrigin(0n)
  const batch = (schema: TableSchema, origin: Origin) =>
    ({ kind: 'rows', schema, origin, changes: [], bytes: 0 }) as const
  const saved = new Map<TableSchema['id'], { last: string; log: string | null }>()
  let definitions = new Definitions(saved)
  const said = (schema: TableSchema, origin: Origin) => {
    const change = definitions.before(batch(schema, origin))
    for (const [id, announced] of definitions.takeChanged()) saved.set(id, announced)
    definitions = new Definitions(saved)
    return change && `${change.type} ${change.schema.fingerprint}`
  }
  t.match(definitions.found(now), { type: 'CREATE', origin: null })
  for (const [id, announced] of definitions.takeChanged()) saved.set(id, announced)
  t.equal(definitions.found(now), null)
  const steps = [
    [now, SNAPSHOT, null],
    [old, LOG, 'ALTER old'],
    [now, SNAPSHOT, 'ALTER now'],
    [old, LOG, null],
    [now, SNAPSHOT, null],
    [now, LOG, null],
    [now, SNAPSHOT, null],
    [old, LOG, 'ALTER old'],
    [old, LOG, null],
    [now, LOG, 'ALTER now'],
  ] as const
  for (const [i, [schema, origin, want]] of steps.entries()) t.equal(said(schema, origin), want, `step ${i}`)
})

t.test('schema changes go with formats that have them', async (t) => {
  const issues = (more: Record<string, unknown>) =>
    kafkaSinkOptions.safeParse({ ...SERVERS, 'include.schema.changes': true, ...more }).success
  t.ok(issues({}))
  t.notOk(issues({ 'value.format': 'row-json' }))
  t.notOk(issues({ 'debezium-json.flavor': 'flink' }))
  t.notOk(issues({ 'debezium-json.include-schema.enabled': true }))
})
