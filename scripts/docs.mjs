// Writes the generated documents from the built program: npm run docs.
import { writeFileSync } from 'node:fs'
import { errorsMarkdown, pipelineFileSchema, referenceMarkdown } from '../dist/config/reference.js'
import { BUILT_IN } from '../dist/config/registry.js'

const write = (name, text) => writeFileSync(new URL(`../docs/${name}`, import.meta.url), text)
write('reference.md', referenceMarkdown(BUILT_IN))
write('reference.schema.json', `${JSON.stringify(pipelineFileSchema(BUILT_IN), null, 2)}\n`)
write('errors.md', errorsMarkdown())
