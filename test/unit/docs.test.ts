import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { errorsMarkdown, pipelineFileSchema, referenceMarkdown } from '../../config/reference.js'
import { BUILT_IN } from '../../config/registry.js'
import { ERROR_CODES } from '../../core/error-codes.js'
import { fakeConnectors } from '../support/fake-connectors.js'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

t.test('generated documents are current (npm run docs)', async (t) => {
  t.equal(read('docs/reference.md'), referenceMarkdown(BUILT_IN))
  t.equal(read('docs/reference.schema.json'), `${JSON.stringify(pipelineFileSchema(BUILT_IN), null, 2)}\n`)
  t.equal(read('docs/errors.md'), errorsMarkdown())
})

t.test('every error code is documented, and every documented code exists', async (t) => {
  const documented = [...read('docs/errors.md').matchAll(/^\| `([a-z_.]+)` \|/gm)].map((match) => match[1]!)
  t.same(documented, Object.keys(ERROR_CODES).sort())
})

t.test('every error code is raised somewhere', async (t) => {
  const folders = ['core', 'drivers', 'connectors', 'sinks', 'config', 'cli']
  const files = folders.flatMap((folder) =>
    readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' }).map((name) => `${folder}/${name}`),
  )
  const sources = files.filter((path) => path.endsWith('.ts') && path !== 'core/error-codes.ts').map(read)
  for (const code of Object.keys(ERROR_CODES))
    t.ok(
      sources.some((text) => text.includes(`'${code}'`)),
      code,
    )
})

t.test('the reference names every option and what is required', async (t) => {
  const text = referenceMarkdown(fakeConnectors().registry)
  t.match(text, /^## source: postgres$/m)
  t.match(text, /^\| `tables` \| text, list \| required \| Tables to copy\. \|$/m)
  t.match(text, /^\| `port` \| whole number \| `5432` \| {2}\|$/m)
  t.match(text, /^\| `scan\.startup\.mode` \| `initial`, `latest-offset`, `snapshot` \| `"initial"` \|/m)
  t.match(text, /^\| `pipeline\.schema\.change\.behavior` \|/m)
})

t.test('every option of every connector says what it is for', async (t) => {
  for (const { connector, options } of [...BUILT_IN.sources, ...BUILT_IN.sinks]) {
    const schema = pipelineFileSchema({ sources: [{ connector, options, summary: '' } as never], sinks: [] })
    const [shape] = (schema.properties?.source?.oneOf ?? []) as {
      properties?: Record<string, { description?: string }>
    }[]
    for (const [name, about] of Object.entries(shape?.properties ?? {})) {
      if (name !== 'type') t.ok(about.description, `${connector}: ${name}`)
    }
  }
})
