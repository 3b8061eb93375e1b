// npm run kafka [PORT]: a Kafka to try things with, for whoever has none. One broker (KRaft) on 127.0.0.1:9092, the one that
// the tests use; the jars are fetched once. Everything it holds is gone when it ends.
import { register } from 'tsx/esm/api'

register()

const { startKafkaServer } = await import('../test/support/servers/kafka.ts')
const { KAFKA_VERSION, kafkaJars } = await import('../test/support/servers/kafka-jars.ts')

const PORT_DEFAULT = 9092

const port = Number(process.argv[2] ?? PORT_DEFAULT)
if (!Number.isInteger(port) || port < 1 || port > 65_535) {
  console.error('Usage: npm run kafka [PORT]')
  process.exit(2)
}
const note = (line) => console.error(line)
const server = await startKafkaServer({ port }, note)
const jars = kafkaJars(note)
console.log(`Apache Kafka ${KAFKA_VERSION} at ${server.address()}; Ctrl-C ends it and removes what it holds.

Read a topic:
  java -cp '${jars}/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server ${server.address()} \\
    --isolation-level read_committed --from-beginning --topic TOPIC`)
await new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, resolve)
})
await server.stop()
