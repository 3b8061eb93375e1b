/** sslmode as libpq documents it, on a server with an authority of its own, for every connection that a pipeline makes. */
import t from 'tap'
import { TidemarkError } from '../../core/errors.js'
import { connectPg, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { CopyOut, copyIn } from '../../drivers/postgres-copy.js'
import { ReplicationStream } from '../../drivers/postgres-replication.js'
import { createDatabase } from '../support/postgres.js'
import { runTidemark, startTidemark, writePipeline } from '../support/process.js'
import { startForgetfulProxy, startTlsServer } from '../support/tls.js'

const signal = new AbortController().signal
const server = await startTlsServer(t)
const file = (name: string) => server.certificates.path(name)

interface Case {
  readonly user?: string
  readonly host?: string
  readonly port?: number
  readonly database?: string
  readonly [parameter: string]: string | number | undefined
}

function urlOf({ user = 'anyone', host = 'localhost', port, database, ...parameters }: Case): string {
  const query = new URLSearchParams(parameters as Record<string, string>)
  return `postgres://${user}@${host}:${port ?? server.port}/${database ?? 'postgres'}?${query}`
}

/** Whether the server calls the session encrypted; or how connecting failed. */
async function connect(options: Case): Promise<boolean | TidemarkError> {
  try {
    const connection = await connectPg(pgOptionsFromUrl(urlOf(options)), { signal })
    const [row] = await connection.query('select ssl::text from pg_stat_ssl where pid = pg_backend_pid()')
    await connection.close()
    return row![0] === 'true'
  } catch (error) {
    return error as TidemarkError
  }
}

/** One error for users: a code, what happened in one line, what to do. */
async function refused(t: Tap.Test, options: Case, code: string, message: RegExp, fix: RegExp): Promise<void> {
  const error = await connect(options)
  if (!(error instanceof TidemarkError)) {
    t.fail(`connected, or an error without a code: ${error}`)
    return
  }
  t.equal(error.code, code, error.message)
  t.match(error.message, message)
  t.match(error.fix ?? '', fix)
  t.notMatch(error.message, /\n/, 'one line')
  t.equal(error.retriable, false, 'waiting does not help')
}

t.test('verify-full and verify-ca', async (t) => {
  const sslrootcert = file('ca.crt')
  t.equal(await connect({ sslmode: 'verify-full', sslrootcert }), true)
  const host = '127.0.0.1'
  const naming = /certificate is not for 127\.0\.0\.1.*localhost/
  await refused(t, { sslmode: 'verify-full', sslrootcert, host }, 'postgres.tls', naming, /localhost.*verify-ca/)
  t.equal(await connect({ sslmode: 'verify-ca', sslrootcert, host }), true)
  for (const sslmode of ['verify-ca', 'verify-full']) {
    const wrong = { sslmode, sslrootcert: file('other.crt') }
    await refused(t, wrong, 'postgres.tls', /certificate/, /sslrootcert/)
    await refused(t, { sslmode }, 'postgres.tls_file', /root\.crt/, /sslrootcert/)
    await refused(t, { sslmode, sslrootcert: 'system' }, 'postgres.tls', /certificate/, /sslrootcert/)
  }
})
