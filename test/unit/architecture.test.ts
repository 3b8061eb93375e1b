import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { brokenArrows, brokenShapes, PRODUCT_FOLDERS, readSources } from '../support/architecture.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const product = readSources(ROOT, PRODUCT_FOLDERS)
const packageJson = JSON.parse(read('package.json')) as {
  scripts: Record<string, string>
  version: string
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
}

t.test('the import arrows hold', async (t) => {
  t.ok(product.length > 20, `${product.length} files`)
  t.same(brokenArrows(product), [])
})

t.test('a file that breaks an arrow is found', async (t) => {
  const broken: [path: string, text: string, expected: RegExp][] = [
    ['core/a.ts', `import { x } from '../drivers/postgres.js'`, /core must not know drivers/],
    ['core/testing/a.ts', `import type { X } from '../../sinks/file/index.js'`, /core must not know sinks/],
    ['core/a.ts', `export { x } from '../config/blocks.js'`, /core must not know config/],
    ['core/a.ts', `type X = import('../cli/io.js').Io`, /core must not know cli/],
    ['core/a.ts', `const x = await import('../cli/io.js')`, /core must not know cli/],
    ['core/a.ts', `import pg from 'pg'`, /only drivers\/postgres\*\.ts may/],
    ['drivers/postgres.ts', `import { x } from '../connectors/index.js'`, /drivers must not know connectors/],
    ['drivers/mysql.ts', `import pg from 'pg'`, /only drivers\/postgres\*\.ts may/],
    ['drivers/mysql.ts', `const pg = onDemand<Pg>('pg')`, /only drivers\/postgres\*\.ts may/],
    ['connectors/postgres/a.ts', `import { x } from '../../sinks/postgres/index.js'`, /connectors must not know sinks/],
    ['connectors/postgres/a.ts', `import { from } from 'pg-copy-streams'`, /only drivers\/postgres\*\.ts may/],
    ['sinks/file/a.ts', `import { x } from '../../connectors/index.js'`, /sinks must not know connectors/],
    ['config/a.ts', `import { x } from '../cli/io.js'`, /config must not know cli/],
    ['cli/a.ts', `import pg from 'pg'`, /only drivers\/postgres\*\.ts may/],
    ['cli/a.ts', `import x from 'left-pad'`, /no rule/],
    ['core/a.ts', `import { x } from './b'`, /\.js suffix/],
  ]
  for (const [path, text, expected] of broken) {
    const found = brokenArrows([{ path, text }])
    t.equal(found.length, 1, `${path}: ${text}`)
    t.match(found[0], expected)
  }
  const right = [
    { path: 'drivers/postgres-copy.ts', text: `import { from } from 'pg-copy-streams'\nimport '../core/errors.js'` },
    { path: 'cli/sync.ts', text: `import { Command } from 'commander'\nimport { readFileSync } from 'node:fs'` },
    { path: 'core/a.ts', text: `// import pg from 'pg'\nconst text = "import pg from 'pg'"` },
  ]
  t.same(brokenArrows(right), [])
})

t.test('named exports, telling names, files of a readable length', async (t) => {
  t.same(brokenShapes([...product, ...readSources(ROOT, ['test/support'])]), [])
  const broken = [
    { path: 'core/a.ts', text: 'export default 1' },
    { path: 'core/b.ts', text: 'export default function b() {}' },
    { path: 'core/utils.ts', text: '' },
    { path: 'core/camelCase.ts', text: '' },
    { path: 'core/long.ts', text: '\n'.repeat(401) },
  ]
  t.equal(brokenShapes(broken).length, broken.length)
})

t.test('the documents say what is there', async (t) => {
  const readme = read('README.md')
  t.ok(readme.indexOf('npm ci && npx tidemark demo') > 0, 'the first command')
  t.ok(readme.indexOf('npm ci && npm run test:all') > readme.indexOf('npm ci && npx tidemark demo'), 'the second one')
  t.match(read('.ci/run'), /^attempt npm run test:all$/m)
  for (const name of ['test', 'test:unit', 'test:servers', 'test:all', 'prepare']) t.ok(packageJson.scripts[name], name)
  t.match(read('CHANGELOG.md'), new RegExp(`^## (Unreleased|${packageJson.version.replaceAll('.', '\\.')})`, 'm'))
  t.match(read('LICENSE'), /Apache License\s+Version 2\.0, January 2004/)
  const documents = [
    'README.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    ...markdownIn('docs'),
    ...markdownIn('docs/decisions'),
  ]
  for (const file of documents) {
    for (const [, link = ''] of read(file).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|#|mailto:)/.test(link)) continue
      const target = join(ROOT, dirname(file), link.replace(/#.*$/, ''))
      t.ok(existsSync(target), `${file} links to ${link}`)
    }
    for (const [, script = ''] of read(file).matchAll(/npm run ([\w:-]+)/g)) {
      t.ok(packageJson.scripts[script], `${file} names npm run ${script}`)
    }
  }
})

t.test('each dependency has a decision', async (t) => {
  const decisions = markdownIn('docs/decisions').map(read).join('\n')
  const named = [...Object.keys(packageJson.dependencies), ...Object.keys(packageJson.devDependencies)]
  for (const name of named.filter((name) => !name.startsWith('@types/'))) {
    t.ok(decisions.includes(`\`${name}\``), `${name} is explained in docs/decisions`)
  }
})

t.test('invariants and rules that the code cites are in docs/invariants.md, and the other way round', async (t) => {
  const document = read('docs/invariants.md')
  const listed = new Set([...document.matchAll(/^\| \*\*(I\d|1\.10 [a-z])\*\*/gm)].map((match) => match[1]))
  const cited = new Set<string>()
  for (const { path, text } of product) {
    for (const [cite] of text.matchAll(/\bI[1-9]\b(?!\w)|\b1\.10 [a-l]\b/g)) {
      cited.add(cite)
      t.ok(listed.has(cite), `${path} cites ${cite}`)
    }
  }
  for (const cite of listed) t.ok(cited.has(cite ?? ''), `${cite} is enforced somewhere in the code`)
  for (const [, path = ''] of document.matchAll(
    /`((?:core|drivers|connectors|sinks|config|cli|test)\/[\w./-]+\.ts)`/g,
  )) {
    t.ok(existsSync(join(ROOT, path)), `docs/invariants.md names ${path}`)
  }
})

function markdownIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}/${name}`)
}
