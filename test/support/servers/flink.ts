/** Apache Flink from its published jars, one JVM for one file of SQL statements (FlinkJob.java). */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compileJava, mavenJars } from './java.js'

const VERSION = '2.2.0'
const KAFKA_CONNECTOR = '5.0.0-2.2'
const HEAP = '768m'
const TIMEOUT_MS_DEFAULT = 180_000
const LOG_TAIL_CHARACTERS = 4_000
const JOB = new URL('FlinkJob.java', import.meta.url)
/** What Flink reaches into. */
const OPENED = ['lang', 'lang.invoke', 'lang.reflect', 'net', 'nio', 'util', 'util.concurrent', 'text', 'math', 'io']

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

/** One row of a changelog, as Flink's SELECT ends with it. */
export interface FlinkRow {
  readonly kind: '+I' | '-U' | '+U' | '-D'
  readonly values: readonly (string | null)[]
}

/** Every row of the statements' SELECTs, in order. Sources must be bounded. */
export async function flinkSql(
  t: Teardown,
  statements: readonly string[],
  { timeoutMs = TIMEOUT_MS_DEFAULT }: { readonly timeoutMs?: number } = {},
): Promise<FlinkRow[]> {
  const jars = flinkJars((line) => process.stderr.write(`# ${line}\n`))
  const work = mkdtempSync(join(tmpdir(), 'tidemark-test-flink-'))
  const script = join(work, 'job.sql')
  writeFileSync(script, statements.map((statement) => `${statement};\n`).join(''))
  const child = spawn(
    'java',
    [
      ...OPENED.map((name) => `--add-opens=java.base/java.${name}=ALL-UNNAMED`),
      `-Xmx${HEAP}`,
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      `-Djava.io.tmpdir=${work}`,
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
      '-cp',
      `${compileJava(JOB, jars)}:${jars}/*`,
      'FlinkJob',
      script,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const ended = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended.catch(() => null)
    rmSync(work, { recursive: true, force: true })
  })
  const out: Buffer[] = []
  let log = ''
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  const late = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const code = await ended.finally(() => clearTimeout(late))
  if (code !== 0) throw new Error(`Flink ended with ${code ?? `SIGKILL after ${timeoutMs} ms`}:\n${reason(log)}`)
  return Buffer.concat(out).toString('utf8').split('\n').filter(Boolean).map(rowOf)
}

function rowOf(line: string): FlinkRow {
  const [kind, ...fields] = line.split(' ')
  const values = fields.map((field) => (field === '-' ? null : Buffer.from(field.slice(1), 'base64').toString('utf8')))
  return { kind: kind as FlinkRow['kind'], values }
}

/** Flink wraps the cause in a dozen of other exceptions. */
function reason(log: string): string {
  const causes = log.split('\n').filter((line) => line.startsWith('Caused by:'))
  return causes.length > 0 ? causes.join('\n').slice(-LOG_TAIL_CHARACTERS) : log.slice(-LOG_TAIL_CHARACTERS)
}

function flinkJars(note: (line: string) => void): string {
  const flink = [
    'flink-clients',
    'flink-table-api-java-bridge',
    'flink-table-planner-loader',
    'flink-table-runtime',
    'flink-connector-base',
    'flink-connector-files',
    'flink-json',
  ]
  const dependencies = [
    ...flink.map((artifact) => `org.apache.flink:${artifact}:${VERSION}`),
    `org.apache.flink:flink-sql-connector-kafka:${KAFKA_CONNECTOR}`,
    'org.slf4j:slf4j-simple:1.7.36',
  ]
  const about = `Apache Flink ${VERSION} (137 MB)`
  const otherwise = 'This test has no other way to Flink.'
  return mavenJars({ name: `flink-${VERSION}`, dependencies, about, otherwise }, note)
}
