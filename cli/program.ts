/** The command line. main() never throws and never exits: it returns the exit code. */
import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { checkCommand } from './check.js'
import { example } from './command.js'
import { demoCommand } from './demo.js'
import { dropCommand } from './drop.js'
import { initCommand } from './init.js'
import { EXIT, type Io, stdoutFailure } from './io.js'
import { createLog, known } from './log.js'
import { schemaCommand } from './schema.js'
import { statusCommand } from './status.js'
import { syncCommand } from './sync.js'

const COMMANDS = {
  sync: syncCommand,
  check: checkCommand,
  init: initCommand,
  status: statusCommand,
  schema: schemaCommand,
  drop: dropCommand,
  demo: demoCommand,
} as const

/** `argv` without the program's own name. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let code: number = EXIT.done
  const program = createProgram(io, (result) => {
    code = result
  })
  try {
    await program.parseAsync(argv as string[], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
    createLog(io, 'text').error(error)
    return known(error).exitCode
  }
}

function createProgram(io: Io, done: (code: number) => void): Command {
  const program = new Command('tidemark')
    .description('Change data capture: snapshot a database in parallel while tailing its log, deliver exactly once.')
    .version(version())
    .helpCommand(true)
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => write(io, text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: (text, writeErr) => writeErr(usageError(text)),
    })
  for (const [name, define] of Object.entries(COMMANDS)) define(program.command(name), io, done)
  example(program, 'tidemark init', 'tidemark check pipeline.yaml', 'tidemark sync pipeline.yaml')
  return program
}

/** A write to a file fails at once, one to a pipe later. */
function write(io: Io, text: string): void {
  try {
    io.stdout.write(text)
  } catch (error) {
    const failure = stdoutFailure(error)
    if (failure !== null) throw failure
  }
}

function usageError(text: string): string {
  const message = text.replace(/^error: /, '').trim()
  return `error cli.usage: ${message}\n  fix: tidemark --help, or tidemark COMMAND --help, shows what there is.\n`
}

function version(): string {
  const found: unknown = createRequire(import.meta.url)('tidemark/package.json')
  return (found as { version: string }).version
}
