/** `tidemark drop`: removes what a pipeline keeps outside its data: slot, managed publication, checkpoint. */
import type { Command } from 'commander'
import type { PipelineConfig } from '../config/pipeline-file.js'
import { removeStateFile } from '../config/state-file.js'
import { asking } from './ask.js'
import { example, type FileOptions, interruptible, print, usage, withFile, withPipeline } from './command.js'
import { EXIT, type Io } from './io.js'
import type { Log } from './log.js'

interface DropOptions extends FileOptions {
  readonly yes?: true
}

export function dropCommand(command: Command, io: Io, done: (code: number) => void): void {
  withFile(command)
    .description("Remove a pipeline's slot, managed publication and checkpoint. Its data stays.")
    .option('--yes', 'do not ask')
    .action(async (file: string, options: DropOptions) => {
      const body = (config: PipelineConfig, log: Log) =>
        interruptible(io, (signal) => drop(io, config, log, options, signal))
      done(await withPipeline(io, file, options, ({ config, log }) => body(config, log)))
    })
  example(command, 'tidemark drop pipeline.yaml --yes')
}

async function drop(
  io: Io,
  config: PipelineConfig,
  log: Log,
  options: DropOptions,
  signal: AbortSignal,
): Promise<number> {
  if (!options.yes && !(await confirmed(io, config.name, signal))) {
    log.info('nothing was removed')
    return EXIT.failed
  }
  const context = { pipeline: config.name, signal }
  // The checkpoint goes last: a drop that fails half-way can be repeated, and a checkpoint without its slot only
  // makes the next start stop with an exact message.
  const removed = [...(await config.source.definition.drop(config.source.options, context))]
  try {
    removed.push(...(await config.sink.definition.drop(config.sink.options, context)))
  } catch (error) {
    // Whoever repeats it would not learn any more what the first one removed.
    if (removed.length > 0) await print(io, log.secrets.redact(removed.join('\n')))
    log.warn("the sink's checkpoint was left as it is")
    throw error
  }
  if (config.stateFile !== null && (await removeStateFile(config.stateFile))) {
    removed.push(`removed the state file ${config.stateFile}`)
  }
  await print(io, log.secrets.redact(removed.length > 0 ? removed.join('\n') : 'there was nothing to remove'))
  return EXIT.done
}

async function confirmed(io: Io, name: string, signal: AbortSignal): Promise<boolean> {
  if (io.stdin.isTTY !== true) {
    throw usage('drop asks before it removes anything, and there is no terminal to ask on', 'Add --yes.')
  }
  const question = `Remove the slot, publication and checkpoint of pipeline "${name}"? It cannot be resumed after that. [y/N] `
  return /^y(es)?$/i.test(await asking(io, signal, (ask) => ask(question)))
}
