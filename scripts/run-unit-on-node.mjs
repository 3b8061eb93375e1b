// Runs the unit suite on another Node release, from npm: node scripts/run-unit-on-node.mjs 22
// The binary is kept in .servers/ of the clone, so that only the first run downloads.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { arch, platform } from 'node:os'
import { fileURLToPath } from 'node:url'

const VERSIONS = { 22: '22.23.3', 24: '24.21.0' }

const root = fileURLToPath(new URL('..', import.meta.url))
const version = VERSIONS[process.argv[2] ?? '']
if (!version) {
  console.error(`Usage: node scripts/run-unit-on-node.mjs ${Object.keys(VERSIONS).join('|')}`)
  process.exit(2)
}

const files = readdirSync(`${root}test/unit`)
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => `test/unit/${name}`)
const done = spawnSync(install(), ['scripts/run-tap.mjs', `unit-node-${process.argv[2]}`, ...files], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
})
process.exit(done.status ?? 1)

function install() {
  const folder = `${root}.servers/node-${version}`
  // The package `node` downloads the one for its platform in a script; asking for that one needs no script.
  const name = `node-${platform()}-${arch()}`
  const program = `${folder}/node_modules/${name}/bin/node`
  if (existsSync(program)) return program
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}/package.json`, '{"private": true}\n')
  console.error(`installing Node ${version} (npm package ${name}) into ${folder}`)
  const args = ['install', '--no-save', '--no-audit', '--no-fund', `${name}@${version}`]
  const installed = spawnSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  if (installed.status !== 0 || !existsSync(program)) {
    console.error(`npm failed. Run it by hand:\n  cd ${folder} && npm ${args.join(' ')}`)
    process.exit(1)
  }
  return program
}
