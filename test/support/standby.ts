/**
 * A primary and its standby on loopback, and one address for both: what a user has behind a proxy or a floating address.
 * The standby is a cold copy that streams through a physical slot; `sync`: it also keeps failover slots in step (PostgreSQL 17).
 */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import { type PostgresVersion, startPostgres, type TestServer } from './postgres.js'
import { until } from './until.js'

interface Teardown {
  teardown(handler: () => Promise<void> | void): unknown
}

const STANDBY_SLOT = 'standby'

export interface ServerPair {
  readonly primary: TestServer
  readonly standby: TestServer
  /** Leads to the primary first. */
  url(database: string): string
  /** Makes the standby a primary; the address leads to it afterwards. */
  failOver(): Promise<void>
}

export async function startPair(
  t: Teardown,
  { version, sync }: { readonly version: PostgresVersion; readonly sync: boolean },
): Promise<ServerPair> {
  const primary = await startPostgres(t, { version })
  const standby = await startPostgres(t, { version })
  await query(primary.url, `select pg_create_physical_replication_slot('${STANDBY_SLOT}', true)`)
  await Promise.all([primary.stop(), standby.stop()])
  copyCluster(primary, standby, sync)
  await primary.start()
  await standby.start()
  const address = await startAddress(t, portOf(primary))
  return {
    primary,
    standby,
    url: (database) => `postgres://postgres@127.0.0.1:${address.port}/${database}`,
    failOver: async () => {
      await query(standby.url, 'select pg_promote()')
      address.leadTo(portOf(standby))
    },
  }
}

/** Resolves when the standby has a usable copy of the slot. */
export async function slotSynced({ standby }: ServerPair, slot: string): Promise<void> {
  const sql = `select 1 from pg_replication_slots where slot_name = '${slot}' and synced and not temporary`
  await until(async () => (await query(standby.url, sql)).length > 0, { timeoutMs: 60_000, what: `${slot} is synced` })
}

export async function query(url: string, sql: string): Promise<pg.QueryResultRow[]> {
  const client = new pg.Client({ connectionString: url })
  // A server that ends under the query fails the query; that is enough.
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

function copyCluster(from: TestServer, to: TestServer, sync: boolean): void {
  rmSync(to.dataDir, { recursive: true })
  const copied = spawnSync('cp', ['-a', from.dataDir, to.dataDir], { encoding: 'utf8' })
  if (copied.status !== 0) throw new Error(copied.stderr)
  // As pg_basebackup does: slots are of one server.
  const slots = join(to.dataDir, 'pg_replslot')
  for (const name of readdirSync(slots)) rmSync(join(slots, name), { recursive: true })
  writeFileSync(join(to.dataDir, 'standby.signal'), '')
  const settings = [
    `port = ${portOf(to)}`,
    `primary_conninfo = 'host=127.0.0.1 port=${portOf(from)} user=postgres dbname=postgres'`,
    `primary_slot_name = '${STANDBY_SLOT}'`,
    'hot_standby_feedback = on',
    `unix_socket_directories = ''`,
    ...(sync ? ['sync_replication_slots = on'] : []),
  ]
  appendFileSync(join(to.dataDir, 'postgresql.conf'), `${settings.join('\n')}\n`)
}

function portOf(server: TestServer): number {
  return Number(new URL(server.url).port)
}

/** A port that passes connections on. Those that are open when it is led elsewhere stay where they are. */
async function startAddress(t: Teardown, first: number): Promise<{ port: number; leadTo(port: number): void }> {
  let target = first
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    const onward = connect(target, '127.0.0.1')
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      open.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        open.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of open) socket.destroy()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    leadTo: (port) => {
      target = port
    },
  }
}
