/** One seeded run: writers, crashes and the production pipeline, step by step, judged at every commit and at the end. */
import { runPipeline } from '../../core/pipeline.js'
import { Ops } from './ops.js'
import { Random } from './random.js'
import { Server } from './server.js'
import { SinkStore, simSink } from './sink.js'
import { SimSource } from './source.js'

export interface Profile {
  readonly name: string
  readonly keys: number
  readonly truncate: boolean
  readonly toast: boolean
  readonly completes: boolean
  readonly located: boolean
  readonly keyless: boolean
  readonly windows: boolean
  readonly processCrash: boolean
  readonly serverCrash: boolean
  readonly stops: boolean
  /** Commits stay unflushed for long (synchronous_commit = off). */
  readonly unflushed: boolean
  /** Share of statements that try to truncate. */
  readonly truncates: number
  /** Share of statements on existing rows that move their key. */
  readonly moves: number
  /** Chunks are read slowly, commits are seen late and processes die often: everything happens inside the snapshot. */
  readonly late: boolean
  /** How soon what was read is known to be durable, against the pace of reading. */
  readonly durablePace: number
  /** How often a read ends early. */
  readonly shortReads: number
  readonly steps: number
}

const BASE: Profile = {
  name: 'everything',
  keys: 9,
  truncate: true,
  toast: true,
  completes: true,
  located: false,
  keyless: false,
  windows: false,
  processCrash: true,
  serverCrash: true,
  stops: true,
  unflushed: false,
  truncates: 0.06,
  moves: 0.3,
  late: false,
  shortReads: 0.05,
  durablePace: 1,
  steps: 600,
}

export const PROFILES: readonly Profile[] = [
  BASE,
  { ...BASE, name: 'sink without rows', completes: false },
  { ...BASE, name: 'located keys', located: true },
  { ...BASE, name: 'calm', truncate: false, toast: false, processCrash: false, serverCrash: false, stops: false },
  { ...BASE, name: 'crashes', truncate: false, toast: false },
  { ...BASE, name: 'unflushed', unflushed: true, truncate: false },
  { ...BASE, name: 'truncates', truncates: 0.4, toast: false, serverCrash: false, durablePace: 0.2 },
  { ...BASE, name: 'moves', truncate: false, serverCrash: false, keys: 6, moves: 0.7 },
  { ...BASE, name: 'late', truncate: false, toast: false, serverCrash: false, late: true, shortReads: 0.2, steps: 900 },
  {
    ...BASE,
    name: 'short reads',
    truncate: false,
    toast: false,
    serverCrash: false,
    shortReads: 0.6,
    durablePace: 0.3,
  },
  { ...BASE, name: 'windows', windows: true, truncate: false, toast: false, serverCrash: false },
]

export interface Outcome {
  readonly failure: string | null
  readonly commits: number
  readonly schedule: readonly string[]
}

/** What chunk readers wait for. */
const CHUNK_OPS = new Set(['connect', 'lock', 'snapshot', 'rows', 'keys', 'plan', 'high'])

/** How far the simulated clock moves with each step. */
const STEP_MS = 100

/** Steps after the writers stopped within which the sink must equal the source. */
const QUIET_STEPS_MAX = 6_000

export async function run(seed: number, profile: Profile, trace = false): Promise<Outcome> {
  const random = new Random(seed)
  const server = new Server(random, { ...profile, visibility: profile.windows ? 'prefix' : 'free' })
  const ops = new Ops()
  const store = new SinkStore(server, profile.completes)
  const schedule: string[] = []
  const note = (line: string) => trace && schedule.push(line)
  let failure: string | null = null
  const violated = (error: Error) => {
    failure ??= error.message
  }
  let released = 0
  let current: { process: object; stop: AbortController; over: boolean } | null = null
  let step = 0
  let hurry = false
  const clock = (process: object) => ({
    now: () => step * STEP_MS,
    sleep: (_ms: number, signal: AbortSignal) =>
      signal.aborted ? Promise.resolve() : Promise.race([ops.wait('sleep', process, () => {}), aborted(signal)]),
  })
  const start = () => {
    const process = {}
    const stop = new AbortController()
    const mine = { process, stop, over: false }
    current = mine
    note('START')
    runPipeline({
      name: 'sim',
      source: () =>
        new SimSource(server, ops, random, process, profile, (count) => {
          released = Math.max(released, count)
          // I1: what is released must be in the committed checkpoint.
          const committed = Number(
            (JSON.parse(store.checkpoint ?? '{"position":"0+0"}') as { position: string }).position.split('+')[0],
          )
          if (current === mine && count > committed)
            violated(new Error(`released ${count} while the sink has ${committed}`))
        }),
      sink: () => simSink(store, ops, process, profile.completes, violated),
      readers: 2,
      signal: stop.signal,
      clock: clock(process),
    }).then(
      () => {
        mine.over = true
      },
      (error: Error) => {
        mine.over = true
        // A program that could not even start is started again, as its supervisor would.
        const passing = (error as { retriable?: boolean }).retriable === true
        if (current === mine && !passing) violated(error)
      },
    )
  }
  const kill = () => {
    if (current === null) return
    note('PROCESS CRASH')
    ops.kill(current.process)
    current = null
  }
  // Each seed has a temper: how soon commits are flushed and seen, how slowly chunks are read, how often things break.
  const fast = random.chance(profile.unflushed ? 0.1 : 0.5)
  const slowShow = profile.late ? random.pick([0.1, 0.3, 1]) : random.chance(0.6) ? 0.12 : 1
  const chunkPace = profile.late ? random.pick([0.1, 0.2]) : random.pick([0.12, 0.3, 1])
  const stubborn = profile.late ? 3 : 12
  const commitPace = random.pick([0.3, 1, 1])
  const disasters = profile.late ? 0.03 : random.pick([0.008, 0.03])
  const environment = (calm: boolean) => {
    const dice = random.next()
    const { active, limbo } = server
    if (!calm && dice < 0.2) server.begin()
    else if (!calm && dice < 0.6 && active.length > 0) server.statement(random.pick(active))
    else if (dice < 0.75 && active.length > 0) {
      const txn = random.pick(active)
      note(`end x${txn.xid} ${JSON.stringify(txn.messages)}`)
      random.chance(0.15) ? server.abort(txn) : server.commit(txn)
    } else if (dice < 0.87 && limbo.length > 0 && random.chance(slowShow)) {
      // Some commits wait long for their synchronous standby: delivered, and seen by nobody.
      const txn = random.pick(limbo)
      if (txn.id % stubborn !== 0 || random.chance(0.02)) server.show(txn)
    } else if (dice < 0.97)
      fast
        ? server.flush()
        : random.chance(profile.unflushed ? 0.2 : 1) && server.flush(server.flushed + 1 + random.below(6))
    else server.noise()
  }
  const disaster = () => {
    const dice = random.next()
    if (profile.processCrash && dice < 0.4) kill()
    else if (profile.serverCrash && dice < 0.7) {
      note(`SERVER CRASH at ${server.flushed}`)
      server.crash()
      if (random.chance(0.3)) kill()
    } else if (profile.stops && dice < 0.85) current?.stop.abort('stop')
  }
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
  const progress = () => {
    step++
    if (current === null || current.over) start()
    const possible = ops.pending.filter((op) => op.ready())
    if (possible.length === 0) return
    const op = random.pick(possible)
    const pace = CHUNK_OPS.has(op.name)
      ? chunkPace
      : op.name === 'durable'
        ? chunkPace * profile.durablePace
        : op.name === 'commit'
          ? commitPace
          : 1
    if (hurry === false && !random.chance(pace)) return
    note(op.name)
    ops.take(op)
    op.happen()
  }
  // A slot waits for older transactions; in most seeds there are none, so that the writing falls into the snapshot.
  const quietStart = random.chance(0.8)
  for (let i = 0; quietStart && i < 60 && !store.checkpoint?.includes('"phase":"running"'); i++) {
    progress()
    await settle()
  }
  for (let i = 0; i < profile.steps && failure === null; i++) {
    if (random.chance(0.45)) environment(false)
    else if (random.chance(disasters)) disaster()
    else progress()
    await settle()
  }
  // The writers stop; everything must arrive.
  hurry = true
  for (const txn of server.active) server.commit(txn)
  for (const txn of server.limbo) server.show(txn)
  let difference: string | null = 'not looked at'
  for (let i = 0; i < QUIET_STEPS_MAX && failure === null; i++) {
    server.flush()
    if (i % 25 === 0 && i < 1_000) server.noise()
    progress()
    await settle()
    if (i % 20 !== 0) continue
    difference = store.difference(server.visible)
    if (difference === null && finished(store.checkpoint, server)) break
    if (i + 20 >= QUIET_STEPS_MAX) failure = `no progress: ${difference ?? 'chunks unfinished'} ${store.checkpoint}`
  }
  failure ??= store.difference(server.visible)
  kill()
  return { failure, commits: store.commits, schedule }
}

function finished(text: string | null, server: Server): boolean {
  if (text === null) return false
  const state = JSON.parse(text) as { position: string; tables: Record<string, { ranges: { state: string }[] }> }
  const done = Object.values(state.tables).every((t) => t.ranges.every((r) => r.state === 'finished'))
  return done && Object.keys(state.tables).length > 0 && state.position === `${server.commits.length}+0`
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
