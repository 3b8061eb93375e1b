/**
 * Apache Kafka's published jars: broker, command-line tools and Java client in one folder, kept in `.servers/` of the
 * clone so that only the first run downloads. Java and Maven come from the machine, or by apt-get where we are root on Debian.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mavenJars } from './java.js'

export const KAFKA_VERSION = '4.1.1'

/** The folder of the jars. */
export function kafkaJars(note: (line: string) => void): string {
  const dependencies = [
    `org.apache.kafka:kafka_2.13:${KAFKA_VERSION}`,
    `org.apache.kafka:kafka-tools:${KAFKA_VERSION}`,
    'org.slf4j:slf4j-simple:1.7.36',
  ]
  const about = `Apache Kafka ${KAFKA_VERSION} (84 MB)`
  const otherwise = 'Or name a running broker: TIDEMARK_TEST_KAFKA=host:port'
  return mavenJars({ name: `kafka-${KAFKA_VERSION}`, dependencies, about, otherwise }, note)
}

/** The first snapshot of a new cluster's metadata, made once: it names no cluster. */
export function bootstrapFile(jars: string): string {
  const file = join(jars, 'bootstrap.checkpoint')
  if (existsSync(file)) return file
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-format-'))
  try {
    const config = join(folder, 'server.properties')
    const listeners =
      'listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\ncontroller.listener.names=CONTROLLER'
    writeFileSync(
      config,
      `process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:9093\n${listeners}\nlog.dirs=${folder}/data\n`,
    )
    const args = [
      '-cp',
      `${jars}/*`,
      'kafka.tools.StorageTool',
      'format',
      '-t',
      randomBytes(16).toString('base64url'),
      '-c',
      config,
    ]
    const done = spawnSync('java', args, { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`formatting failed: ${done.stdout}${done.stderr}`)
    copyFileSync(join(folder, 'data', 'bootstrap.checkpoint'), file)
    return file
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
