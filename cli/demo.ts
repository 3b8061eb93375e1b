/** `tidemark demo`: everything at once, on servers of its own. */
import type { Command } from 'commander'
import { example } from './command.js'
import type { Io } from './io.js'

export function demoCommand(command: Command, io: Io, done: (code: number) => void): void {
  command
    .description('Watch a sync between two throw-away databases: snapshot, live changes, a kill, a resume.')
    .option('--yes', 'download the PostgreSQL server binaries without asking, where they are not installed')
    .action(async (options: { readonly yes?: true }) => {
      const { runDemo } = await import('./demo/index.js')
      done(await runDemo({ ...io, yes: options.yes ?? false }))
    })
  example(command, 'tidemark demo', 'tidemark demo --yes')
}
