/** Rules of correctness.md 2.1 and 2.2b on real servers: what a SELECT shows, what the log leaves out, what must stop. */
import { closeSync, ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createMysqlDatabase, startMysql } from '../support/mysql.js'
import { MemoryPipeline } from '../support/mysql-pipeline.js'
import { until } from '../support/until.js'

/** How long a commit waits for a replica that does not exist. */
const SEMI_SYNC_MS = 2_000
const SEMI_SYNC: Readonly<Record<'mysql' | 'mariadb', string>> = {
  mysql: `INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'; SET GLOBAL rpl_semi_sync_source_timeout = ${SEMI_SYNC_MS},
    GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC, GLOBAL rpl_semi_sync_source_wait_no_replica = ON, GLOBAL rpl_semi_sync_source_enabled = ON`,
  mariadb: `SET GLOBAL rpl_semi_sync_master_timeout = ${SEMI_SYNC_MS}, GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC,
    GLOBAL rpl_semi_sync_master_wait_no_slave = ON, GLOBAL rpl_semi_sync_master_enabled = ON`,
}

async function equal(t: Test, pipeline: MemoryPipeline, table = 't'): Promise<void> {
  t.same(pipeline.target.complaints, [])
  t.same(pipeline.rows(table), await pipeline.wanted(table))
}

for (const kind of ['mysql', 'mariadb'] as const) {
  t.test(`T1, T19: a commit is in the log and no SELECT shows it yet, ${kind}`, async (t) => {
    const server = await startMysql(t, kind)
    const db = await createMysqlDatabase(t, kind, { server })
    await db.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1, 'old'), (2, 'two')")
    // Read before t, so that the commit comes to a chunk that nobody has read yet: it is dropped there and must be shown.
    await db.query('CREATE TABLE a (id INT PRIMARY KEY)')
    await db.query(`INSERT INTO a VALUES ${Array.from({ length: 5_000 }, (_, i) => `(${i})`).join(', ')}`)
    const pipeline = new MemoryPipeline(db, { 'scan.incremental.snapshot.chunk.size': 100 })
    await db.query(SEMI_SYNC[kind])
    const writer = await db.connect()
    const status = async () =>
      JSON.stringify((await db.query(kind === 'mysql' ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS'))[0]!.Position)
    const before = await status()
    const committing = writer.query("UPDATE t SET v = 'new' WHERE id = 1")
    await until(async () => (await status()) !== before, { what: 'the commit is in the log' })
    t.equal((await db.query('SELECT v FROM t WHERE id = 1'))[0]!.v, 'old', 'and a SELECT does not show it')
    const running = pipeline.run('once')
    await committing
    await running
    await pipeline.run()
    t.ok(pipeline.rows().includes('["1","new"]'), pipeline.rows().join())
    await equal(t, pipeline)
  })
}

t.test('T59: what was purged while the pipeline was stopped is named', async (t) => {
  for (const kind of ['mysql', 'mariadb'] as const) {
    const server = await startMysql(t, kind)
    const db = await createMysqlDatabase(t, kind, { server })
    await db.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1, 'x')")
    const pipeline = new MemoryPipeline(db)
    await pipeline.run()
    await db.query("INSERT INTO t VALUES (2, 'lost'); FLUSH BINARY LOGS; FLUSH BINARY LOGS")
    // A reader that has just gone keeps its file for a moment.
    await until(
      async () => {
        const logs = await db.query('SHOW BINARY LOGS')
        await db.query(`PURGE BINARY LOGS TO '${logs.at(-1)!.Log_name}'`)
        return logs.length === 1
      },
      { what: 'the log is purged' },
    )
    const error = await pipeline.failure()
    t.equal(error.code, 'mysql.position_lost', kind)
    t.match(error.message, /purged/)
    t.notOk(error.retriable)
    t.ok(error.fix)
  }
})

t.test('rule a: a server that lost the end of its log and wrote another stops the pipeline', async (t) => {
  for (const kind of ['mysql', 'mariadb'] as const) {
    const server = await startMysql(t, kind)
    const db = await createMysqlDatabase(t, kind, { server })
    await db.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1, 'x')")
    const pipeline = new MemoryPipeline(db)
    await pipeline.run()
    const [place] = await db.query(kind === 'mysql' ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS')
    await db.query("INSERT INTO t VALUES (3, 'delivered')")
    await pipeline.run()
    await server.kill()
    const file = openSync(join(server.dataDir, place!.File!), 'r+')
    ftruncateSync(file, Number(place!.Position))
    closeSync(file)
    await server.start()
    const writer = await db.connect()
    await writer.query('SET sql_log_bin = 0; DELETE FROM t WHERE id = 3; SET sql_log_bin = 1')
    await writer.query("INSERT INTO t VALUES (4, 'another'); INSERT INTO t VALUES (5, 'more')")
    const error = await pipeline.failure()
    t.equal(error.code, 'mysql.position_lost', `${kind}: ${error.message}`)
    t.notOk(error.retriable)
  }
})

t.test('T64, rule k: a promoted replica is followed by GTID, also with chunks that nobody has read yet', async (t) => {
  const primary = await startMysql(t, 'mysql')
  const replica = await startMysql(t, 'mysql')
  const db = await createMysqlDatabase(t, 'mysql', { server: primary })
  await db.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
  const { port } = new URL(primary.url)
  const other = await createMysqlDatabase(t, 'mysql', { server: replica })
  await other.query('RESET BINARY LOGS AND GTIDS')
  await other.query(
    `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${port}, SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA`,
  )
  const at = (server: string) => ({ url: `${server}`, tables: `${db.name}.t` })
  const pipeline = new MemoryPipeline(db, at(primary.url))
  await pipeline.run()
  await db.query(
    "UPDATE t SET v = 'before' WHERE id = 1; FLUSH BINARY LOGS; FLUSH BINARY LOGS; INSERT INTO t VALUES (3, 'z')",
  )
  await pipeline.run()
  const executed = (await db.query('SELECT @@GLOBAL.gtid_executed AS g'))[0]!.g
  await until(
    async () => (await other.query(`SELECT GTID_SUBSET('${executed}', @@GLOBAL.gtid_executed) AS s`))[0]!.s === '1',
    {
      what: 'the replica has everything',
    },
  )
  await primary.kill()
  await other.query('STOP REPLICA; RESET REPLICA ALL')
  await other.query(`UPDATE ${db.name}.t SET v = 'after' WHERE id = 2; DELETE FROM ${db.name}.t WHERE id = 3`)
  const moved = pipeline.with(at(replica.url))
  await moved.run()
  t.match(moved.notes.join(), /the server is another one/)
  t.same(moved.target.complaints, [])
  t.same(moved.rows(), ['["1","before"]', '["2","after"]'])
  await other.query(`INSERT INTO ${db.name}.t VALUES (4, 'again')`)
  await moved.run()
  t.equal(moved.rows().length, 3)
  // A server that lacks what was delivered is none to go on with.
  await other.query('RESET BINARY LOGS AND GTIDS')
  const error = await moved.failure()
  t.equal(error.code, 'mysql.position_lost')
})

t.test('rule c: rows of an XA transaction arrive with its commit, across a restart', async (t) => {
  const db = await createMysqlDatabase(t, 'mysql')
  await db.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1, 'x')")
  const pipeline = new MemoryPipeline(db)
  await pipeline.run()
  const writer = await db.connect()
  const name = `x${process.pid}`
  await writer.query(`XA START '${name}'; INSERT INTO t VALUES (2, 'prepared'); XA END '${name}'; XA PREPARE '${name}'`)
  await writer
    .query(`XA START '${name}r'; INSERT INTO t VALUES (3, 'never'); XA END '${name}r'; XA PREPARE '${name}r'`)
    .catch(async () => {
      // One connection may hold only one; another takes it.
      const other = await db.connect()
      await other.query(
        `XA START '${name}r'; INSERT INTO t VALUES (3, 'never'); XA END '${name}r'; XA PREPARE '${name}r'`,
      )
    })
  await db.query("INSERT INTO t VALUES (4, 'between')")
  await pipeline.run()
  t.same(pipeline.rows(), ['["1","x"]', '["4","between"]'])
  await (await db.connect()).query(`XA COMMIT '${name}'`).catch(() => writer.query(`XA COMMIT '${name}'`))
  await db.query(`XA ROLLBACK '${name}r'`).catch(() => {})
  await pipeline.run()
  t.ok(pipeline.rows().includes('["2","prepared"]'), pipeline.rows().join())
  t.notOk(pipeline.rows().includes('["3","never"]'))
  t.same(pipeline.target.complaints, [])
})

t.test('rule h: images with some columns, and compressed transactions', async (t) => {
  for (const kind of ['mysql', 'mariadb'] as const) {
    const db = await createMysqlDatabase(t, kind)
    await db.query(
      "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), n INT NOT NULL DEFAULT 7, note TEXT); INSERT INTO t VALUES (1, 'x', 1, 'one'), (2, 'y', 2, 'two'), (3, 'z', 3, 'three')",
    )
    const pipeline = new MemoryPipeline(db)
    await pipeline.run()
    for (const image of ['MINIMAL', 'NOBLOB']) {
      const writer = await db.connect()
      await writer.query(`SET SESSION binlog_row_image = ${image}`)
      await writer.query("UPDATE t SET v = 'changed' WHERE id = 1; UPDATE t SET note = 'new note' WHERE id = 2")
      await writer.query(`INSERT INTO t (id, v) VALUES (${image.length}0, 'short'); DELETE FROM t WHERE id = 3`)
      await writer.query('UPDATE t SET id = id + 100 WHERE id = 2')
      await pipeline.run()
      await equal(t, pipeline)
      await db.query("REPLACE INTO t VALUES (2, 'y', 2, 'two'), (3, 'z', 3, 'three'); DELETE FROM t WHERE id = 102")
      await writer.end()
    }
    await pipeline.run()
    await equal(t, pipeline)
  }
  const db = await createMysqlDatabase(t, 'mysql')
  await db.query('CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))')
  const pipeline = new MemoryPipeline(db)
  await pipeline.run()
  const writer = await db.connect()
  await writer.query('SET SESSION binlog_transaction_compression = ON; BEGIN')
  for (let from = 0; from < 20_000; from += 1_000) {
    const rows = Array.from({ length: 1_000 }, (_, i) => `(${from + i}, REPEAT('${i}', 30))`)
    await writer.query(`INSERT INTO t VALUES ${rows.join(', ')}`)
  }
  await writer.query("UPDATE t SET v = 'u' WHERE id % 3 = 0; COMMIT")
  await pipeline.run()
  await equal(t, pipeline)
})

t.test('MariaDB with log_bin_compress', async (t) => {
  const server = await startMysql(t, 'mariadb', { log_bin_compress: 'ON', log_bin_compress_min_len: '10' })
  const db = await createMysqlDatabase(t, 'mariadb', { server })
  await db.query('CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))')
  const pipeline = new MemoryPipeline(db)
  await pipeline.run()
  await db.query(
    `INSERT INTO t VALUES ${Array.from({ length: 2_000 }, (_, i) => `(${i}, REPEAT('${i}', 20))`).join(', ')}`,
  )
  await db.query("UPDATE t SET v = REPEAT('u', 100) WHERE id % 3 = 0; DELETE FROM t WHERE id % 5 = 0")
  await db.query("ALTER TABLE t ADD COLUMN note VARCHAR(10) DEFAULT 'n'")
  await db.query("UPDATE t SET note = 'x' WHERE id % 7 = 0")
  await pipeline.run()
  t.same(pipeline.target.complaints, [])
  t.equal(pipeline.rows().length, (await pipeline.wanted()).length)
})

t.test('statements instead of rows are refused, and statements on other tables are not', async (t) => {
  const db = await createMysqlDatabase(t, 'mysql')
  await db.query(
    'CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(20))',
  )
  const pipeline = new MemoryPipeline(db, { tables: `${db.name}.t` })
  await pipeline.run()
  const writer = await db.connect()
  await writer.query("SET SESSION binlog_format = 'STATEMENT'; INSERT INTO other VALUES (1, 'x')")
  await pipeline.run()
  await writer.query("INSERT INTO t VALUES (1, 'statement')")
  const error = await pipeline.failure()
  t.equal(error.code, 'mysql.binlog_event')
  t.match(error.message, /INSERT on .*\.t as a statement/)
  t.match(error.fix, /binlog_format = ROW/)
})

t.test('T78, T79: DDL under full metadata, also read long after', async (t) => {
  for (const kind of ['mysql', 'mariadb'] as const) {
    const db = await createMysqlDatabase(t, kind)
    await db.query(
      "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT); INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2)",
    )
    const pipeline = new MemoryPipeline(db)
    await pipeline.run()
    await db.query(
      "INSERT INTO t VALUES (3, 'three', 3); ALTER TABLE t ADD COLUMN c INT FIRST; INSERT INTO t VALUES (40, 4, 'four', 4)",
    )
    await db.query(
      "ALTER TABLE t MODIFY COLUMN b INT AFTER c, RENAME COLUMN a TO z; UPDATE t SET z = 'again' WHERE id = 4; TRUNCATE t",
    )
    await db.query(
      "INSERT INTO t (id, z, b, c) VALUES (9, 'last', 9, 90); ALTER TABLE t DROP COLUMN b; INSERT INTO t VALUES (100, 10, 'end')",
    )
    const seen: string[] = []
    const sink = pipeline.target.sink.bind(pipeline.target)
    pipeline.target.sink = () => {
      const inner = sink()
      return {
        ...inner,
        open: async (options) => {
          const session = await inner.open(options)
          return {
            ...session,
            write: (batches, abortable) => {
              for (const batch of batches) {
                if (batch.kind === 'truncate') seen.push('truncate')
                else {
                  for (const { op, after } of batch.changes) {
                    seen.push(
                      `${op} ${batch.schema.columns.map(({ name }, i) => `${name}=${String(after?.[i])}`).join(' ')}`,
                    )
                  }
                }
              }
              return session.write(batches, abortable)
            },
          }
        },
      }
    }
    await pipeline.run()
    t.same(
      seen,
      [
        'c id=3 a=three b=3',
        'c c=40 id=4 a=four b=4',
        'u c=40 b=4 id=4 z=again',
        'truncate',
        'c c=90 b=9 id=9 z=last',
        'c c=100 id=10 z=end',
      ],
      kind,
    )
  }
})

t.test('DDL without row metadata stops; without DDL it does not', async (t) => {
  const db = await createMysqlDatabase(t, 'mysql56')
  await db.query("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20)) ENGINE = InnoDB; INSERT INTO t VALUES (1, 'one')")
  const pipeline = new MemoryPipeline(db)
  await pipeline.run()
  await db.query("INSERT INTO t VALUES (2, 'two')")
  await pipeline.run()
  await equal(t, pipeline)
  await db.query("ALTER TABLE t ADD COLUMN b INT; INSERT INTO t VALUES (3, 'three', 3)")
  const error = await pipeline.failure()
  t.equal(error.code, 'mysql.table_changed')
})

t.test('rule l: rows that change without row events stop the pipeline', async (t) => {
  const cases: readonly (readonly [sql: string, code: string])[] = [
    ['ALTER TABLE t TRUNCATE PARTITION p0', 'mysql.table_changed'],
    ['ALTER TABLE t DROP PARTITION p0', 'mysql.table_changed'],
    ['ALTER TABLE t MODIFY v TINYINT; INSERT INTO t VALUES (2, 2)', 'mysql.table_changed'],
    ['ALTER TABLE t CHANGE v w VARCHAR(20)', 'mysql.table_changed'],
    ['ALTER TABLE t CONVERT TO CHARACTER SET latin1', 'mysql.table_changed'],
    ['RENAME TABLE t TO u, other TO t', 'mysql.table_gone'],
    ['DROP TABLE t', 'mysql.no_tables'],
    ['DROP TABLE t; CREATE TABLE t (id INT PRIMARY KEY, v INT)', 'mysql.table_gone'],
  ]
  for (const [sql, code] of cases) {
    const db = await createMysqlDatabase(t, 'mysql')
    await db.query(
      'CREATE TABLE t (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE); INSERT INTO t VALUES (1, 1), (20, 20); CREATE TABLE other (id INT PRIMARY KEY, v INT)',
    )
    const pipeline = new MemoryPipeline(db, { tables: `${db.name}.t` })
    await pipeline.run()
    await db.query(sql)
    const error = await pipeline.failure().catch((thrown: Error) => thrown)
    t.equal((error as { code?: string }).code, code, `${sql}: ${error.message}`)
  }
})

t.test('rule f: system-versioned tables of MariaDB', async (t) => {
  const db = await createMysqlDatabase(t, 'mariadb')
  await db.query(
    'CREATE TABLE t (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING; INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)',
  )
  const pipeline = new MemoryPipeline(db)
  await pipeline.run()
  await db.query(
    'UPDATE t SET v = 10 WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (4, 4); UPDATE t SET v = 11 WHERE id = 1',
  )
  await pipeline.run()
  await equal(t, pipeline)
})

t.test('rule e: a foreign key that changes captured rows past the log is refused', async (t) => {
  for (const kind of ['mysql', 'mariadb', 'mysql56'] as const) {
    const db = await createMysqlDatabase(t, kind)
    await db.query(
      'CREATE TABLE p (id INT PRIMARY KEY) ENGINE = InnoDB; CREATE TABLE t (id INT PRIMARY KEY, p INT, CONSTRAINT fk FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE) ENGINE = InnoDB; INSERT INTO p VALUES (1), (2); INSERT INTO t VALUES (10, 1), (20, 2)',
    )
    if (kind === 'mysql') {
      const pipeline = new MemoryPipeline(db)
      await pipeline.run()
      await db.query('DELETE FROM p WHERE id = 1')
      await pipeline.run()
      await equal(t, pipeline)
      continue
    }
    const error = await new MemoryPipeline(db).failure()
    t.equal(error.code, 'mysql.not_ready', kind)
    t.match(error.message, /fk to `p` is ON DELETE CASCADE/)
    await new MemoryPipeline(db, { 'foreign-key.cascade': 'ignore' }).run()
  }
})

t.test('rule c: a first start is refused while XA transactions are prepared', async (t) => {
  const db = await createMysqlDatabase(t, 'mariadb')
  await db.query('CREATE TABLE t (id INT PRIMARY KEY)')
  const writer = await db.connect()
  await writer.query(
    `XA START 'early${process.pid}'; INSERT INTO t VALUES (1); XA END 'early${process.pid}'; XA PREPARE 'early${process.pid}'`,
  )
  const pipeline = new MemoryPipeline(db)
  await t.rejects(pipeline.run('once', AbortSignal.timeout(2_000)), { message: /XA transactions are prepared/ })
  await writer.query(`XA COMMIT 'early${process.pid}'`)
  await pipeline.run()
  await equal(t, pipeline)
})

t.test('rule i: with a sink that takes nothing, DDL and others who read the table do not wait for long', async (t) => {
  for (const kind of ['mysql', 'mariadb'] as const) {
    const db = await createMysqlDatabase(t, kind)
    await db.query('CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000))')
    for (let from = 0; from < 20_000; from += 1_000) {
      await db.query(
        `INSERT INTO t VALUES ${Array.from({ length: 1_000 }, (_, i) => `(${from + i}, REPEAT('x', 1500))`).join(', ')}`,
      )
    }
    const pipeline = new MemoryPipeline(db)
    let blocked = () => {}
    const reached = new Promise<void>((resolve) => {
      blocked = resolve
    })
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const sink = pipeline.target.sink.bind(pipeline.target)
    pipeline.target.sink = () => {
      const inner = sink()
      return {
        ...inner,
        open: async (options) => {
          const session = await inner.open(options)
          return {
            ...session,
            write: async (batches, abortable) => {
              blocked()
              await released
              return session.write(batches, abortable)
            },
          }
        },
      }
    }
    const running = pipeline.run()
    await reached
    const begun = performance.now()
    await db.query('ALTER TABLE t ADD COLUMN n INT')
    await db.query('SELECT COUNT(*) FROM t')
    const took = performance.now() - begun
    t.ok(took < 10_000, `${kind}: ${Math.round(took)} ms`)
    t.comment(`${kind}: ALTER and SELECT took ${Math.round(took)} ms`)
    release()
    await running
    t.same(pipeline.target.complaints, [])
    t.equal(pipeline.rows().length, 20_000)
  }
})
