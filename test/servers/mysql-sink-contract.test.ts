/** The exported contract of sinks on MySQL 9, MariaDB and MySQL 5.6. */
import t, { type Test } from 'tap'
import { type SinkHarness, sinkContract } from '../../core/testing/index.js'
import { mysqlSink } from '../../sinks/mysql/index.js'
import { createMysqlDatabase, type MysqlKind } from '../support/mysql.js'
import { sinkOptions } from '../support/mysql-sink.js'

const KINDS: readonly MysqlKind[] = ['mysql', 'mariadb', 'mysql56']

function sinks(t: Test, kind: MysqlKind): SinkHarness {
  return {
    guarantee: 'exactly-once',
    async target() {
      const handlers: (() => Promise<void>)[] = []
      const end = async () => {
        for (const handler of handlers.splice(0).reverse()) await handler()
      }
      t.teardown(end)
      const db = await createMysqlDatabase({ teardown: (handler) => handlers.push(handler) }, kind)
      return {
        sink: (pipeline) => mysqlSink.create(sinkOptions(db) as never, { pipeline }),
        contents: async (table) => ({
          kind: 'rows',
          rows: (await db.query(`SELECT * FROM \`${table.name}\``)).map((row) =>
            table.columns.map((c) => row[c.name]!),
          ),
        }),
        close: end,
      }
    },
  }
}

t.jobs = 3
for (const kind of KINDS) {
  t.test(`sink mysql on ${kind}`, { buffered: true }, async (t) => {
    sinkContract((name, body) => t.test(name, body), sinks(t, kind))
  })
}
