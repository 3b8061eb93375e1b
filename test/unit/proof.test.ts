/** docs/proof.md is honest: every required case is shown by a test that exists, or listed as not shown yet. */
import { readFileSync } from 'node:fs'
import t from 'tap'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

const numbers = (text: string) =>
  text.split(' ').flatMap((part) => {
    const [from = 0, to = from] = part.split('-').map(Number)
    return Array.from({ length: to - from + 1 }, (_, i) => from + i)
  })
const CASES = numbers('2-6 9-12 22-27 29-38 41-42 46 51-55 59-60 77-78 81 84-86 92').map((n) => `T${n}`)
const LAWS = numbers('1-5 7 9-10').map((n) => `S${n}`)

t.test('every required case is in one of the tables, and every named test exists', async (t) => {
  const [shown = '', missing = ''] = read('docs/proof.md').split('## Not shown yet')
  const rows = [...shown.matchAll(/^\| ([TS]\d+(?: file)?) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$/gm)]
  const open = [...missing.matchAll(/^\| ([TS]\d+(?: file)?) \|/gm)].map((match) => match[1]!)
  for (const [, id, file, name] of rows) {
    t.ok(read(file!.trim()).includes(name!.trim()), `${id}: "${name!.trim()}" is in ${file}`)
  }
  const beyond = [
    ...(shown.split('## Beyond the list')[1] ?? '').matchAll(/^\| ([^|]+) \| (test\/[^|]+) \| ([^|]+) \|$/gm),
  ]
  t.ok(beyond.length > 0, 'there is more than the list')
  for (const [, what, file, name] of beyond) {
    t.ok(read(file!.trim()).includes(name!.trim()), `${what}: "${name!.trim()}" is in ${file}`)
  }
  const proved = rows.map(([, id]) => id!)
  for (const id of CASES) t.not(proved.includes(id), open.includes(id), `${id} is in exactly one table`)
  for (const id of LAWS) {
    t.ok(proved.includes(id) || open.includes(id), `${id} for postgres`)
    t.ok(proved.includes(`${id} file`) || open.includes(`${id} file`), `${id} for files`)
  }
})
