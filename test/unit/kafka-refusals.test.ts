/** What the Kafka client and the sink's check say where a cluster refuses or does not fit. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { KafkaCluster } from '../../drivers/kafka.js'
import { creationRefused, KafkaCode } from '../../drivers/kafka-errors.js'
import { kafkaOptions } from '../../drivers/kafka-options.js'
import { checkDeadLetters } from '../../sinks/kafka/check-dead-letters.js'
import { kafkaSinkOptions } from '../../sinks/kafka/options.js'
import { kafkaSettings } from '../../sinks/kafka/settings.js'

const { signal } = new AbortController()

/** A listener that wants a login: it says its versions, and hangs up at anything else. */
async function loginListener(t: Test): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (request: Buffer) => {
      if (request.readInt16BE(4) !== 18) {
        socket.destroy()
        return
      }
      const answer = Buffer.alloc(4 + 4 + 2 + 4 + 2 * 6)
      answer.writeInt32BE(answer.length - 4, 0)
      answer.writeInt32BE(request.readInt32BE(8), 4)
      answer.writeInt32BE(2, 10)
      answer.writeInt16BE(3, 14)
      answer.writeInt16BE(12, 18)
      answer.writeInt16BE(18, 20)
      answer.writeInt16BE(3, 24)
      socket.write(answer)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const optionsOf = (more: Record<string, unknown>) =>
  kafkaSinkOptions.parse({ 'properties.bootstrap.servers': 'localhost:9092', ...more })

t.test('a listener that hangs up before a login: the protocol is the likely reason', async (t) => {
  const given = optionsOf({ 'properties.bootstrap.servers': await loginListener(t) })
  const error = await KafkaCluster.connect(kafkaOptions(given, 'p', 'sink'), { signal }).catch((thrown) => thrown)
  t.match(error, {
    code: 'kafka.connection',
    retriable: true,
    fix: /wants a login: set properties\.security\.protocol/,
  })
})

t.test('a topic that cannot be made blames the option', async (t) => {
  const at = (code: number) => creationRefused(code, 'x', 'said').at
  t.equal(at(KafkaCode.invalidReplicationFactor), 'sink.topic.creation.default.replication.factor')
  t.equal(at(KafkaCode.invalidPartitions), 'sink.topic.creation.default.partitions')
  t.equal(at(KafkaCode.invalidConfig), 'sink.topic.creation.config')
  t.match(creationRefused(KafkaCode.invalidConfig, 'x', 'Unknown topic config name: y'), {
    code: 'kafka.refused',
    message: /INVALID_CONFIG \(40\): Unknown topic config name: y/,
    fix: 'Correct topic.creation.config, or make topic x yourself.',
  })
  t.equal(creationRefused(KafkaCode.topicAuthorizationFailed, 'x', null).code, 'kafka.permission')
})

t.test('the dead letter topic must take more than the others', async (t) => {
  /** Limits of the topics that exist. */
  const found = async (limits: Record<string, number>, more: Record<string, unknown> = {}) => {
    const cluster = {
      topics: async (names: string[]) => new Map(names.map((n) => [n, n in limits ? { partitions: 1, id: '' } : null])),
      topicConfig: async (name: string) => ({ 'max.message.bytes': String(limits[name]) }),
      brokerConfig: async () => ({ 'message.max.bytes': '1000' }),
    } as unknown as KafkaCluster
    const options = optionsOf({ 'message.too.large': 'dead-letter', 'dead.letter.topic': 'dead', ...more })
    const findings = await checkDeadLetters(cluster, kafkaSettings(options, 'p'), ['a', 'b'], { signal })
    return findings.map(({ level, message, fix }) => `${level} ${message} ${fix}`)
  }
  t.match(await found({ a: 1000, b: 500, dead: 1001 }), [/^ok /])
  t.match(await found({ a: 1000, b: 5000, dead: 5000 }), [
    /^problem .* has max\.message\.bytes=5000, topic b 5000.* kafka-configs\.sh .* dead --add-config max\.message\.bytes=10000$/,
  ])
  t.match(await found({ dead: 2000 }), [/^ok /], 'topics that will be made get the default of the brokers')
  t.match(await found({ a: 500, b: 500 }), [/^ok /], 'so does the dead letter topic')
  t.match(await found({}), [/^problem .* would be made with max\.message\.bytes=1000.* kafka-topics\.sh .*--create/])
  t.match(await found({ a: 900, b: 1, dead: 1500 }, { 'topic.creation.config': { 'max.message.bytes': '9' } }), [
    /^ok /,
  ])
  t.same(await found({ a: 1, b: 1 }, { 'message.too.large': 'stop' }), [], 'it is not used')
})
