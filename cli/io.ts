/** What a command may touch of the process. Tests pass their own; cli/main.ts passes the real one. */
import type { Readable, Writable } from 'node:stream'
import type { Registry } from '../config/registry.js'
import { TidemarkError } from '../core/errors.js'
import type { runPipeline } from '../core/pipeline.js'

/** SIGHUP: the terminal was closed. */
export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

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

export const EXIT = { done: 0, failed: 1, usage: 2, notReady: 3, SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

/** What a failed write to stdout means; null: its reader went away, which is no failure. */
export function stdoutFailure(cause: unknown): TidemarkError | null {
  const { code = 'unknown error' } = cause as NodeJS.ErrnoException
  if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED') return null
  return new TidemarkError('sink.stdout_failed', {
    message: `standard output takes no more (${code})`,
    fix: 'Make room on its disk, or send it elsewhere.',
    cause,
  })
}

export function processIo(): Io {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    onSignal(handler) {
      const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
      const listeners = names.map((name) => [name, () => handler(name)] as const)
      for (const [name, listener] of listeners) process.on(name, listener)
      return () => {
        for (const [name, listener] of listeners) process.off(name, listener)
      }
    },
    exit: (code) => process.exit(code),
    registry: async () => (await import('../config/registry.js')).BUILT_IN,
    pipelineRunner: async () => (await import('../core/pipeline.js')).runPipeline,
  }
}
