/** `tidemark status`: the committed checkpoint, read without disturbing a running pipeline, and what the source holds. */
import type { Command } from 'commander'
import type { PipelineConfig } from '../config/pipeline-file.js'
import { stateFile } from '../config/state-file.js'
import { type CheckpointDescription, describeCheckpoint } from '../core/checkpoint.js'
import type { Finding } from '../core/define.js'
import { example, type FileOptions, interruptible, print, withFile, withPipeline } from './command.js'
import { findingLines } from './findings.js'
import { table } from './format.js'
import { EXIT, type Io } from './io.js'
import type { Log } from './log.js'
import { type OutputFormat, outputOption } from './output.js'

interface StatusOptions extends FileOptions {
  readonly output: OutputFormat
}

export function statusCommand(command: Command, io: Io, done: (code: number) => void): void {
  withFile(command)
    .description('Show how far a pipeline is, and what it holds in the source.')
    .addOption(outputOption())
    .action(async (file: string, options: StatusOptions) => {
      const body = (config: PipelineConfig, log: Log) =>
        interruptible(io, (signal) => status(io, config, log, options, signal))
      done(await withPipeline(io, file, options, ({ config, log }) => body(config, log)))
    })
  example(command, 'tidemark status pipeline.yaml', 'tidemark status pipeline.yaml --output json')
}

async function status(
  io: Io,
  config: PipelineConfig,
  log: Log,
  options: StatusOptions,
  signal: AbortSignal,
): Promise<number> {
  const text = await readSaved(config, signal)
  const checkpoint = text === null ? null : describeCheckpoint(text)
  const source = await config.source.definition.status(config.source.options, { pipeline: config.name, signal })
  const clean = source.map((finding) => log.secrets.redactFinding(finding))
  const out =
    options.output === 'json'
      ? JSON.stringify({ pipeline: config.name, checkpoint, source: clean }, null, 2)
      : [
          `pipeline ${config.name}`,
          ...checkpointLines(checkpoint, source),
          'source',
          ...findingLines(source, log.secrets).map((line) => `  ${line}`),
        ].join('\n')
  await print(io, out)
  return EXIT.done
}

export async function readSaved(config: PipelineConfig, signal: AbortSignal): Promise<string | null> {
  if (config.stateFile !== null) return stateFile(config.stateFile).read()
  return config.sink.definition.readCheckpoint(config.sink.options, { pipeline: config.name, signal })
}

/** What a source holds is more than ok. */
export function holds(source: readonly Finding[]): boolean {
  return source.some(({ level }) => level !== 'ok')
}

const STATES = { waiting: 'waiting', snapshot: 'being read', streaming: 'complete, following changes' } as const

function checkpointLines(checkpoint: CheckpointDescription | null, source: readonly Finding[]): string[] {
  if (checkpoint === null && holds(source)) {
    return ['checkpoint: none, although the source holds something of this pipeline; `tidemark drop` frees it']
  }
  if (checkpoint === null) return ['checkpoint: none; the next run starts anew']
  const rows = checkpoint.tables.map(({ id, state, rangesLeft }) => [
    `  ${id}`,
    STATES[state],
    rangesLeft > 0 ? `${rangesLeft} ${rangesLeft === 1 ? 'range' : 'ranges'} left` : '',
  ])
  return [
    `checkpoint: ${checkpoint.phase === 'creating' ? 'first start under way' : `position ${checkpoint.position}`}`,
    ...table(rows).map((line) => line.trimEnd()),
  ]
}
