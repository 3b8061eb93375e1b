/** Transpiles core and simulator into a folder, with at most one patch, so that child processes run them without a loader. */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import type { Mutation } from './mutations.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** By source text: broken versions of the core differ in one file only. */
const known = new Map<string, string>()

function transpiled(source: string): string {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
  const text = known.get(source) ?? ts.transpileModule(source, { compilerOptions }).outputText
  known.set(source, text)
  return text
}

/** Throws when the patch does not fit its file exactly once. */
export function build(folder: string, mutation: Mutation | null): void {
  let patched = 0
  for (const part of ['core', 'test/sim']) {
    for (const name of readdirSync(join(ROOT, part))) {
      if (!name.endsWith('.ts')) continue
      const file = `${part}/${name}`
      let source = readFileSync(join(ROOT, file), 'utf8')
      if (mutation?.file === file) {
        const pieces = source.split(mutation.find)
        if (pieces.length !== 2) throw new Error(`"${mutation.find}" is in ${file} ${pieces.length - 1} times`)
        source = pieces.join(mutation.replace)
        patched++
      }
      const out = join(folder, file.replace(/\.ts$/, '.js'))
      mkdirSync(dirname(out), { recursive: true })
      writeFileSync(out, transpiled(source))
    }
  }
  if (mutation !== null && patched !== 1) throw new Error(`${mutation.file} does not exist`)
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
}

export interface SeedsResult {
  /** How many ran. */
  readonly seeds: number
  readonly failed: number
  readonly commits: number
  readonly failures: readonly { readonly seed: number; readonly profile: string; readonly why: string }[]
}

export interface SeedsOptions {
  /** One profile for all seeds; every profile in turn by default. */
  readonly profile?: string | undefined
  /** Ends at this many failures. */
  readonly enough?: number
}

/** Runs a range of seeds in a child process. */
export function runSeeds(
  folder: string,
  from: number,
  count: number,
  options: SeedsOptions = {},
): Promise<SeedsResult> {
  const { profile = '', enough = '' } = options
  const args = [join(folder, 'test/sim/main.js'), `${from}`, `${count}`, profile, `${enough}`]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => {
    out += data
  })
  child.stderr.on('data', (data: Buffer) => {
    err += data
  })
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(out) as SeedsResult)
      else reject(new Error(`the simulator exited with ${code}: ${err.slice(-2_000)}`))
    })
  })
}
