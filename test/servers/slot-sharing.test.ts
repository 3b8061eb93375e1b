/** Slots that are waited for: by whoever makes a temporary one, and by a process that may not take it from another. */
import { existsSync } from 'node:fs'
import t from 'tap'
import { changes } from '../../index.js'
import { createDatabase, type TestDatabase } from '../support/postgres.js'
import { startTidemark, writePipeline } from '../support/process.js'
import { until } from '../support/until.js'

async function filled(t: Parameters<typeof createDatabase>[0]): Promise<TestDatabase> {
  const source = await createDatabase(t)
  await source.query('create table a (id int primary key); insert into a select generate_series(1, 10)')
  await source.query('create table b (id int primary key)')
  return source
}

const sourceOf = ({ url }: TestDatabase, more = {}) => ({ type: 'postgres', url, tables: 'public.*', ...more })

t.test('a temporary slot that older transactions hold up names them, and gives up in time', async (t) => {
  const source = await filled(t)
  const blocker = await source.connect()
  await blocker.query('begin; select txid_current()')
  const limited = writePipeline(t, {
    source: sourceOf(source, { 'slot.create.timeout': '1s' }),
    sink: { type: 'blackhole' },
    pipeline: { name: source.name },
  })
  const late = await startTidemark(t, ['sync', limited.file, '--once']).exit()
  t.equal(late.code, 3, late.stderr)
  t.match(late.stderr, /error postgres\.slot_blocked: .*transactions that began before it are still open: pid \d+/)

  const patient = writePipeline(t, {
    source: sourceOf(source),
    sink: { type: 'blackhole' },
    pipeline: { name: source.name },
  })
  const waiting = startTidemark(t, ['sync', patient.file])
  await waiting.line(new RegExp(`creating slot \\S+ waits for pid ${blocker.pid}`))
  waiting.signal('SIGTERM')
  const stopped = await waiting.exit({ timeoutMs: 20_000 })
  t.equal(stopped.code, 143, stopped.stderr)
  await until(
    async () =>
      (await source.query(`select from pg_stat_activity where query like 'CREATE_REPLICATION_SLOT%'`)).length === 0,
    { what: 'no backend makes the slot any more' },
  )
  await blocker.query('rollback')
})

t.test('a slot that another process of the pipeline uses is left to it where nothing fences', async (t) => {
  const source = await filled(t)
  const pipeline = writePipeline(t, {
    source: sourceOf(source),
    sink: { type: 'stdout' },
    pipeline: { name: source.name, state: '{{DIR}}/state.json' },
  })
  const first = startTidemark(t, ['sync', pipeline.file])
  await until(() => existsSync(pipeline.path('state.json')) && first.stdout().split('\n').length > 10)
  const second = startTidemark(t, ['sync', pipeline.file])
  await second.line(/slot \S+ is in use; waiting for its holder to let go/)
  await source.query('insert into a values (11)')
  await until(() => first.stdout().includes('"id":11'), { what: 'the first process goes on' })
  second.signal('SIGTERM')
  const given = await second.exit()
  t.equal(given.code, 143, given.stderr)
  t.notMatch(first.stderr(), /trying again|ending it/)
  first.signal('SIGTERM')
  const { code, stderr } = await first.exit()
  t.equal(code, 143, stderr)
})

t.test('a resume that is refused changes nothing in the source', async (t) => {
  const source = await filled(t)
  const name = source.name
  const batches = []
  for await (const batch of changes({ source: sourceOf(source), name, from: null, until: 'caught-up' })) {
    batches.push(batch)
    await batch.commit()
  }
  t.ok(batches.length > 0)
  await until(
    async () =>
      (await source.query('select from pg_replication_slots where active and slot_name = $1', [`tidemark_${name}`]))
        .length === 0,
    { what: 'the slot is let go' },
  )
  await source.query('select pg_replication_slot_advance($1, pg_current_wal_insert_lsn())', [`tidemark_${name}`])
  await source.query('insert into a values (12)')
  await source.query('select pg_replication_slot_advance($1, pg_current_wal_insert_lsn())', [`tidemark_${name}`])
  const published = () => source.query('select tablename from pg_publication_tables order by 1')
  const before = await published()
  const from = batches.at(-1)!.checkpoint
  await t.rejects(
    async () => {
      for await (const _ of changes({ source: sourceOf(source, { tables: 'public.a' }), name, from })) break
    },
    { code: 'postgres.position_lost', fix: /another process of this pipeline/ },
  )
  t.same(await published(), before)
  await source.query('select pg_drop_replication_slot($1)', [`tidemark_${name}`])
})
