// Exactly once into a store of your own: the checkpoint is saved in the same transaction as the work. Kill this program
// at any instant and start it again: no change is lost and none is applied twice.
//
//   node examples/own-transaction.mjs SOURCE_URL TARGET_URL 'public.*' [--until-caught-up]
import pg from 'pg'
import { changes } from 'tidemark'

const [sourceUrl, targetUrl, tables, until] = process.argv.slice(2)
const target = new pg.Client({ connectionString: targetUrl })
await target.connect()
await target.query('create table if not exists progress (name text primary key, checkpoint text not null)')
await target.query(
  'create table if not exists audit (id bigserial primary key, tbl text, op text, key jsonb, at timestamptz)',
)

const saved = await target.query(`select checkpoint from progress where name = 'audit'`)
const stream = changes({
  name: 'audit_example',
  source: { type: 'postgres', url: sourceUrl },
  tables,
  from: saved.rows[0]?.checkpoint ?? null,
  until: until === '--until-caught-up' ? 'caught-up' : 'forever',
})

const text = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v))

for await (const batch of stream) {
  await target.query('begin')
  for (const { table, op, key, committedAt } of batch.events) {
    await target.query('insert into audit (tbl, op, key, at) values ($1, $2, $3, $4)', [
      table,
      op,
      text(key),
      committedAt,
    ])
  }
  await target.query(
    `insert into progress values ('audit', $1) on conflict (name) do update set checkpoint = excluded.checkpoint`,
    [batch.checkpoint],
  )
  if (process.env.DIE_INSIDE && Math.random() < Number(process.env.DIE_INSIDE)) process.kill(process.pid, 'SIGKILL')
  await target.query('commit')
  // The work is durable, so the source may forget.
  await batch.commit()
}
await target.end()
