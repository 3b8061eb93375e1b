#!/usr/bin/env node
import { processIo, stdoutFailure } from './io.js'
import { createLog } from './log.js'
import { main } from './program.js'

const io = processIo()
// Commands say themselves when stdout failed; a reader that went away (`tidemark schema | head`) is no failure, and when
// stderr is gone, as that of a closed terminal, nobody is left to tell.
let unsaid: unknown = null
process.stdout.on('error', (error) => {
  unsaid = error
})
process.stderr.on('error', () => {})

let code = await main(process.argv.slice(2), io)
// The last write's failure is told of a turn later.
await new Promise((resolve) => setImmediate(resolve))
const failure = unsaid === null ? null : stdoutFailure(unsaid)
if (code === 0 && failure !== null) {
  createLog(io, 'text').error(failure)
  code = failure.exitCode
}
// Open handles of drivers must not keep a finished command alive; what it wrote has left by now.
process.exit(code)
