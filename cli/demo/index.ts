/**
 * `tidemark demo`: a shop in a PostgreSQL of its own, copied by the real program into a second database while the shop
 * stays open; the program is killed once, resumes, and in the end both sides are compared. Needs no database and leaves
 * nothing behind: everything lives in one temporary folder, and the next demo removes what a killed one left.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { isAbort, TidemarkError, toError } from '../../core/errors.js'
import { connectPg, type PgConnection, pgOptionsFromUrl } from '../../drivers/postgres.js'
import { count, seconds } from '../format.js'
import { EXIT, type StopSignal } from '../io.js'
import { findOrDownload } from './download.js'
import { usableBinDir } from './embedded-postgres.js'
import { PostgresServer } from './postgres-server.js'
import { serverUser } from './run-as.js'
import { Screen } from './screen.js'
import { createShop, FIRST_ROWS, type ShopTraffic, sighting, startTraffic, TABLES } from './shop.js'
import { SyncProcess } from './sync-process.js'
import { makeWorkFolder, removeLeftovers } from './work-folder.js'

const FOLDER_PREFIX = 'tidemark-demo'
const POLL_MS = 2
const SNAPSHOT_POLL_MS = 50
/** Far above what any step takes, so that a broken sync ends in a message and not in silence. */
const STEP_TIMEOUT_MS = 60_000
const SIGHTINGS_SHOWN = 8
const SIGHTINGS_MEASURED = 40
const CLOSED_MS = 3_000

export interface DemoOptions {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable & { readonly isTTY?: boolean }
  readonly stderr: Writable
  readonly env: Readonly<Record<string, string | undefined>>
  /** Calls the handler for each signal until the returned function is called. */
  onSignal(handler: (signal: StopSignal) => void): () => void
  /** Download the server binaries without asking. */
  readonly yes?: boolean
}

/** What the steps share. */
interface Stage {
  readonly screen: Screen
  readonly signal: AbortSignal
  readonly shop: PgConnection
  readonly copy: PgConnection
  readonly traffic: ShopTraffic
  /** Starts the sync, or starts it again. */
  launch(): SyncProcess
}

/** Resolves with the exit code. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const controller = new AbortController()
  let stoppedBy: StopSignal | null = null
  const off = options.onSignal((name) => {
    stoppedBy ??= name
    controller.abort(new DOMException('stopped', 'AbortError'))
  })
  try {
    return await demo(options, controller.signal)
  } catch (error) {
    if (stoppedBy !== null || isAbort(error, controller.signal)) {
      options.stderr.write('stopped; everything the demo made is gone\n')
      return EXIT[stoppedBy ?? 'SIGINT']
    }
    const { message } = toError(error)
    const fix = error instanceof TidemarkError && error.fix ? `\n${error.fix}` : ''
    options.stderr.write(`tidemark demo: ${message}${fix}\n`)
    return error instanceof TidemarkError ? error.exitCode : EXIT.failed
  } finally {
    off()
  }
}

async function demo(options: DemoOptions, signal: AbortSignal): Promise<number> {
  const startedMs = performance.now()
  const screen = new Screen(options.stdout, options.env)
  const binaries = await findOrDownload({ ...options, yes: options.yes ?? false, signal })
  await removeLeftovers(FOLDER_PREFIX)
  const folder = makeWorkFolder(FOLDER_PREFIX)
  // Run in reverse order, whatever happens.
  const cleanups: (() => unknown)[] = [() => folder.remove()]
  try {
    screen.title('Tidemark demo: copy a shop into a second database while customers keep ordering')
    const user = serverUser('nobody')
    const binDir = usableBinDir(binaries, user, () => join(folder.path, 'binaries'))
    screen.step('Start PostgreSQL and fill a shop')
    const server = await PostgresServer.create(
      { binDir, folder: join(folder.path, 'postgres'), user, locale: 'C', settings: { wal_level: 'logical' } },
      signal,
    )
    cleanups.push(() => server.stop('immediate'))
    await server.start(signal)
    const stage = await openShop({ server, folder: folder.path, screen, signal, options, binaries, cleanups })
    const equal = await play(stage)
    screen.title(
      `\nDone in ${seconds((performance.now() - startedMs) / 1000)}. Your own database next: npx tidemark init`,
    )
    return equal ? EXIT.done : EXIT.failed
  } finally {
    for (const cleanup of cleanups.reverse()) await attempt(cleanup)
  }
}

/** One thing that cannot be cleaned up must not keep the others from it. */
async function attempt(cleanup: () => unknown): Promise<void> {
  try {
    await cleanup()
  } catch {
    // The next demo removes what is left.
  }
}

async function openShop(from: {
  readonly server: PostgresServer
  readonly folder: string
  readonly screen: Screen
  readonly signal: AbortSignal
  readonly options: DemoOptions
  readonly binaries: { readonly version: string }
  readonly cleanups: (() => unknown)[]
}): Promise<Stage> {
  const { server, screen, signal, cleanups } = from
  const connect = async (database: string) => {
    const connection = await connectPg(pgOptionsFromUrl(server.urlOf(database)), { signal })
    cleanups.push(() => connection.close())
    return connection
  }
  const admin = await connect('postgres')
  await admin.query('CREATE DATABASE shop')
  await admin.query('CREATE DATABASE copy')
  const shop = await connect('shop')
  await createShop(shop)
  const rows = TABLES.map((table) => `${count(FIRST_ROWS[table])} ${table}`).join(', ')
  screen.line(`PostgreSQL ${from.binaries.version.replace(/(\.0)?-.*/, '')} on port ${server.port}, in ${from.folder}`)
  screen.line(`database shop: ${rows}; database copy: empty`)
  const traffic = startTraffic(await connect('shop'))
  cleanups.push(() => traffic.stop())
  const file = writePipelineFile(from.folder, server)
  return {
    screen,
    signal,
    shop,
    copy: await connect('copy'),
    traffic,
    launch: () => {
      const sync = new SyncProcess(file, from.options.env)
      cleanups.push(() => sync.stop())
      return sync
    },
  }
}

function writePipelineFile(folder: string, server: PostgresServer): string {
  const file = join(folder, 'demo.yaml')
  writeFileSync(
    file,
    `source:
  type: postgres
  url: ${server.urlOf('shop')}
  tables: shop.*
sink:
  type: postgres
  url: ${server.urlOf('copy')}
`,
  )
  return file
}

async function play(stage: Stage): Promise<boolean> {
  const { screen, traffic } = stage
  const first = await snapshot(stage)
  await watchChanges(stage, first)
  const second = await killAndResume(stage, first)
  screen.step('Close the shop and compare both sides')
  await traffic.stop()
  await seen(stage, second, 1_000_000)
  const equal = await compare(stage)
  await second.stop()
  return equal
}

async function snapshot(stage: Stage): Promise<SyncProcess> {
  const { screen, copy, traffic } = stage
  screen.step('Copy what is there while the shop stays open')
  screen.dim('tidemark sync demo.yaml   (source: postgres, tables: shop.*   sink: postgres)')
  const startedMs = performance.now()
  const before = traffic.changes()
  traffic.slowestMs()
  const sync = stage.launch()
  for (const table of TABLES) {
    const rows = `SELECT count(*) FROM shop.${table} WHERE id <= ${FIRST_ROWS[table]}`
    await wait(stage, sync, SNAPSHOT_POLL_MS, async () => {
      const [exists] = await copy.query(`SELECT to_regclass('shop.${table}')`)
      return exists?.[0] != null && Number((await copy.query(rows))[0]?.[0]) === FIRST_ROWS[table]
    })
  }
  const total = TABLES.reduce((sum, table) => sum + FIRST_ROWS[table], 0)
  const took = (performance.now() - startedMs) / 1000
  screen.good(`${count(total)} rows in ${seconds(took)}, process start included`)
  const changes = count(traffic.changes() - before)
  screen.line(
    `${changes} changes committed meanwhile; the shop's slowest transaction took ${traffic.slowestMs().toFixed(1)} ms`,
  )
  return sync
}

async function watchChanges(stage: Stage, sync: SyncProcess): Promise<void> {
  const { screen } = stage
  screen.step('Follow live changes: from commit in the shop to visible in the copy')
  const latencies: number[] = []
  for (let serial = 0; serial < SIGHTINGS_MEASURED; serial++) {
    const ms = await seen(stage, sync, serial)
    latencies.push(ms)
    if (serial < SIGHTINGS_SHOWN) screen.line(`${`${ms.toFixed(1)} ms`.padStart(9)}  ${sighting(serial).says}`)
  }
  latencies.sort((a, b) => a - b)
  const at = (share: number) => latencies[Math.floor(share * (latencies.length - 1))]?.toFixed(1)
  screen.good(`${latencies.length} changes: median ${at(0.5)} ms, slowest ${at(1)} ms`)
}

async function killAndResume(stage: Stage, first: SyncProcess): Promise<SyncProcess> {
  const { screen, traffic, signal } = stage
  screen.step('Kill the sync and start it again')
  await first.kill()
  const at = traffic.changes()
  screen.line(`kill -9 ${first.pid}; the shop goes on`)
  await pause(CLOSED_MS, signal)
  const missed = traffic.changes() - at
  const startedMs = performance.now()
  const second = stage.launch()
  await seen(stage, second, SIGHTINGS_MEASURED)
  const took = (performance.now() - startedMs) / 1000
  screen.good(
    `resumed from the checkpoint in the copy: ${count(missed)} missed changes caught up in ${seconds(took)}, process start included`,
  )
  return second
}

/** Makes one change and waits until the copy shows it. Log order means that everything before it is there too. */
async function seen(stage: Stage, sync: SyncProcess, serial: number): Promise<number> {
  const { shop, copy } = stage
  const { change, visible } = sighting(serial)
  await shop.query(change)
  const committedMs = performance.now()
  await wait(stage, sync, POLL_MS, async () => (await copy.query(visible)).length > 0)
  return performance.now() - committedMs
}

async function compare({ screen, shop, copy }: Stage): Promise<boolean> {
  let equal = true
  for (const table of TABLES) {
    const text = `SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY id)) FROM shop.${table} t`
    const [[ours], [theirs]] = await Promise.all([shop.query(text), copy.query(text)])
    const same = ours?.[0] === theirs?.[0] && ours?.[1] === theirs?.[1]
    equal &&= same
    const rows = (side: typeof ours) => count(Number(side?.[0])).padStart(9)
    const text2 = `${table.padEnd(10)} ${rows(ours)} rows in the shop, ${rows(theirs)} in the copy`
    if (same) screen.good(`${text2}, md5 of all rows ${ours?.[1]?.slice(0, 8)} on both sides`)
    else screen.bad(`${text2}, md5 of all rows ${ours?.[1]} and ${theirs?.[1]}`)
  }
  return equal
}

async function wait(stage: Stage, sync: SyncProcess, pollMs: number, done: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + STEP_TIMEOUT_MS
  while (!(await done())) {
    stage.signal.throwIfAborted()
    sync.assertRunning()
    if (performance.now() > deadline) throw new Error(`the sync did not get there within ${STEP_TIMEOUT_MS / 1000} s`)
    await pause(pollMs, stage.signal)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', failed, { once: true })
    function done() {
      signal.removeEventListener('abort', failed)
      resolve()
    }
    function failed() {
      clearTimeout(timer)
      reject(signal.reason)
    }
  })
}
