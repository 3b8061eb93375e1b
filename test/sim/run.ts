/** One seeded run: writers, crashes and the production pipeline, step by step, judged at every commit and at the end. */
import { setMaxListeners } from 'node:events'
import { runPipeline } from '../../core/pipeline.js'
import { MarksJudge } from './marks.js'
import { Ops } from './ops.js'
import type { SimProcess } from './process.js'
import type { OpName, Profile } from './profiles.js'
import { Random } from './random.js'
import { Server } from './server.js'
import { SinkStore, simSink } from './sink.js'
import { SimSource } from './source.js'

export interface Outcome {
  readonly failure: string | null
  readonly commits: number
  readonly schedule: readonly string[]
}

/** What chunk readers wait for. */
const CHUNK_OPS = new Set(['connect', 'lock', 'snapshot', 'select', 'fetch', 'rows', 'keys', 'plan', 'high', 'durable'])
/** So many seeds in turn have a sink that asks which rows are the first and the last, and as many have not; twice as many one that commits truncates alone. */
const SEEDS_ALIKE = 50
/** How far the simulated clock moves with each step. */
const STEP_MS = 100
/** Steps after the writers stopped within which the sink must equal the source. */
const QUIET_STEPS_MAX = 1_500
/** In most seeds the writing starts once the pipeline does, so that it falls into the snapshot. */
const START_STEPS_MAX = 60

interface Running {
  readonly process: SimProcess
  readonly stop: AbortController
  stopping: boolean
  over: boolean
}

class Run {
  readonly #profile: Profile
  readonly #random: Random
  readonly #server: Server
  readonly #ops = new Ops()
  readonly #store: SinkStore
  readonly #schedule: string[] = []
  readonly #trace: boolean
  readonly #truncatesAlone: boolean
  readonly #sleeping: Running[] = []
  #current: Running | null = null
  #failure: string | null = null
  #wide: boolean
  #step = 0
  #hurry = false
  /** Each seed has a temper: how soon commits are flushed and seen, how slowly chunks are read, how often things break. */
  readonly #temper: {
    readonly fast: boolean
    readonly slowShow: number
    readonly chunkPace: number
    readonly commitPace: number
    readonly disasters: number
    readonly wholeBytes: number
  }

  constructor(seed: number, profile: Profile, trace: boolean) {
    const random = new Random(seed)
    this.#random = random
    this.#profile = profile
    this.#trace = trace
    this.#server = new Server(random, profile)
    this.#truncatesAlone = Math.floor(seed / (2 * SEEDS_ALIKE)) % 2 === 0
    const marks = profile.marks || Math.floor(seed / SEEDS_ALIKE) % 2 === 0
    // Rows are read again for unsent values, and tables without a key after a truncate.
    const judge = marks ? new MarksJudge(profile.toast || profile.keyless) : null
    this.#wide = profile.wide
    this.#store = new SinkStore(this.#server, profile.completes, judge)
    this.#temper = {
      fast: random.chance(profile.unflushed ? 0.1 : 0.5),
      slowShow: random.chance(profile.late) ? 0.12 : 1,
      chunkPace: random.pick(profile.chunkPaces),
      commitPace: random.pick([0.3, 1, 1]),
      disasters: random.pick([profile.disasters / 4, profile.disasters]),
      wholeBytes: random.pick(profile.wholeBytes),
    }
  }

  async run(): Promise<Outcome> {
    const starting = this.#random.chance(0.8) ? START_STEPS_MAX : 0
    for (let i = 0; i < starting && !this.#store.checkpoint?.includes('"phase":"running"'); i++) await this.#progress()
    for (let i = 0; i < this.#profile.steps && this.#failure === null; i++) {
      if (this.#random.chance(this.#profile.busy)) this.#environment()
      else if (this.#random.chance(this.#temper.disasters)) await this.#disaster()
      else await this.#progress()
    }
    await this.#quiet()
    this.#kill()
    for (const { process } of this.#sleeping) this.#ops.kill(process)
    return { failure: this.#failure, commits: this.#store.commits, schedule: this.#schedule }
  }

  /** The writers stop; everything must arrive. */
  async #quiet(): Promise<void> {
    const server = this.#server
    this.#hurry = true
    while (this.#sleeping.length > 0) this.#wake()
    for (const txn of server.active) server.commit(txn)
    for (let [txn] = server.limbo; txn !== undefined; [txn] = server.limbo) server.show(txn)
    for (let i = 0; this.#failure === null; i++) {
      server.flush()
      if (i % 25 === 0 && i < 1_000) server.noise()
      await this.#progress()
      if (i % 20 !== 0) continue
      const difference = this.#store.difference(server.visible, this.#wide ? 2 : 1)
      if (difference === null && this.#finished()) return this.#judgeMarks()
      if (i >= QUIET_STEPS_MAX)
        this.#failure = `no progress: ${difference ?? 'chunks unfinished'} ${this.#store.checkpoint}`
    }
  }

  #judgeMarks(): void {
    try {
      this.#store.marks?.end()
    } catch (error) {
      this.#violated(error as Error)
    }
  }

  #finished(): boolean {
    const text = this.#store.checkpoint
    if (text === null) return false
    const { tables, marks } = JSON.parse(text) as {
      marks?: string
      tables: Record<string, { ranges: { state: string }[] }>
    }
    if (this.#store.marks !== null && marks !== 'over') return false
    const all = Object.values(tables)
    const { count, inside } = this.#store.position
    const done = all.every((t) => t.ranges.every((r) => r.state === 'finished'))
    return done && all.length === (this.#wide ? 2 : 1) && count === this.#server.commits.length && inside === 0
  }

  #note(line: string): void {
    if (this.#trace) this.#schedule.push(line)
  }

  #violated(error: Error): void {
    this.#failure ??= error.message
  }

  // ---- processes

  #start(): void {
    const process: SimProcess = { lost: 0, sessions: new Set(), wide: this.#wide, claimed: false, fenced: 0 }
    const stop = new AbortController()
    // The simulated clock's sleeps listen to it until the process is gone.
    setMaxListeners(0, stop.signal)
    const mine: Running = { process, stop, stopping: false, over: false }
    this.#current = mine
    this.#note('START')
    const released = (count: number) => {
      // I1: what is released must be in the committed checkpoint.
      const committed = this.#store.position.count
      if (count > committed) this.#violated(new Error(`released ${count} while the sink has ${committed}`))
    }
    const sink = {
      completes: this.#profile.completes,
      truncatesAlone: this.#truncatesAlone,
      violated: (error: Error) => this.#violated(error),
      committed: (before: number) => this.#committed(mine, before),
    }
    runPipeline({
      name: 'sim',
      source: () => new SimSource(this.#server, this.#ops, this.#random, process, this.#profile, released),
      sink: () => simSink(this.#store, this.#ops, process, sink),
      readers: this.#profile.readers,
      transactionBytesWhole: this.#temper.wholeBytes,
      signal: mine.stop.signal,
      clock: {
        now: () => this.#step * STEP_MS,
        sleep: (_ms, signal) =>
          signal.aborted
            ? Promise.resolve()
            : Promise.race([this.#ops.wait('sleep', process, () => {}), aborted(signal)]),
      },
    }).then(
      () => {
        mine.over = true
      },
      (error: Error) => {
        mine.over = true
        // A program that could not even start is started again, as its supervisor would.
        const passing = (error as { retriable?: boolean }).retriable === true
        if (this.#current === mine && !passing) this.#violated(error)
      },
    )
  }

  /** A transaction that may stay whole is committed whole, unless a stop cannot wait for its end. */
  #committed({ stopping }: Running, before: number): void {
    const { count, inside } = this.#store.position
    const small = inside * this.#profile.rowBytes < this.#temper.wholeBytes
    const cut = this.#truncatesAlone && this.#server.commits[count]?.messages.some(({ op }) => op === 't')
    if (inside > 0 && inside !== before && small && !stopping && !cut)
      this.#violated(new Error(`transaction ${count} was committed in parts`))
  }

  #kill(): void {
    if (this.#current === null) return
    this.#note('PROCESS CRASH')
    const { process } = this.#current
    this.#ops.kill(process)
    for (const session of process.sessions) session.drop()
    this.#current = null
  }

  #stop(): void {
    if (this.#current === null) return
    this.#current.stopping = true
    this.#current.stop.abort('stop')
  }

  /** A process sleeps; its supervisor believes it dead and starts another. */
  #sleep(): void {
    if (!this.#current?.process.claimed) return
    this.#note('SLEEP')
    this.#ops.asleep.add(this.#current.process)
    this.#sleeping.push(this.#current)
    this.#current = null
  }

  /** Its connections may have been given up meanwhile, so that it wants to make them anew. */
  #wake(): void {
    const sleeper = this.#sleeping.shift()
    if (sleeper === undefined) return
    this.#note('WAKE')
    const { process } = sleeper
    this.#ops.asleep.delete(process)
    if (!this.#random.chance(0.7)) return
    process.lost++
    for (const session of process.sessions) session.drop()
  }

  // ---- steps

  #environment(): void {
    const random = this.#random
    const server = this.#server
    const { unflushed, stubborn } = this.#profile
    const dice = random.next()
    const { active, limbo } = server
    if (dice < 0.2) server.begin()
    else if (dice < 0.6 && active.length > 0) server.statement(random.pick(active))
    else if (dice < 0.75 && active.length > 0) {
      const txn = random.pick(active)
      if (this.#trace) this.#note(`end x${txn.xid} ${JSON.stringify(txn.messages)}`)
      random.chance(0.15) ? server.abort(txn) : server.commit(txn)
    } else if (dice < 0.87 && limbo.length > 0 && random.chance(this.#temper.slowShow)) {
      // Some commits wait long for their synchronous standby: delivered, and seen by nobody.
      const txn = random.pick(limbo)
      if (txn.id % stubborn !== 0 || random.chance(0.02)) server.show(txn)
    } else if (dice < 0.97) {
      if (this.#temper.fast) server.flush()
      else if (random.chance(unflushed ? 0.2 : 1)) server.flush(server.flushed + 1 + random.below(6))
    } else server.noise()
  }

  async #disaster(): Promise<void> {
    const { processCrash, serverCrash, stops, sleepers, added } = this.#profile
    const random = this.#random
    const dice = random.next()
    if (added && !this.#wide && random.chance(0.5)) {
      this.#wide = true
      random.chance(0.5) ? this.#kill() : this.#stop()
    } else if (processCrash && dice < 0.35) this.#kill()
    else if (serverCrash && dice < 0.6) {
      this.#note(`SERVER CRASH at ${this.#server.flushed}`)
      if (processCrash && random.chance(0.3)) this.#kill()
      this.#server.crash()
    } else if (stops && dice < 0.75) this.#stop()
    else if (sleepers && dice < 0.9) {
      if (this.#sleeping.length > 0 && random.chance(0.7)) this.#wake()
      else this.#sleep()
    }
    await settle()
  }

  /** One operation of the pipeline happens. */
  async #progress(): Promise<void> {
    this.#step++
    if (this.#current === null || this.#current.over) {
      this.#start()
      await settle()
    }
    const possible = this.#ops.possible()
    if (possible.length === 0) return
    const op = this.#random.pick(possible)
    const { chunkPace, commitPace } = this.#temper
    const usual = CHUNK_OPS.has(op.name) ? chunkPace : op.name === 'commit' ? commitPace : 1
    if (!this.#hurry && !this.#random.chance(this.#profile.paces[op.name as OpName] ?? usual)) return
    this.#note(op.name)
    this.#ops.take(op)
    op.happen()
    await settle()
  }
}

export function run(seed: number, profile: Profile, trace = false): Promise<Outcome> {
  return new Run(seed, profile, trace).run()
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
