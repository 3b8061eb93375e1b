// npm run test:servers [FILE...]: starts each shared server once, hands the URLs to test/servers/*.test.ts through the
// environment, and stops what it started. A URL that is in the environment already (TIDEMARK_TEST_POSTGRES_15=...) is used as it is.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { register } from 'tsx/esm/api'

register()

const { FOLDER_PREFIX, startServer } = await import('../test/support/servers/start.ts')
const { startKafkaServer } = await import('../test/support/servers/kafka.ts')
const { MYSQL_VARIABLE, MysqlServer } = await import('../test/support/servers/mysql.ts')
const { removeLeftovers } = await import('../cli/demo/work-folder.ts')

const VERSIONS = ['15', '18', '13', '14', '16', '17']
/** What tests use unless they ask for another. */
const VERSION_DEFAULT = '15'
const FILE_TIMEOUT_SECONDS = 1_200

const root = fileURLToPath(new URL('..', import.meta.url))
const note = (line) => console.error(`test:servers: ${line}`)
const started = []
let child = null

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => child?.kill(signal))
}

try {
  process.exitCode = await main(process.argv.slice(2))
} finally {
  for (const stop of started) await stop()
  await removeLeftovers(FOLDER_PREFIX)
}

async function main(wanted) {
  for (const folder of await removeLeftovers(FOLDER_PREFIX)) note(`removed what a killed run left in ${folder}`)
  const files = wanted.length > 0 ? wanted : testFiles()
  if (files.length === 0) {
    note('no files in test/servers')
    return 1
  }
  // The command line tests run the built program.
  const built = await run(process.execPath, ['scripts/prepare.mjs'])
  if (built !== 0) return built
  for (const version of VERSIONS) if (files.some((file) => needsVersion(file, version))) await provide(version)
  if (files.some(needsKafka)) await provideKafka()
  if (files.some((file) => file.includes('mysql')))
    for (const kind of Object.keys(MYSQL_VARIABLE)) await provideMysql(kind)
  const options = [`--timeout=${FILE_TIMEOUT_SECONDS}`]
  return run(process.execPath, ['scripts/run-tap.mjs', 'servers', ...options, ...files])
}

async function provide(version) {
  const name = `TIDEMARK_TEST_POSTGRES_${version}`
  if (process.env[name]) {
    note(`PostgreSQL ${version}: ${new URL(process.env[name]).host}, from the environment`)
    return
  }
  const { server, folder } = await startServer(version, {}, note)
  started.push(async () => {
    await server.stop('immediate')
    folder.remove()
  })
  process.env[name] = server.url
  note(`PostgreSQL ${version}: started at 127.0.0.1:${server.port}`)
}

function needsVersion(file, version) {
  return version === VERSION_DEFAULT || text(file).includes(`'${version}'`)
}

// One broker takes half a gigabyte, so it runs only for files that ask for it.
function needsKafka(file) {
  return text(file).includes('sharedKafka')
}

function text(file) {
  return readFileSync(resolve(root, file), 'utf8')
}

async function provideKafka() {
  const given = process.env.TIDEMARK_TEST_KAFKA
  if (given) {
    note(`Kafka: ${given}, from the environment`)
    return
  }
  const server = await startKafkaServer({}, note)
  started.push(() => server.stop())
  process.env.TIDEMARK_TEST_KAFKA = server.address()
  note(`Kafka: started at ${server.address()}`)
}

async function provideMysql(kind) {
  const name = MYSQL_VARIABLE[kind]
  if (process.env[name]) {
    note(`${kind}: ${new URL(process.env[name]).host}, from the environment`)
    return
  }
  const server = await MysqlServer.start(kind, {}, note)
  started.push(() => server.remove())
  process.env[name] = server.url
  note(`${kind}: started at 127.0.0.1:${server.port}`)
}

function testFiles() {
  // The slow suites need no server but the same patience.
  return ['test/servers', 'test/slow'].flatMap((folder) =>
    readdirSync(`${root}${folder}`)
      .filter((name) => name.endsWith('.test.ts'))
      .sort()
      .map((name) => `${folder}/${name}`),
  )
}

function run(program, args) {
  return new Promise((resolve, reject) => {
    child = spawn(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
    child.once('error', reject)
    child.once('exit', (code) => {
      child = null
      resolve(code ?? 1)
    })
  })
}
