/** What a command may touch of the process. Tests pass their own; cli/main.ts passes the real one. */
import type { Readable, Writable } from 'node:stream'
import type { Registry } from '../config/registry.js'
import type { runPipeline } from '../core/pipeline.js'

export type StopSignal = 'SIGINT' | 'SIGTERM'

export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable & { readonly isTTY?: boolean }
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Calls the handler for each signal until the returned function is called. */
  onSignal(handler: (signal: StopSignal) => void): () => void
  /** Leaves at once. */
  exit(code: number): void
  /** Connectors and the core load on demand, so that help and mistakes answer quickly. */
  registry(): Promise<Registry>
  pipelineRunner(): Promise<typeof runPipeline>
}

export const EXIT = { done: 0, failed: 1, usage: 2, notReady: 3, SIGINT: 130, SIGTERM: 143 } as const

export function processIo(): Io {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    onSignal(handler) {
      const onInt = () => handler('SIGINT')
      const onTerm = () => handler('SIGTERM')
      process.on('SIGINT', onInt).on('SIGTERM', onTerm)
      return () => process.off('SIGINT', onInt).off('SIGTERM', onTerm)
    },
    exit: (code) => process.exit(code),
    registry: async () => (await import('../config/registry.js')).BUILT_IN,
    pipelineRunner: async () => (await import('../core/pipeline.js')).runPipeline,
  }
}
