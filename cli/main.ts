#!/usr/bin/env node
import { processIo } from './io.js'
import { main } from './program.js'

// A reader that went away (`tidemark schema | head`) is no failure; sync stops at a checkpoint when it happens.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

// Open handles of drivers must not keep a finished command alive; what it wrote has left by now.
process.exit(await main(process.argv.slice(2), processIo()))
