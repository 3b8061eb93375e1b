/** The exported contract of sources on MySQL with GTIDs, MySQL without them, MariaDB, and MySQL 5.6. */
import t, { type Test } from 'tap'
import { mysqlSource } from '../../connectors/mysql/index.js'
import { tableId } from '../../core/model.js'
import { type RowChange, type SourceHarness, sourceContract } from '../../core/testing/index.js'
import {
  createMysqlDatabase,
  type MysqlKind,
  type MysqlServer,
  type MysqlTestConnection,
  startMysql,
} from '../support/mysql.js'

interface Owner {
  teardown(handler: () => Promise<void>): unknown
}

/** Rows of one INSERT. */
const ROWS_MAX = 1_000

/** Neighbouring inserts become one statement: thousands of round trips prove nothing more. */
async function run(connection: MysqlTestConnection, changes: readonly RowChange[]): Promise<void> {
  for (let i = 0; i < changes.length; ) {
    const rows: (string | number | null)[] = []
    for (let c = changes[i]; c !== undefined && 'insert' in c && rows.length < 2 * ROWS_MAX; c = changes[++i])
      rows.push(c.insert, c.v)
    if (rows.length > 0) {
      await connection.query(
        `INSERT INTO t VALUES ${Array(rows.length / 2)
          .fill('(?, ?)')
          .join(', ')}`,
        rows,
      )
      continue
    }
    const change = changes[i++]!
    if ('update' in change) await connection.query('UPDATE t SET v = ? WHERE id = ?', [change.v, change.update])
    else if ('move' in change) await connection.query('UPDATE t SET id = ? WHERE id = ?', [change.to, change.move])
    else if ('remove' in change) await connection.query('DELETE FROM t WHERE id = ?', [change.remove])
  }
}

function sources(t: Test, kind: MysqlKind, server: MysqlServer): SourceHarness {
  return {
    async database() {
      const handlers: (() => Promise<void>)[] = []
      const end = async () => {
        for (const handler of handlers.splice(0).reverse()) await handler()
      }
      t.teardown(end)
      const owned: Owner = { teardown: (handler) => handlers.push(handler) }
      const db = await createMysqlDatabase(owned, kind, { server })
      await db.query(`CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT) ENGINE = InnoDB`)
      const options = mysqlSource.options.parse({
        url: db.captureUrl,
        tables: `${db.name}.t`,
        'visibility.margin': 50,
      }) as never
      const writer = await db.connect()
      return {
        table: tableId(db.name, 't'),
        source: (pipeline) => mysqlSource.create(options, { pipeline: `${pipeline}_${db.name}` }),
        async commit(...changes) {
          await writer.query('BEGIN')
          await run(writer, changes)
          await writer.query('COMMIT')
        },
        async begin() {
          const connection = await db.connect()
          await connection.query('BEGIN')
          return {
            write: (...changes) => run(connection, changes),
            commit: async () => void (await connection.query('COMMIT')),
            rollback: async () => void (await connection.query('ROLLBACK')),
          }
        },
        rows: async () => (await db.query('SELECT id, v FROM t')) as { id: string; v: string | null }[],
        drop: async () => void (await db.query(kind === 'mysql' ? 'RESET BINARY LOGS AND GTIDS' : 'RESET MASTER')),
        close: end,
      }
    },
  }
}

const KINDS: readonly (readonly [name: string, kind: MysqlKind, settings?: Readonly<Record<string, string>>])[] = [
  ['mysql with GTIDs', 'mysql'],
  ['mysql without GTIDs', 'mysql', { gtid_mode: 'OFF', enforce_gtid_consistency: 'OFF' }],
  ['mariadb', 'mariadb'],
  ['mysql 5.6', 'mysql56'],
]

for (const [name, kind, settings] of KINDS) {
  t.test(`source ${name}`, async (t) => {
    // Of its own: one case throws the server's log away.
    const server = await startMysql(t, kind, settings)
    sourceContract((name, body) => t.test(name, body), sources(t, kind, server))
  })
}
