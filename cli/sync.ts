/** `tidemark sync`: runs a pipeline until it is done, stopped or fails, and says what is left behind in the source. */
import { type Command, Option } from 'commander'
import { nameOf, type PipelineConfig } from '../config/pipeline-file.js'
import { ConfigError } from '../config/problems.js'
import { stateFile } from '../config/state-file.js'
import { TidemarkError } from '../core/errors.js'
import type { PipelineResult } from '../core/pipeline.js'
import { example, type FileOptions, type Loaded, withFile, withPipeline } from './command.js'
import { findingLines } from './findings.js'
import { count, seconds } from './format.js'
import { EXIT, type Io, type StopSignal, stdoutFailure } from './io.js'
import { known, type Log } from './log.js'
import { type ProgressView, progressView } from './progress.js'
import { claimReport, makeReport, type Outcome, writeReport } from './report.js'
import { refuseMistakes } from './targets.js'

interface SyncOptions extends FileOptions {
  readonly once?: true
  readonly untilCaughtUp?: true
  readonly report?: string
}

/** How long the end of a run may ask the source what it still holds. */
const STATUS_MS_MAX = 5_000

export function syncCommand(command: Command, io: Io, done: (code: number) => void): void {
  withFile(command)
    .description('Copy what exists, then follow every change, until stopped.')
    .option(
      '--once',
      'end when what was there is copied and the sink equals the source at one position; runs after that deliver nothing',
    )
    .addOption(
      new Option('--until-caught-up', 'end when everything committed before now is in the sink').conflicts('once'),
    )
    .option('--report <file>', 'write what the run did as JSON, also when it fails or is stopped')
    .action(async (file: string, options: SyncOptions) => {
      const report = new ReportFile(io, file, options.report)
      const hooks = { before: () => report.claim(), invalid: report.invalid }
      done(await withPipeline(io, file, options, (loaded) => sync(io, loaded, report, options, file), hooks))
    })
  example(
    command,
    'tidemark sync pipeline.yaml',
    'tidemark sync pipeline.yaml --once --report report.json',
    "tidemark sync pipeline.yaml --set source.tables='public.*' --log-format json",
  )
}

/** What ends a run early. */
interface Stop {
  readonly signal: AbortSignal
  name: StopSignal | null
  stdoutClosed: boolean
}

/** What `--report` asked for; nothing is written without it. */
class ReportFile {
  readonly #startedMs = Date.now()
  readonly #io: Io
  readonly #file: string
  readonly #given: string | undefined
  #path: string | null = null

  constructor(io: Io, file: string, given: string | undefined) {
    this.#io = io
    this.#file = file
    this.#given = given
  }

  claim(): void {
    if (this.#given !== undefined) this.#path = claimReport(this.#given, this.#io.cwd, this.#file)
  }

  get seconds(): number {
    return (Date.now() - this.#startedMs) / 1000
  }

  /** False when it could not be written, which was then said. */
  write(log: Log, pipeline: string, outcome: Pick<Outcome, 'outcome' | 'error' | 'result'>): boolean {
    if (this.#path === null) return true
    try {
      writeReport(this.#path, makeReport({ pipeline, startedMs: this.#startedMs, ...outcome }, log.secrets))
      return true
    } catch (error) {
      log.error(error)
      return false
    }
  }

  /** The file was refused: its name is known even then. */
  readonly invalid = (error: unknown, log: Log): void => {
    const pipeline = error instanceof ConfigError ? error.pipeline : nameOf(this.#file)
    this.write(log, pipeline, { outcome: 'failed', error, result: null })
  }
}

async function sync(
  io: Io,
  { config, log }: Loaded,
  file: ReportFile,
  options: SyncOptions,
  given: string,
): Promise<number> {
  const view = progressView(io, log, { dataOnStdout: config.sink.definition.connector === 'stdout' })
  const report = (outcome: Parameters<ReportFile['write']>[2]) => file.write(log, config.name, outcome)
  const { stop, off } = listen(io, log, () => report({ outcome: 'failed', error: leftAtOnce(), result: view.last }))
  try {
    const result = await run(io, config, log, options, stop.signal, view)
    view.close()
    const written = report({ outcome: result.outcome, result })
    log.info(resultLine(result, options, file.seconds), { position: result.position })
    await sayWhatIsHeld(config, log, given)
    if (stop.name !== null && result.outcome !== 'done' && !stop.stdoutClosed) return EXIT[stop.name]
    return written ? EXIT.done : EXIT.failed
  } catch (error) {
    view.close()
    if (stop.stdoutClosed) return report({ outcome: 'stopped', result: view.last }) ? EXIT.done : EXIT.failed
    log.error(error)
    report({ outcome: 'failed', error, result: view.last })
    await sayWhatIsHeld(config, log, given)
    return known(error).exitCode
  } finally {
    off()
  }
}

/** First signal: stop at a checkpoint. Second: leave at once; what was committed is safe. */
function listen(io: Io, log: Log, onLeave: () => void): { stop: Stop; off: () => void } {
  const controller = new AbortController()
  const stop: Stop = { signal: controller.signal, name: null, stdoutClosed: false }
  const offSignal = io.onSignal((name) => {
    if (stop.name !== null) {
      try {
        onLeave()
      } finally {
        io.exit(EXIT[name])
      }
      return
    }
    stop.name = name
    log.info('stopping at a checkpoint; once more to leave at once')
    controller.abort('stop')
  })
  const onStdoutError = (error: NodeJS.ErrnoException) => {
    // Any other failure comes back from the sink's own write, and ends the run as an error.
    if (stdoutFailure(error) !== null) return
    stop.stdoutClosed = true
    controller.abort('stop')
  }
  io.stdout.on('error', onStdoutError)
  const off = () => {
    offSignal()
    io.stdout.off('error', onStdoutError)
  }
  return { stop, off }
}

async function run(
  io: Io,
  config: PipelineConfig,
  log: Log,
  options: SyncOptions,
  signal: AbortSignal,
  view: ProgressView,
): Promise<PipelineResult> {
  await refuseMistakes(config, signal)
  const runPipeline = await io.pipelineRunner()
  const context = { pipeline: config.name }
  const { checkpointIntervalMs, heartbeatIntervalMs } = config
  return runPipeline({
    name: config.name,
    source: () => config.source.definition.create(config.source.options, context),
    sink: () => config.sink.definition.create(config.sink.options, context),
    transform: config.transform,
    mode: config.mode,
    until: options.once ? 'once' : options.untilCaughtUp ? 'caught-up' : 'forever',
    readers: config.readers,
    ...(checkpointIntervalMs === undefined ? {} : { checkpointIntervalMs }),
    ...(heartbeatIntervalMs === undefined ? {} : { heartbeatIntervalMs }),
    state: config.stateFile === null ? null : stateFile(config.stateFile),
    signal,
    onProgress: (progress) => view.update(progress),
    note: (line) => log.info(line),
  })
}

function resultLine(result: PipelineResult, options: SyncOptions, took: number): string {
  const rows = result.tables.reduce((sum, t) => sum + t.rows, 0)
  const events = result.tables.reduce((sum, t) => sum + t.events, 0)
  const at = result.position === null ? '' : ` at position ${result.position}`
  const totals = `${count(rows)} rows, ${count(events)} events, ${count(result.checkpoints)} checkpoints in ${seconds(took)}`
  if (result.outcome === 'stopped') return `stopped at a checkpoint${at}: ${totals}`
  if (options.once && result.snapshotAlreadyComplete) {
    return `the snapshot was already complete${at}: nothing to do. Changes since then come with --until-caught-up, or without either option`
  }
  if (options.once) return `done: the sink equals the source${at}: ${totals}`
  return `done${at}: ${totals}`
}

/** A permanent slot makes its server keep log until it is read or dropped: nobody may be left with one unknowingly. */
async function sayWhatIsHeld(config: PipelineConfig, log: Log, file: string): Promise<void> {
  const context = { pipeline: config.name }
  try {
    const { guarantee } = config.sink.definition.create(config.sink.options, context)
    if (guarantee === 'none' && config.stateFile === null) return
    const signal = AbortSignal.timeout(STATUS_MS_MAX)
    const held = await config.source.definition.status(config.source.options, { ...context, signal })
    if (held.every((finding) => finding.level === 'ok')) return
    for (const line of findingLines(held, log.secrets)) log.names(line)
    log.info(`to remove it: tidemark drop ${file}`)
  } catch (error) {
    log.info(`what the source still holds could not be asked (${known(error).message}); see: tidemark status ${file}`)
  }
}

function leftAtOnce(): TidemarkError {
  return new TidemarkError('cli.left_at_once', {
    message: 'a second signal ended the process before its checkpoint',
    fix: 'Run it again: it resumes from the last checkpoint.',
  })
}
