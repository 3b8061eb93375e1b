/** What the server says is told from what the socket says. */
import t from 'tap'
import { classifyPgError, sqlState } from '../../drivers/postgres-errors.js'

const where = { host: 'h', port: 5432, database: 'd', user: 'u' }
const classify = (code: string, message = 'm') => classifyPgError(Object.assign(new Error(message), { code }), where)

t.test('node codes of five letters are no SQLSTATE', async (t) => {
  t.equal(sqlState({ code: 'EPIPE' }), null)
  t.equal(sqlState({ code: '28P01' }), '28P01')
  t.equal(sqlState({ code: 'XX000' }), 'XX000')
  t.match(classify('EPIPE'), { code: 'postgres.connection', retriable: true })
})

t.test('a broken TLS connection is a lost one', async (t) => {
  t.match(classify('ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC'), { code: 'postgres.connection', retriable: true })
})

t.test('a pooler that refuses our startup options', async (t) => {
  const error = classify('08P01', 'unsupported startup parameter: options')
  t.match(error, { code: 'postgres.connection', fix: /connect directly/ })
})
