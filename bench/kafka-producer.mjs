// The floor of the Kafka sink: transactional messages that are ready, written, sent and committed by drivers/kafka.ts.
//   npm run build && node bench/kafka-producer.mjs HOST:PORT [MESSAGES] [MESSAGES_PER_TRANSACTION] [COMPRESSION] [eos|alo]
// 200-byte values, a key, 4 partitions; then what a commit of a few records costs, and what ProducerPerformance of the same
// Kafka does with records of that size, with and without transactions. The topic is made and left behind.
import { execFileSync } from 'node:child_process'
import { register } from 'tsx/esm/api'
import { KafkaCluster, KafkaProducer, PackWriter } from '../dist/drivers/kafka.js'

const [broker = '127.0.0.1:19092', messages = '2000000', perTransaction = '10000', compression = 'none', mode = 'eos'] =
  process.argv.slice(2)
const PARTITIONS = 4
const VALUE_BYTES = 200
const PACK_BYTES = 900_000
const SMALL_COMMITS = 500
const NO_HEADERS = Buffer.alloc(0)

register()
const { kafkaJars } = await import('../test/support/servers/kafka-jars.ts')
const jars = kafkaJars((line) => console.error(line))

const { signal } = new AbortController()
const cluster = await KafkaCluster.connect(
  {
    brokers: [broker],
    clientId: 'bench',
    connectTimeoutMs: 10_000,
    requestTimeoutMs: 30_000,
    retryMs: 60_000,
  },
  { signal },
)
const topic = `bench-${process.pid}-${Date.now()}`
await cluster.createTopic(topic, { partitions: PARTITIONS, replication: 1, config: {} }, { signal })
const producer = await KafkaProducer.open(
  cluster,
  {
    transactionalId: mode === 'eos' ? `${topic}-id` : null,
    transactionTimeoutMs: 60_000,
    compression,
    maxMessageBytes: () => 1_048_588,
  },
  { signal },
)

const value = Buffer.alloc(VALUE_BYTES, 'x')
const keys = Buffer.from(Array.from({ length: 1000 }, (_, i) => `key-${String(i).padStart(6, '0')}`).join(''))
const KEY_BYTES = 10
const writers = Array.from({ length: PARTITIONS }, (_, i) => new PackWriter(topic, i, PACK_BYTES + 4096))

await run(Math.min(200_000, Number(messages)))
const cpu = process.cpuUsage()
const begun = performance.now()
await run(Number(messages))
const seconds = (performance.now() - begun) / 1000
const used = process.cpuUsage(cpu)
report(
  `${mode} ${compression}, ${perTransaction} a transaction`,
  Number(messages),
  seconds,
  (used.user + used.system) / 1e6,
)

const latencies = []
for (let i = 0; i < SMALL_COMMITS; i++) {
  const from = performance.now()
  append(i)
  await producer.send([writers[i % PARTITIONS].take()])
  await producer.commit()
  latencies.push(performance.now() - from)
}
const total = latencies.reduce((sum, each) => sum + each, 0)
latencies.sort((a, b) => a - b)
console.log(
  `commits of one record: ${Math.round((SMALL_COMMITS * 1000) / total)}/s, p50 ${latencies[SMALL_COMMITS >> 1].toFixed(1)} ms, p99 ${latencies[Math.floor(SMALL_COMMITS * 0.99)].toFixed(1)} ms`,
)
await producer.close()
producerPerformance([])
producerPerformance(['--transaction-duration-ms', '500', '--transactional-id', `${topic}-java`])
await cluster.close()
console.log(`topic ${topic}`)

/** Java's own: one thread, batches of the same size, no key. It counts no processor time. */
function producerPerformance(more) {
  const properties = ['acks=all', 'batch.size=900000', 'linger.ms=5', `compression.type=${compression}`]
  const tool = ['-cp', `${jars}/*`, 'org.apache.kafka.tools.ProducerPerformance']
  const what = ['--topic', topic, '--num-records', messages, '--record-size', String(VALUE_BYTES), '--throughput', '-1']
  const args = [...tool, ...what, ...more, '--producer-props', `bootstrap.servers=${broker}`, ...properties]
  const said = execFileSync('java', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const last = said.trim().split('\n').at(-1)
  console.log(`ProducerPerformance${more.length > 0 ? ', transactions' : ''}: ${last}`)
}

function append(i) {
  const key = (i % 1000) * KEY_BYTES
  writers[i % PARTITIONS].append(1_795_415_073_092, keys, key, key + KEY_BYTES, value, 0, VALUE_BYTES, NO_HEADERS)
}

async function run(count) {
  const size = Number(perTransaction)
  for (let done = 0; done < count; ) {
    const until = Math.min(count, done + size)
    const sending = []
    for (; done < until; done++) {
      append(done)
      if (writers[done % PARTITIONS].bytes >= PACK_BYTES) {
        sending.push(producer.send([writers[done % PARTITIONS].take()]))
        if (sending.length > 8) await sending.shift()
      }
    }
    sending.push(producer.send(writers.filter((writer) => writer.count > 0).map((writer) => writer.take())))
    await Promise.all(sending)
    await producer.commit()
  }
}

function report(what, count, seconds, cpuSeconds) {
  const rate = Math.round(count / seconds).toLocaleString('en')
  const cost = (cpuSeconds / (count / 1e6)).toFixed(2)
  const rss = Math.round(process.resourceUsage().maxRSS / 1024)
  console.log(`${what}: ${rate} messages/s, ${cost} CPU s per million, peak RSS ${rss} MB`)
}
