// What this machine's single thread can do at all with the rows of data.mjs: COPY text cut at newlines and tabs and glued
// into strings that look like envelopes. It checks nothing, resumes nothing, knows ten columns of one table, and is no part
// of Tidemark: it turns "rows/s" on one machine into a figure that can be compared with another's.
// Usage: node bench/bare-loop.mjs URL; prints {rows, bytes, seconds}.
import pg from 'pg'
import { to } from 'pg-copy-streams'

const COLUMNS = ['id', 'a', 'b', 'name', 'body', 'price', 'score', 'created', 'day', 'flag']
const NUMBERS = new Set(['id', 'a', 'b', 'price', 'score', 'flag'])
const TAIL = `},"source":{"version":"1","connector":"postgresql","name":"bare","ts_ms":1700000000000,"snapshot":"true","db":"bench","schema":"public","table":"t","txId":700,"lsn":23456789},"op":"r","ts_ms":1700000000000}\n`
const TEXT_CHARS_MAX = 64 * 1024

const client = new pg.Client({ connectionString: process.argv[2] })
await client.connect()
const room = Buffer.allocUnsafe(4 * TEXT_CHARS_MAX)
let rows = 0
let bytes = 0
let rest = ''
let text = ''
const start = performance.now()
const stream = client.query(to('copy t to stdout'))
stream.setEncoding('utf8')
for await (const chunk of stream) {
  const lines = (rest + chunk).split('\n')
  rest = lines.pop()
  for (const line of lines) {
    const values = line.split('\t')
    text += '{"before":null,"after":{'
    for (let i = 0; i < COLUMNS.length; i++) {
      const value = values[i]
      text += `${i > 0 ? ',"' : '"'}${COLUMNS[i]}":`
      text += value === '\\N' ? 'null' : NUMBERS.has(COLUMNS[i]) ? value : `"${value}"`
    }
    text += TAIL
    rows++
    if (text.length > TEXT_CHARS_MAX) flush()
  }
}
flush()
const seconds = (performance.now() - start) / 1000
await client.end()
console.log(JSON.stringify({ rows, bytes, seconds }))

function flush() {
  bytes += room.write(text, 0, 'utf8')
  text = ''
}
