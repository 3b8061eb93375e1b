/** The example of the README: a program that dies inside its own transactions and still does every piece of work once. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { createDatabase } from '../support/postgres.js'

const EXAMPLE = fileURLToPath(new URL('../../examples/own-transaction.mjs', import.meta.url))
const ROWS = 40_000
const RUNS_MAX = 60

t.test('a program that is killed in the middle of its own transaction resumes exactly once', async (t) => {
  const source = await createDatabase(t, { version: '15' })
  const target = await createDatabase(t, { version: '15' })
  await source.query(`create table orders (id int primary key, v text);
    insert into orders select i, repeat('x', 100) from generate_series(1, ${ROWS}) i`)
  const run = async (dieInside: number) => {
    const child = spawn(process.execPath, [EXAMPLE, source.url, target.url, 'public.orders', '--until-caught-up'], {
      env: { ...process.env, NODE_OPTIONS: '', DIE_INSIDE: String(dieInside) },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const [code, signal] = await once(child, 'exit')
    return signal ?? code
  }
  let kills = 0
  for (let i = 0; i < RUNS_MAX && kills < 3; i++) {
    if ((await run(0.5)) === 'SIGKILL') kills++
    await source.query(`update orders set v = 'run ${i}' where id <= 50`)
  }
  t.ok(kills > 0, `killed ${kills} times`)
  t.equal(await run(0), 0)
  const [reads] = await target.query(
    `select count(*)::text as n, count(distinct key)::text as k from audit where op = 'read'`,
  )
  t.same(reads, { n: String(ROWS), k: String(ROWS) }, 'every row was read once')
  const updates = await target.query(`select count(*)::text as n from audit where op = 'update' group by key`)
  t.ok(
    updates.every(({ n }) => n === updates[0]!.n),
    'every update came as often for each row',
  )
})
