/**
 * Brokers of one's own: TLS, SASL and ACLs, transactions as in a cluster upgraded from Kafka 3, a restart in the middle
 * of a transaction, leaders that move.
 */
import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { KafkaOptions, KafkaSasl, KafkaTls } from '../../drivers/kafka.js'
import { startKafka, type TestKafka } from '../support/kafka.js'
import {
  connectKafka,
  numbered,
  numbersOf,
  openProducer,
  range,
  takeOver,
  timeOutTransactions,
} from '../support/kafka-packs.js'
import { random, testSeed } from '../support/seed.js'
import { Certificates } from '../support/tls.js'
import { until } from '../support/until.js'

const signal = new AbortController().signal
/** A broker on a busy machine takes its time to start. */
const RESTART_MS_MAX = 90_000
const SESSION_MS = 11_000

const certificates = new Certificates(t)
certificates.authority('ca')
certificates.authority('other')
certificates.leaf('server', 'ca', 'localhost')
certificates.leaf('client', 'ca', 'client')
certificates.leaf('stranger', 'other', 'client')
const file = (name: string) => readFileSync(certificates.path(name), 'utf8')

const keystore = {
  'ssl.keystore.type': 'PEM',
  'ssl.keystore.key': file('server.key'),
  'ssl.keystore.certificate.chain': file('server.crt'),
  'ssl.truststore.type': 'PEM',
  'ssl.truststore.certificates': file('ca.crt'),
}
const login = 'org.apache.kafka.common.security'
const sasl = {
  'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
  'plain.sasl.jaas.config': `${login}.plain.PlainLoginModule required user_plain="right";`,
  'scram-sha-256.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
  'scram-sha-512.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
  'oauthbearer.sasl.jaas.config': `${login}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
}

const { kafka, server } = await startKafka(t, {
  upgraded: true,
  properties: {
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:ANONYMOUS;User:CN=client',
  },
  listeners: {
    TLS: { protocol: 'SSL', properties: { ...keystore, 'ssl.client.auth': 'none' } },
    MTLS: { protocol: 'SSL', properties: { ...keystore, 'ssl.client.auth': 'required' } },
    SASL: { protocol: 'SASL_PLAINTEXT', properties: sasl },
    SHORT: { protocol: 'SASL_PLAINTEXT', properties: { ...sasl, 'connections.max.reauth.ms': String(SESSION_MS) } },
    SECURE: { protocol: 'SASL_SSL', properties: { ...keystore, ...sasl } },
  },
})

/** Our driver over a listener. */
function over(listener: string, change: Partial<KafkaOptions> = {}): KafkaOptions {
  return kafka.options({ brokers: [server.address(listener)], ...change })
}

const trusting = { ca: file('ca.crt'), serverName: 'localhost', rejectUnauthorized: true }
const plain = (username: string, password = 'right'): KafkaSasl => ({ mechanism: 'plain', username, password })

async function connects(t: Test, options: KafkaOptions): Promise<void> {
  const cluster = await connectKafka(t, options)
  t.ok(cluster.nodes.nodeIds.length > 0)
}

// Sends over connections whose sessions end, beside the other tests.
const sessions = (async () => {
  await kafka.scramUser('short', 'right', 'SCRAM-SHA-256')
  const topic = await kafka.createTopic()
  await kafka.allow('short', 'WRITE', 'TOPIC', topic)
  await kafka.allow('short', 'WRITE', 'TRANSACTIONAL_ID', 'short')
  const user = { mechanism: 'scram-sha-256', username: 'short', password: 'right' } as const
  const cluster = await connectKafka(t, over('SHORT', { sasl: user, retryMs: 5_000 }))
  const producer = await openProducer(t, cluster, { transactionalId: 'short' })
  const until = performance.now() + SESSION_MS * 1.5
  let next = 0
  while (performance.now() < until) {
    await Promise.all(range(0, 4).map((i) => producer.send([numbered(topic, 0, next + i * 5, 5)])))
    await producer.commit()
    next += 20
  }
  return { topic, next }
})()
sessions.catch(() => {})

t.test('TLS', async (t) => {
  const refused = (options: KafkaOptions, code: string, message: RegExp) =>
    t.rejects(connectKafka(t, options), { code, message, fix: /./ })
  const tls = (change: Partial<KafkaTls> = {}): { tls: KafkaTls } => ({ tls: { ...trusting, ...change } })
  await connects(t, over('TLS', tls()))
  await connects(t, over('TLS', { tls: { rejectUnauthorized: false } }))
  await refused(over('TLS', tls({ ca: file('other.crt') })), 'kafka.tls', /certificate/)
  await refused(over('TLS', tls({ serverName: 'elsewhere' })), 'kafka.tls', /elsewhere/)
  const { serverName: _, ...byAddress } = trusting
  await refused(over('TLS', { tls: byAddress }), 'kafka.tls', /127\.0\.0\.1/)
  await refused(over('TLS'), 'kafka.connection', /does this listener speak TLS/)
  await refused(over('PLAINTEXT', tls()), 'kafka.connection', /127\.0\.0\.1/)

  const identity = { cert: file('client.crt'), key: file('client.key') }
  await connects(t, over('MTLS', tls(identity)))
  const key = createPrivateKey(identity.key).export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'pw',
  })
  await connects(t, over('MTLS', tls({ ...identity, key: String(key), passphrase: 'pw' })))
  await refused(over('MTLS', tls({ ...identity, key: String(key), passphrase: 'no' })), 'kafka.tls', /./)
  await refused(
    over('MTLS', tls({ cert: file('stranger.crt'), key: file('stranger.key') })),
    'kafka.tls',
    /alert|certificate/,
  )
  await refused(over('MTLS', tls()), 'kafka.tls', /alert|certificate/)

  const topic = await kafka.createTopic()
  const cluster = await connectKafka(t, over('MTLS', tls(identity)))
  const producer = await openProducer(t, cluster)
  await producer.send([numbered(topic, 0, 0, 2_000, 400)])
  await producer.commit()
  t.same(numbersOf(await kafka.read(topic)), { 0: range(0, 2_000) })
})

t.test('SASL', async (t) => {
  await kafka.scramUser('scrammed', 'right', 'SCRAM-SHA-256')
  await kafka.scramUser('scrammed', 'right', 'SCRAM-SHA-512')
  const claims = { sub: 'bearer', iat: Date.now() / 1000 - 10, exp: Date.now() / 1000 + 1_000 }
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  let asked = 0
  const token = async () => {
    asked++
    return `${part({ alg: 'none' })}.${part(claims)}.`
  }
  const ways: KafkaSasl[] = [
    plain('plain'),
    { mechanism: 'scram-sha-256', username: 'scrammed', password: 'right' },
    { mechanism: 'scram-sha-512', username: 'scrammed', password: 'right' },
    { mechanism: 'oauthbearer', token },
  ]
  for (const sasl of ways) {
    await connects(t, over('SASL', { sasl }))
    await connects(t, over('SECURE', { sasl, tls: trusting }))
  }
  t.equal(asked, 2)
  for (const sasl of [
    plain('plain', 'wrong'),
    plain('stranger'),
    { mechanism: 'scram-sha-256', username: 'scrammed', password: 'wrong' },
    { mechanism: 'oauthbearer', token: async () => 'nonsense' },
  ] as KafkaSasl[]) {
    const refused = {
      code: 'kafka.auth',
      retriable: false,
      message: /127\.0\.0\.1/,
      fix: new RegExp(sasl.mechanism, 'i'),
    }
    await t.rejects(connectKafka(t, over('SASL', { sasl })), refused, sasl.mechanism)
  }
  await t.rejects(connectKafka(t, over('SASL')), { code: 'kafka.connection' }, 'no user')
})

t.test('what a user needs, and no more', async (t) => {
  const topic = await kafka.createTopic({ partitions: 2 })
  const cluster = await connectKafka(t, over('SASL', { sasl: plain('plain'), retryMs: 3_000 }))
  const open = () => openProducer(t, cluster, { transactionalId: 'acl' })
  await t.rejects(open(), {
    code: 'kafka.permission',
    message: /acl.*TRANSACTIONAL_ID_AUTHORIZATION_FAILED/,
    fix: /Write and Describe/,
  })
  await kafka.allow('plain', 'DESCRIBE', 'TRANSACTIONAL_ID', 'acl')
  await t.rejects(open(), { code: 'kafka.permission' })
  await kafka.allow('plain', 'WRITE', 'TRANSACTIONAL_ID', 'acl')
  const producer = await open()
  await t.rejects(cluster.topics([topic], { signal }), {
    code: 'kafka.permission',
    message: new RegExp(topic),
    fix: /Describe/,
  })
  await kafka.allow('plain', 'DESCRIBE', 'TOPIC', topic)
  await t.rejects(producer.send([numbered(topic, 0, 0, 1)]), {
    code: 'kafka.permission',
    message: new RegExp(topic),
    fix: /Write/,
  })
  await producer.abort()
  await producer.reinitialise()
  await kafka.allow('plain', 'WRITE', 'TOPIC', topic)
  await producer.send([numbered(topic, 0, 0, 5), numbered(topic, 1, 0, 5)])
  await producer.commit()
  t.same(numbersOf(await kafka.read(topic)), { 0: range(0, 5), 1: range(0, 5) })
  await t.rejects(cluster.topicConfig(topic, ['max.message.bytes'], { signal }), {
    code: 'kafka.permission',
    fix: /DescribeConfigs/,
  })
  t.same(await cluster.brokerConfig(['transaction.max.timeout.ms'], { signal }), { 'transaction.max.timeout.ms': null })
  const made = cluster.createTopic('acl-made', { partitions: 1, replication: 1, config: {} }, { signal })
  await t.rejects(made, { code: 'kafka.permission', fix: /Create/ })
  const read = async () => {
    for await (const records of cluster.readCommitted(topic, 0, 0n, 5n, { signal, timeoutMs: 1_000 }))
      t.same(records, [])
  }
  await t.rejects(read(), { code: 'kafka.permission', fix: /Read/ })
  await kafka.allow('plain', 'READ', 'TOPIC', topic)
  let count = 0
  for await (const records of cluster.readCommitted(topic, 0, 0n, 5n, { signal, timeoutMs: 5_000 }))
    count += records.length
  t.equal(count, 5)
})

t.test('a second producer fences the first', (t) => takeOver(t, kafka))

t.test('the coordinator times a transaction out', (t) => timeOutTransactions(t, kafka))

t.test('sessions that end are renewed before they do', async (t) => {
  const { topic, next } = await sessions
  t.same(numbersOf(await kafka.read(topic)), { 0: range(0, next) })
  t.comment(`${next} records over sessions of ${SESSION_MS} ms`)
})

t.test('the broker is restarted between send and commit, and killed while sending', async (t) => {
  const cluster = await connectKafka(t, kafka.options({ retryMs: RESTART_MS_MAX }))
  const topic = await kafka.createTopic({ partitions: 2 })
  const producer = await openProducer(t, cluster)
  const { producerId, epoch } = producer
  await producer.send([numbered(topic, 0, 0, 10), numbered(topic, 1, 0, 10)])
  const [node] = server.nodes
  await node!.stop()
  const committed = producer.commit()
  await node!.start()
  await committed
  const sends: Promise<void>[] = []
  for (let i = 1; i <= 5; i++) {
    sends.push(producer.send([numbered(topic, 0, i * 10, 10), numbered(topic, 1, i * 10, 10)]))
    if (i === 3) await node!.kill()
  }
  await node!.start()
  await Promise.all(sends)
  await producer.commit()
  t.same([producer.producerId, producer.epoch], [producerId, epoch], 'nothing was sent again under another epoch')
  t.same(numbersOf(await kafka.read(topic)), { 0: range(0, 60), 1: range(0, 60) })
})

t.test('three brokers, leaders that move, and one that dies', async (t) => {
  const seed = testSeed()
  t.comment(`seed ${seed}`)
  const dice = random(seed)
  const { kafka, server } = await startKafka(t, { brokers: 3 })
  const topic = await kafka.createTopic({
    assignment: [
      [1, 2],
      [2, 3],
      [3, 1],
    ],
    config: { 'min.insync.replicas': '1' },
  })
  const cluster = await connectKafka(t, kafka.options({ retryMs: RESTART_MS_MAX }))
  const producer = await openProducer(t, cluster, { compression: 'zstd' })
  const next = [0, 0, 0]
  const { seen, stop } = await follow(t, kafka, topic)
  let moving = true
  let moves = 0
  const mover = (async () => {
    while (moving) {
      const replicas = dice.pick([
        [1, 2],
        [2, 1],
        [2, 3],
        [3, 2],
        [3, 1],
        [1, 3],
      ])
      await kafka.lead(topic, dice.below(3), replicas)
      moves++
    }
  })()
  const rounds = async (count: number) => {
    for (let round = 0; round < count; round++) {
      const sends = range(0, 5).map(() => {
        const packs = next.map((from, partition) => numbered(topic, partition, from, 20, 50))
        next.forEach((from, partition) => {
          next[partition] = from + 20
        })
        return producer.send(packs)
      })
      await Promise.all(sends)
      await producer.commit()
    }
  }
  const enough = (async () => {
    while (moves < 15) await rounds(5)
  })()
  await enough
  moving = false
  await mover
  t.comment(`${moves} moves, ${next[0]} records a partition`)
  const third = server.nodes[2]!
  await third.kill()
  await rounds(10)
  await third.start()
  await rounds(10)
  const want = { 0: range(0, next[0]!), 1: range(0, next[1]!), 2: range(0, next[2]!) }
  t.same(numbersOf(await kafka.read(topic)), want)
  await until(() => seen.every((list, i) => list.length >= next[i]!), {
    what: 'the reader has all',
    timeoutMs: RESTART_MS_MAX,
  })
  await stop()
  t.same({ ...seen }, want, 'our own reader followed its leaders, and saw each record once')
})

/** Reads all partitions while leaders move. */
async function follow(t: Test, kafka: TestKafka, topic: string) {
  const cluster = await connectKafka(t, kafka.options({ retryMs: RESTART_MS_MAX }))
  const { signal } = new AbortController()
  const found = (await cluster.topics([topic], { signal })).get(topic)!
  const seen = Array.from({ length: found.partitions }, (): number[] => [])
  const reader = cluster.reader()
  for (const partition of seen.keys()) reader.add({ topic, partition, topicId: found.id, position: 0n })
  const ending = new AbortController()
  const reading = (async () => {
    for await (const batches of reader.read({ signal: ending.signal })) {
      for (const { partition, records } of batches) seen[partition]!.push(...records.map(({ value }) => Number(value)))
    }
  })()
  // Seen at once, not only when somebody waits for it.
  reading.catch(() => {})
  const stop = async () => {
    ending.abort(new Error('enough'))
    await t.rejects(reading, { message: 'enough' })
  }
  return { seen, stop }
}
