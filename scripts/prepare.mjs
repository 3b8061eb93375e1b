// `npm ci` in a clone builds dist; an install without dev dependencies uses the dist it was shipped with.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiler = `${root}node_modules/typescript/bin/tsc`

if (existsSync(compiler)) {
  const run = (...args) => spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1
  process.exit(run(compiler, '-p', 'tsconfig.build.json') || run('scripts/bundle.mjs'))
}
if (existsSync(`${root}dist/bin/tidemark.js`)) {
  console.error('tidemark: the TypeScript compiler is not installed, using the dist folder as it is')
  process.exit(0)
}
console.error('tidemark: no TypeScript compiler and no dist folder. Run: npm install --include=dev')
process.exit(1)
