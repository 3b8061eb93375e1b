// Makes the program out of what the compiler wrote: a few files instead of some 700 modules, because finding and reading
// those costs more than half of the time and processor that a short command takes. Libraries that only some connectors
// need are not in it (drivers/on-demand.ts), nor are native ones; the library in dist/ stays as compiled.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'dist/bin')

rmSync(folder, { recursive: true, force: true })
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: { tidemark: 'dist/cli/main.js' },
  outdir: folder,
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  // A native package that nobody has installed; pg does without.
  external: ['pg-native'],
  // CommonJS packages inside ask for Node's own modules by require().
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module';const require = requireFrom(import.meta.url);",
  },
  metafile: true,
  logLevel: 'warning',
})
writeFileSync(join(folder, 'LICENSES.txt'), licenses(Object.keys(metafile.inputs)))

/** Of every package that is in the bundle, as their terms ask for. */
function licenses(inputs) {
  const packages = new Set(inputs.flatMap((input) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input) ?? []))
  return [...packages].sort().map(licenseOf).join('\n\n')
}

function licenseOf(path) {
  const { name, version, license } = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'))
  const file = readdirSync(join(root, path)).find((entry) => /^licen[cs]e/i.test(entry))
  const text = file === undefined ? '' : readFileSync(join(root, path, file), 'utf8').trim()
  if (!license && !text) throw new Error(`${path} does not say under which license it is`)
  return `${name} ${version} (${license})\n\n${text}`.trim()
}
