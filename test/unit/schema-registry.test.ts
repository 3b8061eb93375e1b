/** The schema registry's client against a server of the test's own: what it says while it waits, what check says. */
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createMessageFormat } from '../../sinks/formats/messages.js'
import { SchemaRegistry } from '../../sinks/formats/schema-registry.js'
import { checkRegistry } from '../../sinks/kafka/check-registry.js'
import { kafkaSinkOptions } from '../../sinks/kafka/options.js'
import { messageFormatFrom } from '../../sinks/message-format.js'
import { pairTable } from '../support/format-tables.js'

const { signal } = new AbortController()
/** Nothing listens there. */
const NOWHERE = 'http://127.0.0.1:1'

async function registry(t: Test, answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const optionsOf = (url: string, more: Record<string, unknown> = {}) =>
  kafkaSinkOptions.parse({
    'properties.bootstrap.servers': 'localhost:9092',
    'value.format': 'avro',
    'schema.registry.url': url,
    ...more,
  })

const json = { 'content-type': 'application/vnd.schemaregistry.v1+json' }

t.test('a wait says why at once, not with every attempt, and that it is over', async (t) => {
  let down = 3
  const url = await registry(t, (_, response) => {
    const status = down-- > 0 ? 503 : 200
    response.writeHead(status, json).end(JSON.stringify({ id: 1 }))
  })
  const lines: string[] = []
  const given = messageFormatFrom(optionsOf(url), {
    logicalName: 's',
    onWait: (line) => lines.push(line),
  })
  t.equal(await new SchemaRegistry(given.subjects!.registry).idOf('s', 'AVRO', '{}', signal), 1)
  t.match(lines, [`waiting for the schema registry ${url}, which cannot be used (it answers 503)`, /answers again/])
  t.equal(lines.length, 2)
})

t.test('a registry that cannot be reached is named by the format itself', async (t) => {
  const lines: string[] = []
  const stop = new AbortController()
  const onWait = (line: string) => {
    lines.push(line)
    stop.abort(new Error('enough'))
  }
  const format = createMessageFormat(messageFormatFrom(optionsOf(NOWHERE), { logicalName: 's', onWait }))
  await t.rejects(
    format.prepare([pairTable()], () => 'topic', stop.signal),
    /enough/,
  )
  t.match(lines[0], `waiting for the schema registry ${NOWHERE}`)
  t.throws(() => optionsOf(NOWHERE.replace('//', '//me:secret@')), /schema\.registry\.basic\.auth\.user\.info/)
})

t.test('check asks every address', async (t) => {
  const good = await registry(t, (_, response) => response.writeHead(200, json).end('[]'))
  const denied = await registry(t, (_, response) => response.writeHead(401, json).end('{}'))
  const page = await registry(t, (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>'))
  const found = async (...urls: string[]) =>
    (await checkRegistry(optionsOf(urls.join(',')), signal)).map((f) => `${f.level} ${f.subject} ${f.message} ${f.fix}`)
  t.match(await found(good), [`ok ${good} the schema registry answers`])
  t.match(await found(NOWHERE), [`problem ${NOWHERE} the schema registry cannot be reached: `])
  t.match(await found(denied), [/^problem .* refuses us \(401\) .*schema\.registry\.basic\.auth/])
  t.match(await found(page), [/^problem .* is no schema registry: 200 for \/subjects /])
  t.match(await found(good, NOWHERE), [/^ok /, /^warning /])
  t.same(await checkRegistry(optionsOf(NOWHERE, { 'value.format': 'row-json' }), signal), [], 'nobody needs it')
})
