/**
 * Apache Kafka's published jars: broker, command-line tools and Java client in one folder, kept in `.servers/` of the
 * clone so that only the first run downloads. Java and Maven come from the machine, or by apt-get where we are root on Debian.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aptCommand, canUseApt, installWithApt } from './apt.js'

export const KAFKA_VERSION = '4.1.1'
const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const PACKAGES = ['default-jdk-headless', 'maven']

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka-server</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>${KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

/** The folder of the jars. */
export function kafkaJars(note: (line: string) => void): string {
  const folder = join(ROOT, '.servers', `kafka-${KAFKA_VERSION}`)
  const complete = join(folder, '.complete')
  if (existsSync(complete)) {
    needPrograms(['java'], note)
    return folder
  }
  needPrograms(['java', 'mvn'], note)
  mkdirSync(folder, { recursive: true })
  const pom = join(folder, 'pom.xml')
  writeFileSync(pom, POM)
  const args = [
    '-q',
    '-B',
    '-f',
    pom,
    'dependency:copy-dependencies',
    '-DincludeScope=runtime',
    `-DoutputDirectory=${folder}`,
  ]
  note(`fetching the jars of Apache Kafka ${KAFKA_VERSION} with Maven into ${folder} (84 MB)`)
  if (spawnSync('mvn', args, { stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0) {
    throw new Error(
      `Maven failed. Run it by hand:\n  mvn ${args.join(' ')}\nor name a running broker: TIDEMARK_TEST_KAFKA=host:port`,
    )
  }
  writeFileSync(complete, '')
  return folder
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

/** A folder beside the jars for what is compiled against them. */
export function compiledFolder(name: string): string {
  return join(ROOT, '.servers', name)
}

function needPrograms(programs: readonly string[], note: (line: string) => void): void {
  const missing = programs.filter(
    (program) => spawnSync(program, ['-version'], { stdio: 'ignore' }).error !== undefined,
  )
  if (missing.length === 0) return
  if (!canUseApt()) {
    throw new Error(
      `${missing.join(' and ')} not found. Run \`${aptCommand(PACKAGES)}\` (Java 17 or later), or name a running broker: TIDEMARK_TEST_KAFKA=host:port`,
    )
  }
  installWithApt(PACKAGES, note)
}
