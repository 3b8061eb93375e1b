/** `tidemark schema`: the JSON Schema of pipeline files, for editors and other tools. */
import type { Command } from 'commander'
import { pipelineFileSchema } from '../config/reference.js'
import { example, print } from './command.js'
import { EXIT, type Io } from './io.js'

export function schemaCommand(command: Command, io: Io, done: (code: number) => void): void {
  command.description('Print the JSON Schema of pipeline files.').action(async () => {
    const registry = await io.registry()
    await print(io, JSON.stringify(pipelineFileSchema(registry), null, 2))
    done(EXIT.done)
  })
  example(command, 'tidemark schema > pipeline.schema.json')
}
