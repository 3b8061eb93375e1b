import { Option } from 'commander'

export type OutputFormat = 'text' | 'json'

export function outputOption(): Option {
  return new Option('-o, --output <format>', 'how stdout is written').choices(['text', 'json']).default('text')
}
