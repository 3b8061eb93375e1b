/** `tidemark check`: is everything ready, what would be done, and what is promised. Changes nothing anywhere. */
import type { Command } from 'commander'
import type { PipelineConfig } from '../config/pipeline-file.js'
import type { Finding } from '../core/define.js'
import { example, type FileOptions, interruptible, print, withFile, withPipeline } from './command.js'
import { findingLines } from './findings.js'
import { EXIT, type Io } from './io.js'
import type { Log } from './log.js'
import { type OutputFormat, outputOption } from './output.js'
import { holds, readSaved } from './status.js'
import { problem, targets } from './targets.js'

interface CheckOptions extends FileOptions {
  readonly output: OutputFormat
}

export function checkCommand(command: Command, io: Io, done: (code: number) => void): void {
  withFile(command)
    .description('Check that source and sink are ready; print the exact fix for each problem.')
    .addOption(outputOption())
    .action(async (file: string, options: CheckOptions) => {
      const body = (config: PipelineConfig, log: Log) =>
        interruptible(io, (signal) => check(io, config, log, options, signal))
      done(await withPipeline(io, file, options, ({ config, log }) => body(config, log)))
    })
  example(command, 'tidemark check pipeline.yaml', 'tidemark check pipeline.yaml --output json')
}

async function check(
  io: Io,
  config: PipelineConfig,
  log: Log,
  options: CheckOptions,
  signal: AbortSignal,
): Promise<number> {
  const context = { pipeline: config.name, signal }
  const source = await findings(() => config.source.definition.check(config.source.options, context), 'source', signal)
  const ready = !source.some((f) => f.level === 'problem')
  const { seen, found, mistakes } = ready ? await targets(config, signal) : { seen: {}, found: [], mistakes: [] }
  const sinkContext = { ...context, ...seen }
  const asked = await findings(() => config.sink.definition.check(config.sink.options, sinkContext), 'sink', signal)
  const sink = [...asked, ...mistakes.map((error) => problem(config.place(error.at ?? 'sink'), error))]
  const lost = ready ? await lostCheckpoint(config, signal) : []
  const promise = guarantee(config)
  const problems = [...source, ...found, ...lost, ...sink].filter((f) => f.level === 'problem').length
  const all = { source: [...source, ...found, ...lost], sink }
  const clean = (list: readonly Finding[]) => list.map((finding) => log.secrets.redactFinding(finding))
  const report = { pipeline: config.name, ...promise, problems, source: clean(all.source), sink: clean(sink) }
  const lines =
    options.output === 'json'
      ? JSON.stringify(report, null, 2)
      : [
          `pipeline ${config.name}`,
          `source (${config.source.definition.connector})`,
          ...findingLines(all.source, log.secrets).map((line) => `  ${line}`),
          `sink (${config.sink.definition.connector})`,
          ...findingLines(sink, log.secrets).map((line) => `  ${line}`),
          `guarantee: ${promise.guarantee}: ${promise.meaning}`,
          problems === 0 ? 'ready' : `not ready: ${problems} ${problems === 1 ? 'problem' : 'problems'}`,
        ].join('\n')
  await print(io, lines)
  return problems === 0 ? EXIT.done : EXIT.notReady
}

/** A check that cannot even connect is a problem like any other. */
async function findings(
  ask: () => Promise<readonly Finding[]>,
  subject: string,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  try {
    return await ask()
  } catch (error) {
    if (signal.aborted) throw error
    return [problem(subject, error)]
  }
}

/** What a first start would refuse: something of this pipeline in the source, of which no checkpoint speaks. */
async function lostCheckpoint(config: PipelineConfig, signal: AbortSignal): Promise<Finding[]> {
  const sink = config.sink.definition.create(config.sink.options, { pipeline: config.name })
  if (sink.startsUnrecorded || (sink.guarantee === 'none' && config.stateFile === null)) return []
  try {
    if ((await readSaved(config, signal)) !== null) return []
    const held = await config.source.definition.status(config.source.options, { pipeline: config.name, signal })
    if (!holds(held)) return []
  } catch (error) {
    if (signal.aborted) throw error
    // Whatever cannot be asked is a finding of its own.
    return []
  }
  const where = sink.checkpointIn ?? 'the sink'
  const message = `${where} holds no checkpoint, although the source holds something of a pipeline ${config.name}: a start is refused`
  const fix =
    'tidemark drop FILE frees it, and the next start copies every row again; or give this pipeline another pipeline.name.'
  return [{ level: 'problem', subject: 'checkpoint', message, fix }]
}

export function guarantee(config: PipelineConfig): { guarantee: string; meaning: string } {
  const sink = config.sink.definition.create(config.sink.options, { pipeline: config.name })
  if (sink.guarantee === 'exactly-once') {
    return { guarantee: 'exactly-once', meaning: 'the sink commits data and checkpoint together' }
  }
  if (sink.guarantee === 'at-least-once' || config.stateFile !== null) {
    return { guarantee: 'at-least-once', meaning: 'the checkpoint is saved after the data, so a crash may repeat some' }
  }
  return { guarantee: 'none', meaning: 'the sink keeps no checkpoint: every run starts anew' }
}
