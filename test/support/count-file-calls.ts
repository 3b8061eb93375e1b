/** Counts what a program does to files, so that a cost can be judged without a clock. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

/** Everything that node:fs/promises offers to the file sink. */
const CALLS = ['access', 'link', 'mkdir', 'open', 'readFile', 'readdir', 'rename', 'rm', 'stat', 'unlink'] as const
const HANDLE_CALLS = [
  'write',
  'writeFile',
  'sync',
  'datasync',
  'close',
  'truncate',
  'stat',
  'read',
  'readFile',
] as const

export interface FileCalls {
  /** Calls by name; those of an open file begin with "handle.". */
  readonly calls: Record<string, number>
  bytesRead: number
  bytesWritten: number
  /** Names that folders answered with. */
  entries: number
}

type Call = (this: unknown, ...args: unknown[]) => Promise<unknown>

/** Counts until stop(). Not for two at a time. */
export async function countFileCalls(): Promise<{ read(): FileCalls; stop(): void }> {
  let counted: FileCalls = none()
  const undo: (() => void)[] = []
  const wrap = (owner: Record<string, Call>, name: string, label: string) => {
    const original = owner[name]!
    undo.push(() => {
      owner[name] = original
    })
    owner[name] = async function (...args) {
      counted.calls[label] = (counted.calls[label] ?? 0) + 1
      const result = await original.apply(this, args)
      if (name === 'readdir') counted.entries += (result as unknown[]).length
      if (name === 'readFile') counted.bytesRead += (result as string | Buffer).length
      if (name === 'write' || name === 'writeFile') counted.bytesWritten += Buffer.from(args[0] as string).length
      return result
    }
  }
  const probe = await fs.promises.open(process.execPath)
  const handles = Object.getPrototypeOf(probe) as Record<string, Call>
  await probe.close()
  for (const name of CALLS) wrap(fs.promises as never, name, name)
  for (const name of HANDLE_CALLS) wrap(handles, name, `handle.${name}`)
  syncBuiltinESMExports()
  return {
    /** What was counted since the last read(). */
    read: () => {
      const last = counted
      counted = none()
      return last
    },
    stop: () => {
      for (const restore of undo) restore()
      syncBuiltinESMExports()
    },
  }
}

const none = (): FileCalls => ({ calls: {}, bytesRead: 0, bytesWritten: 0, entries: 0 })
