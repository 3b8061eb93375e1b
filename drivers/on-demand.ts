/**
 * Libraries of a driver, loaded when something first uses them: the command line knows every connector, and a pipeline
 * between two databases must not pay for the libraries of all others at its start and in its memory.
 */
import { createRequire } from 'node:module'

const load = createRequire(import.meta.url)

/** `name`: of a CommonJS package, or of a file in it. */
export function onDemand<Library>(name: string): () => Library {
  let library: Library | undefined
  return () => {
    library ??= load(name) as Library
    return library
  }
}
