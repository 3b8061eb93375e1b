/** Java programs for tests: jars by Maven into `.servers/` of the clone, our own judges compiled beside them, each once. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aptCommand, canUseApt, installWithApt } from './apt.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const PACKAGES = ['default-jdk-headless', 'maven']

export interface Jars {
  /** Of the folder in `.servers/`, with the version. */
  readonly name: string
  /** group:artifact:version of each. */
  readonly dependencies: readonly string[]
  /** What is fetched, for the line that says so. */
  readonly about: string
  /** What a user can do who has no Maven. */
  readonly otherwise: string
}

/** The folder of the jars, with everything that they depend on. */
export function mavenJars({ name, dependencies, about, otherwise }: Jars, note: (line: string) => void): string {
  const folder = join(ROOT, '.servers', name)
  const complete = join(folder, '.complete')
  if (existsSync(complete)) {
    needPrograms(['java'], otherwise, note)
    return folder
  }
  needPrograms(['java', 'mvn'], otherwise, note)
  mkdirSync(folder, { recursive: true })
  const pom = join(folder, 'pom.xml')
  writeFileSync(pom, pomOf(name, dependencies))
  const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${folder}`]
  const args = ['-q', '-B', '-f', pom, ...goal]
  note(`fetching the jars of ${about} with Maven into ${folder}`)
  if (spawnSync('mvn', args, { stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0) {
    throw new Error(`Maven failed. Run it by hand:\n  mvn ${args.join(' ')}\n${otherwise}`)
  }
  writeFileSync(complete, '')
  return folder
}

function pomOf(name: string, dependencies: readonly string[]): string {
  const each = dependencies.map((dependency) => {
    const [group, artifact, version] = dependency.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`
  })
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>${name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    ${each.join('\n    ')}
  </dependencies>
</project>
`
}

/** The folder of a source file's classes, compiled against jars once for each version of it. */
export function compileJava(source: URL, jars: string): string {
  const file = fileURLToPath(source)
  const hash = createHash('sha256').update(readFileSync(file)).update(jars).digest('hex').slice(0, 12)
  const name = basename(file, '.java').replace(/\B[A-Z]/g, (letter) => `-${letter}`)
  const folder = join(ROOT, '.servers', `${name.toLowerCase()}-${hash}`)
  if (existsSync(folder)) return folder
  const making = `${folder}-${process.pid}`
  mkdirSync(making, { recursive: true })
  const done = spawnSync('javac', ['-cp', join(jars, '*'), '-d', making, file], { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`javac failed: ${done.error?.message ?? done.stderr}`)
  // Another test file may have been faster.
  if (!existsSync(folder)) renameSync(making, folder)
  return folder
}

function needPrograms(programs: readonly string[], otherwise: string, note: (line: string) => void): void {
  const missing = programs.filter(
    (program) => spawnSync(program, ['-version'], { stdio: 'ignore' }).error !== undefined,
  )
  if (missing.length === 0) return
  if (!canUseApt()) {
    throw new Error(
      `${missing.join(' and ')} not found. Run \`${aptCommand(PACKAGES)}\` (Java 17 or later). ${otherwise}`,
    )
  }
  installWithApt(PACKAGES, note)
}
