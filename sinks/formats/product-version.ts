import { readFileSync } from 'node:fs'

let version: string | null = null

/** The package's own version, for `source.version`. The file lies above both the sources and the build. */
export function productVersion(): string {
  if (version !== null) return version
  for (const up of ['../../', '../../../']) {
    try {
      const found = JSON.parse(readFileSync(new URL(`${up}package.json`, import.meta.url), 'utf8')) as {
        name?: string
        version?: string
      }
      if (found.name === 'tidemark' && found.version !== undefined) {
        version = found.version
        return version
      }
    } catch {
      // Not at this level: sources and build lie at different depths.
    }
  }
  version = '0.0.0'
  return version
}
