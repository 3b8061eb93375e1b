// `npm ci` in a clone builds dist; an install without dev dependencies uses the dist it was shipped with.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const compiler = `${root}node_modules/typescript/bin/tsc`

if (existsSync(compiler)) {
  const built = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
  process.exit(built.status ?? 1)
}
if (existsSync(`${root}dist/cli/main.js`)) {
  console.error('tidemark: the TypeScript compiler is not installed, using the dist folder as it is')
  process.exit(0)
}
console.error('tidemark: no TypeScript compiler and no dist folder. Run: npm install --include=dev')
process.exit(1)
