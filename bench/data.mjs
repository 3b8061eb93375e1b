// The data of every figure: rows of ten mixed columns, the same on every machine (a seeded generator, no clock).
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'

export const TABLE = `create table t(id bigint primary key, a int not null, b smallint, name varchar(64), body text,
  price numeric(18,4), score double precision, created timestamp(6), day date, flag smallint)`

const WORDS =
  'lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua'.split(
    ' ',
  )

/** Writes `rows` lines of COPY text to `file`, ids from `first`. */
export async function writeRows(file, rows, first = 1) {
  let seed = 42
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    return seed / 0x7fffffff
  }
  const out = createWriteStream(file)
  let text = ''
  for (let id = first; id < first + rows; id++) {
    const at = new Date(1.6e12 + id * 1013).toISOString()
    const created = `${at.replace('T', ' ').replace('Z', '')}${String(id % 1000).padStart(3, '0')}`
    const body = Array.from({ length: 12 }, () => WORDS[(random() * WORDS.length) | 0]).join(' ')
    const price = ((random() * 2e13 - 1e13) / 1e4).toFixed(4)
    text += `${id}\t${(random() * 2e9 - 1e9) | 0}\t${(random() * 60000 - 30000) | 0}\tuser-${((random() * 1e9) | 0).toString(36)}@example.com\t${body}\t${price}\t${random() * 1e6}\t${created}\t${at.slice(0, 10)}\t${id & 1}\n`
    if (text.length > 1 << 20) {
      if (!out.write(text)) await once(out, 'drain')
      text = ''
    }
  }
  out.end(text)
  await once(out, 'finish')
}
