/** Connections, what `check` says, and where the server places keys. */
import { join } from 'node:path'
import t from 'tap'
import type { MysqlColumnType } from '../../connectors/mysql/column-types.js'
import { mysqlSource } from '../../connectors/mysql/index.js'
import { locateKeys, mysqlKeyOrder } from '../../connectors/mysql/keys.js'
import { SESSION_SQL } from '../../connectors/mysql/server.js'
import { TidemarkError } from '../../core/errors.js'
import type { Key } from '../../core/model.js'
import { connectMysql, mysqlOptionsFromUrl, quoteMysqlText } from '../../drivers/mysql.js'
import { createMysqlDatabase, startMysql } from '../support/mysql.js'
import { MemoryPipeline } from '../support/mysql-pipeline.js'
import { random, testSeed } from '../support/seed.js'

const { signal } = new AbortController()
const LETTERS = [
  'a',
  'A',
  'b',
  'B',
  'z',
  'Z',
  '_',
  ' ',
  '  ',
  '\t',
  '\u0001',
  'é',
  'e',
  'ß',
  'ss',
  'ø',
  '漢',
  '😀',
  '\uff21',
  "'",
  '\\',
  '0',
]

t.test('rule b: located keys lie where the server itself finds them', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const r = random(seed)
  const collations = {
    mysql: [
      'utf8mb4_general_ci',
      'utf8mb4_unicode_ci',
      'utf8mb4_0900_ai_ci',
      'utf8mb4_bin',
      'latin1_swedish_ci',
      'utf8mb3_general_ci',
    ],
    mariadb: [
      'utf8mb4_general_ci',
      'utf8mb4_unicode_520_ci',
      'utf8mb4_uca1400_ai_ci',
      'utf8mb4_nopad_bin',
      'latin1_german2_ci',
    ],
    mysql56: ['utf8mb4_general_ci', 'latin1_swedish_ci'],
  }
  for (const kind of ['mysql', 'mariadb', 'mysql56'] as const) {
    const db = await createMysqlDatabase(t, kind)
    const connection = await connectMysql(mysqlOptionsFromUrl(db.captureUrl), { signal })
    await connection.query(SESSION_SQL)
    t.teardown(() => connection.close())
    for (const collation of collations[kind]) {
      const charset = collation.slice(0, collation.indexOf('_'))
      const letters = LETTERS.filter((c) => charset === 'utf8mb4' || (charset === 'latin1' ? c <= 'ÿ' : c.length === 1))
      const word = () => Array.from({ length: r.below(5) }, () => r.pick(letters)).join('')
      const type = {
        type: {
          kind: 'string',
          native: '',
          base: 'varchar',
          precision: null,
          scale: null,
          length: 20,
          element: null,
          labels: null,
          domain: null,
        },
        unsigned: false,
        charset,
        collation,
        compressed: false,
      } as MysqlColumnType
      const number = {
        ...type,
        type: { ...type.type, kind: 'int32', base: 'int' },
        charset: null,
        collation: null,
      } as MysqlColumnType
      const columns = [
        { name: 'k', column: type },
        { name: 'n', column: number },
      ]
      t.ok(mysqlKeyOrder(columns).located)
      const some = (count: number): Key[] => Array.from({ length: count }, () => [word(), String(r.below(3))])
      const [keys, bounds] = [some(60), some(20)]
      const { below, notAbove } = await locateKeys(connection, columns, keys, bounds)
      const table = `k_${collation}`
      await db.query(
        `CREATE TABLE ${table} (i INT PRIMARY KEY, k VARCHAR(20) CHARACTER SET ${charset} COLLATE ${collation}, n INT)`,
      )
      await db.query(
        `INSERT INTO ${table} VALUES ${[...keys, ...bounds].map(([k, n], i) => `(${i}, ${quoteMysqlText(String(k))}, ${n})`).join(', ')}`,
      )
      const judged = await db.query(
        `SELECT a.i, SUM(b.k < a.k OR b.k = a.k AND b.n < a.n) AS below, SUM(b.k < a.k OR b.k = a.k AND b.n <= a.n) AS not_above
         FROM ${table} a JOIN ${table} b ON b.i >= ${keys.length} GROUP BY a.i ORDER BY a.i`,
      )
      const wrong = judged.filter(
        ({ below: b, not_above: n }, i) => Number(b) !== below[i] || Number(n) !== notAbove[i],
      )
      t.equal(judged.length, keys.length + bounds.length)
      t.same(wrong.slice(0, 3), [], `${kind} ${collation}`)
    }
  }
})

t.test('TLS is verified, on both of the connections', async (t) => {
  const server = await startMysql(t, 'mysql')
  const db = await createMysqlDatabase(t, 'mysql', { server })
  await db.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9)); INSERT INTO t VALUES (1, 'x')")
  const ca = join(server.dataDir, 'ca.pem')
  const with_ = (parameters: string) => `${db.captureUrl}?${parameters}`
  for (const parameters of [
    'ssl-mode=disabled',
    'ssl-mode=preferred',
    'ssl-mode=required',
    `ssl-mode=verify-ca&ssl-ca=${ca}`,
  ]) {
    const connection = await connectMysql(mysqlOptionsFromUrl(with_(parameters)), { signal })
    const [row] = await connection.query("SHOW STATUS LIKE 'Ssl_cipher'")
    t.equal(row![1] !== '', parameters !== 'ssl-mode=disabled', parameters)
    await connection.close()
  }
  for (const parameters of ['ssl-mode=verify-ca', `ssl-mode=verify-identity&ssl-ca=${ca}`]) {
    await t.rejects(
      connectMysql(mysqlOptionsFromUrl(with_(parameters)), { signal }),
      { code: 'mysql.connection' },
      parameters,
    )
  }
  await db.query(`ALTER USER '${new URL(db.captureUrl).username}'@'%' REQUIRE SSL`)
  const pipeline = new MemoryPipeline(db, { url: with_(`ssl-mode=verify-ca&ssl-ca=${ca}`) })
  await pipeline.run()
  await db.query("INSERT INTO t VALUES (2, 'y')")
  await pipeline.run()
  t.same(pipeline.rows(), await pipeline.wanted())
  await t.rejects(new MemoryPipeline(db, { url: with_('ssl-mode=disabled') }).run(), { code: 'mysql.auth' })
})

t.test('check names what is missing and the statement for it', async (t) => {
  const server = await startMysql(t, 'mysql', {
    binlog_row_metadata: 'MINIMAL',
    binlog_row_image: 'MINIMAL',
    sync_binlog: '0',
    gtid_mode: 'OFF',
    enforce_gtid_consistency: 'OFF',
    binlog_expire_logs_seconds: '3600',
  })
  const db = await createMysqlDatabase(t, 'mysql', { server })
  await db.query(
    'CREATE TABLE t (id INT PRIMARY KEY, v INT); CREATE TABLE keyless (v INT); CREATE TABLE f (k DOUBLE PRIMARY KEY)',
  )
  const user = new URL(db.captureUrl).username
  const check = async (tables: string) => {
    const options = mysqlSource.options.parse({ url: db.captureUrl, tables }) as never
    return mysqlSource.check(options, { pipeline: 'check', signal })
  }
  const findings = await check(`${db.name}.*`)
  const of = (subject: string) => findings.find((f) => f.subject === subject)
  t.match(of('binlog_row_metadata'), { level: 'warning', fix: 'SET GLOBAL binlog_row_metadata = FULL;' })
  t.match(of('binlog_row_image'), { level: 'warning', fix: /binlog_row_image = FULL/ })
  t.match(of('sync_binlog'), { level: 'warning', fix: 'SET GLOBAL sync_binlog = 1;' })
  t.match(of('gtid_mode'), { level: 'warning', fix: /gtid_mode = OFF_PERMISSIVE/ })
  t.match(of('log retention'), { level: 'warning', fix: /binlog_expire_logs_seconds/ })
  t.match(of(`${db.name}.keyless`), { level: 'problem', fix: /PRIMARY KEY/ })
  t.match(of(`${db.name}.f`), { level: 'problem' })
  t.match(of('grants'), { level: 'ok' })
  await db.query(`REVOKE REPLICATION SLAVE, REPLICATION CLIENT ON *.* FROM '${user}'@'%'`)
  const [grants] = (await check(`${db.name}.t`)).filter((f) => f.subject === 'grants')
  t.match(grants, { level: 'problem', fix: `GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${user}'@'%';` })
})

t.test('mistakes are told with a way out', async (t) => {
  const db = await createMysqlDatabase(t, 'mysql')
  await db.query('CREATE TABLE orders (id INT PRIMARY KEY)')
  const failing = async (options: Record<string, unknown>) => {
    const error = await new MemoryPipeline(db, options).failure()
    t.ok(error instanceof TidemarkError && error.fix !== null, error.message)
    return error.code
  }
  t.equal(await failing({ tables: `${db.name}.order` }), 'mysql.no_tables')
  t.equal(await failing({ tables: `${db.name}.*`, 'tables.exclude': `${db.name}.*` }), 'mysql.no_tables')
  const wrong = new URL(db.captureUrl)
  wrong.password = 'not this'
  t.equal(await failing({ url: wrong.href }), 'mysql.auth')
})
