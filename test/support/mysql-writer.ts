/** Random transactions on two tables: numbers as keys, and text under a collation in which letters' case says nothing. */
import type { MysqlTestDatabase } from './mysql.js'
import { random } from './seed.js'

export interface MysqlWriter {
  commits(): number
  stop(): Promise<void>
}

const KEYS = 20_000
const WORDS = ['a', 'B', 'c', 'D', '_', 'é', 'E', 'z', 'Z ', 'ß', 'ss', '漢', '😀', '0', '-', '\t']

export async function createWriterTables(db: MysqlTestDatabase): Promise<void> {
  await db.query('CREATE TABLE w (id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(60), note TEXT) ENGINE = InnoDB')
  await db.query(
    'CREATE TABLE c (k VARCHAR(24) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, s SMALLINT UNSIGNED, n INT NOT NULL, PRIMARY KEY (k, s)) ENGINE = InnoDB',
  )
  const r = random(7)
  for (let from = 0; from < KEYS; from += 1_000) {
    const rows = Array.from(
      { length: 1_000 },
      (_, i) => `(${(from + i) * 2}, ${i}, 'name ${i}', REPEAT('x', ${i % 200}))`,
    )
    await db.query(`INSERT INTO w VALUES ${rows.join(', ')}`)
  }
  for (let n = 0; n < 10; n++) {
    const rows = Array.from({ length: 400 }, () => `('${word(r)}', ${r.below(50)}, 0)`)
    await db.query(`INSERT IGNORE INTO c VALUES ${rows.join(', ')}`)
  }
}

function word(r: ReturnType<typeof random>): string {
  return Array.from({ length: 1 + r.below(4) }, () => r.pick(WORDS)).join('')
}

export async function startMysqlWriter(db: MysqlTestDatabase, seed: number): Promise<MysqlWriter> {
  const connection = await db.connect()
  const r = random(seed)
  let commits = 0
  let stopped = false
  const one = () => {
    const id = r.below(2 * KEYS)
    const key = `'${word(r)}', ${r.below(50)}`
    switch (r.below(9)) {
      case 0:
        return `INSERT IGNORE INTO w VALUES (${id}, ${commits}, 'new', NULL)`
      case 1:
        return `DELETE FROM w WHERE id = ${id}`
      case 2:
        return `UPDATE IGNORE w SET id = ${r.below(2 * KEYS)} WHERE id = ${id}`
      case 3:
        return `UPDATE w SET n = n + 1 WHERE id BETWEEN ${id} AND ${id + 20}`
      case 4:
        return `INSERT INTO c VALUES (${key}, ${commits}) ON DUPLICATE KEY UPDATE n = n + 1`
      case 5:
        return `UPDATE c SET n = n + 1 WHERE (k, s) = (${key})`
      case 6:
        return `DELETE FROM c WHERE k = '${word(r)}'`
      case 7:
        return `UPDATE IGNORE c SET k = UPPER(k), n = n + 1 WHERE k = '${word(r)}'`
      default:
        return `UPDATE w SET note = REPEAT('ü', ${r.below(300)}) WHERE id = ${id}`
    }
  }
  const work = (async () => {
    while (!stopped) {
      const statements = Array.from({ length: 1 + r.below(3) }, one)
      await connection.query(`BEGIN; ${statements.join('; ')}; ${r.chance(0.05) ? 'ROLLBACK' : 'COMMIT'}`)
      commits++
    }
  })()
  work.catch(() => {})
  return {
    commits: () => commits,
    async stop() {
      stopped = true
      await work
      await connection.end()
    },
  }
}
