/** Every sslmode against libpq itself: psql and we must come out the same, encrypted, not encrypted, or refused. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import { connectPg, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { createDatabase } from '../support/postgres.js'
import { type At, startTlsServer } from '../support/tls.js'

const PSQL = '/usr/lib/postgresql/15/bin/psql'
const MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']
const SSL = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'
const REFUSED = 'refused'

async function libpq(url: string): Promise<string> {
  const args = ['-XAtw', `${url}&gssencmode=disable`, '-c', SSL]
  return await promisify(execFile)(PSQL, args).then(
    ({ stdout }) => stdout.trim(),
    () => REFUSED,
  )
}

async function ours(url: string): Promise<string | null> {
  try {
    const connection = await connectPg(pgOptionsFromUrl(url), { signal: new AbortController().signal })
    const [row] = await connection.query(SSL)
    await connection.close()
    return row![0]!
  } catch {
    return REFUSED
  }
}

t.test('as psql does', { skip: !existsSync(PSQL) && `needs ${PSQL}` }, async (t) => {
  const server = await startTlsServer(t)
  const file = (name: string) => server.certificates.path(name)
  const plain = await createDatabase(t, { version: '15' })
  const identity = (name: string) => ({ sslcert: file(`${name}.crt`), sslkey: file(`${name}.key`) })
  const people: At[] = [
    ...['anyone', 'tls_only', 'plain_only', 'secret:right', 'cautious:right', 'certified', 'nobody'].map((user) => ({
      user,
    })),
    { user: 'certified', ...identity('certified') },
    { user: 'certified', ...identity('stranger') },
    { user: 'postgres', host: '127.0.0.1', port: Number(new URL(plain.url).port) },
  ]
  const authorities: At[] = [{}, { sslrootcert: file('ca.crt') }, { sslrootcert: file('other.crt') }]
  for (const person of people) {
    const cases = MODES.flatMap((sslmode) => authorities.map((authority) => ({ ...person, ...authority, sslmode })))
    const hosts = person.host ? cases : cases.flatMap((each) => [each, { ...each, host: '127.0.0.1' }])
    await Promise.all(
      hosts.map(async (each) => {
        const url = server.at(each)
        const [theirs, mine] = await Promise.all([libpq(url), ours(url)])
        t.equal(mine, theirs, url)
      }),
    )
  }
  // Where we differ on purpose: libpq tries a wrong password again on the other way, and so hands it to whoever listens.
  for (const [user, sslmode] of [
    ['secret:wrong', 'prefer'],
    ['cautious:wrong', 'allow'],
  ] as const) {
    t.not(await libpq(server.at({ user, sslmode })), REFUSED)
    t.equal(await ours(server.at({ user, sslmode })), REFUSED)
  }
})
