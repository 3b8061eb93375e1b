import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Libraries that a process has loaded once it knows every connector, by package. */
function loaded(): string[] {
  const program = `
    import { createRequire } from 'node:module'
    import '${new URL('../../config/registry.ts', import.meta.url)}'
    const files = Object.keys(createRequire(import.meta.url).cache)
    console.log(JSON.stringify(files))`
  const args = ['--import=tsx', '--input-type=module', '-e', program]
  const files = JSON.parse(execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })) as string[]
  return files.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file.replaceAll('\\', '/'))?.[1] ?? [])
}

t.test('knowing a connector loads none of the large libraries that it uses', async (t) => {
  const packages = new Set(loaded())
  t.ok(packages.has('pg'), 'the list tells what is loaded')
  for (const name of [
    'kafkajs',
    'mysql2',
    '@vlasky/zongji',
    'snappy',
    'lz4-napi',
    '@mongodb-js/zstd',
    '@node-rs/crc32',
  ])
    t.notOk(packages.has(name), name)
})
