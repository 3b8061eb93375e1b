/**
 * Avro messages, judged by a registry and a reader that are not ours: Apicurio takes the schemas, and fastavro reads the
 * bytes with the schema that the registry returns for their id. Their values must be those of debezium-json.
 */
import { spawnSync } from 'node:child_process'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import t from 'tap'
import { z } from 'zod'
import type { Change, ChangeBatch, Row, TableSchema } from '../../core/model.js'
import { NULL_LENGTH } from '../../core/packed-rows.js'
import { createMessageFormat, type MessageFormat } from '../../sinks/formats/messages.js'
import { messageFormatFrom, messageFormatOptions } from '../../sinks/message-format.js'
import { messageBytes } from '../support/format-messages.js'
import { ROW_1, ROW_3 } from '../support/format-rows.js'
import {
  change,
  column,
  columnType,
  keylessTable,
  logOrigin,
  pairTable,
  SNAPSHOT,
  table,
  typesTable,
} from '../support/format-tables.js'
import { pythonWith, startRegistry } from '../support/servers/apicurio.js'

const NOW_MS = 1_795_418_212_062
const options = z.strictObject(messageFormatOptions)
const { signal } = new AbortController()

function formatOf(given: Record<string, unknown>): MessageFormat {
  const parsed = messageFormatFrom(options.parse(given), { logicalName: 's' })
  return createMessageFormat({ ...parsed, clock: () => NOW_MS, runId: 'run' })
}

const topicOf = ({ namespace, name }: TableSchema): string => `s.${namespace}.${name}`

function rows(
  schema: TableSchema,
  changes: readonly Change[],
  origin: ChangeBatch['origin'] = logOrigin(7n),
): ChangeBatch {
  return { kind: 'rows', schema, origin, changes, bytes: 0 }
}

/** What fastavro reads: bytes in base64 and integers as text, as in our own expectation. */
const READER = `
import base64, datetime, decimal, fastavro, io, json, struct, sys, urllib.request
# Bytes and numbers as they are: no logical types.
for name in list(fastavro.read.LOGICAL_READERS): fastavro.read.LOGICAL_READERS.pop(name)
schemas = {}
def schema_of(url, id):
    if id not in schemas:
        with urllib.request.urlopen(f"{url}/schemas/ids/{id}") as answer:
            schemas[id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return schemas[id]
def plain(value):
    if isinstance(value, bytes): return base64.b64encode(value).decode()
    if isinstance(value, bool) or value is None: return value
    if isinstance(value, int): return f"number {value}"
    if isinstance(value, float): return f"float {value!r}" if value == value and abs(value) != float("inf") else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]
    if isinstance(value, list): return [plain(v) for v in value]
    if isinstance(value, dict): return {k: plain(v) for k, v in value.items()}
    return value
request = json.load(sys.stdin)
out = []
for text in request["messages"]:
    data = base64.b64decode(text)
    magic, id = struct.unpack(">bI", data[:5])
    assert magic == 0
    stream = io.BytesIO(data[5:])
    value = fastavro.schemaless_reader(stream, schema_of(request["url"], id), None)
    assert stream.read() == b"", "bytes are left"
    out.append(plain(value))
json.dump(out, sys.stdout)
`

function readAvro(url: string, messages: readonly Buffer[]): unknown[] {
  const input = JSON.stringify({ url, messages: messages.map((message) => message.toString('base64')) })
  const python = pythonWith('fastavro', 'fastavro==1.13.1')
  const { stdout, stderr, status } = spawnSync(python, ['-c', READER], { input, encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as unknown[]
}

/** Our JSON in the same terms: integers as tokens, floats as the double they are. */
function expected(json: string): unknown {
  const quoted = json.replace(/("(?:[^"\\]|\\.)*")|(-?\d[\d.eE+-]*)/g, (_, text, number) => {
    if (text !== undefined) return text
    return /[.eE]/.test(number) ? `"float ${Number(number)}"` : `"number ${number}"`
  })
  return JSON.parse(quoted)
}

const floats = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value).replace(/"float ([^"]*)"/g, (_, text) => `"float ${Number(text)}"`))

/** Both formats' messages of the same batches, keys and values. */
async function both(url: string, given: Record<string, unknown>, batches: readonly ChangeBatch[]) {
  const avro = formatOf({ 'value.format': 'avro', 'schema.registry.url': url, ...given })
  const json = formatOf(given)
  await avro.prepare(
    batches.map(({ schema }) => schema),
    topicOf,
    signal,
  )
  const bytes: Buffer[] = []
  const want: unknown[] = []
  for (const batch of batches) {
    const [ours, theirs] = [avro.encode(batch), json.encode(batch)]
    if (ours.count !== theirs.count) throw new Error('another number of messages')
    for (let i = 0; i < ours.count; i++) {
      const [a, j] = [messageBytes(ours, i), messageBytes(theirs, i)]
      for (const part of ['key', 'value'] as const) {
        if ((a[part] === null) !== (j[part] === null)) throw new Error(`message ${i}: ${part}`)
        if (a[part] === null) continue
        bytes.push(Buffer.from(a[part]))
        want.push(expected(j[part]!.toString()))
      }
    }
  }
  return { got: readAvro(url, bytes).map(floats), want }
}

t.test('a registry and a reader that are not ours', async (t) => {
  const { url } = await startRegistry(t)

  t.test('every type, under every mode', async (t) => {
    const schema = typesTable('types', { generated: false })
    const [one, three] = [ROW_1.slice(0, -1), ROW_3.slice(0, -1)]
    const nulls = one.map((_, i) => (i === 0 ? '2' : schema.columns[i]!.nullable ? null : '7'))
    const keyOnly = one.map((value, i) => (i === 0 ? value : undefined))
    const toast = one.map((value, i) => (schema.columns[i]!.name === 'c_text' ? undefined : value))
    const modes = [
      {},
      { 'decimal.handling.mode': 'string', 'time.precision.mode': 'connect' },
      {
        'decimal.handling.mode': 'double',
        'time.precision.mode': 'isostring',
        'interval.handling.mode': 'string',
        'binary.handling.mode': 'base64',
        'include.unknown.datatypes': true,
      },
      { 'time.precision.mode': 'nanoseconds', 'binary.handling.mode': 'hex', 'hstore.handling.mode': 'map' },
    ]
    for (const [i, mode] of modes.entries()) {
      const own = { ...schema, name: `types${i}`, fingerprint: `types${i}` }
      const { got, want } = await both(url, mode, [
        rows(
          own,
          [one, three, nulls].map((row) => change('r', null, row, 800)),
          SNAPSHOT,
        ),
        rows(own, [
          change('c', null, three, 801),
          change('u', null, toast, 802),
          change('u', one, three, 803),
          change('d', keyOnly, null, 2n ** 62n),
        ]),
        { kind: 'truncate', schema: own, origin: logOrigin(7n), at: 9, bytes: 0 },
      ])
      t.strictSame(got, want, JSON.stringify(mode))
      t.equal(got.length, 19)
    }
  })

  t.test('integers of every size, text of every length, packed rows', async (t) => {
    const schema = table('wide', [
      column('id', columnType('int64', 'int8'), { nullable: false }),
      column('text', columnType('string', 'text'), { defaultValue: 'x' }),
      column('n', columnType('decimal', 'numeric', { precision: 30, scale: 4 }), {
        nullable: false,
        defaultValue: '1.5',
      }),
      column('odd name-1', columnType('int32', 'int4')),
    ])
    const all: Row[] = []
    for (let bit = 0; bit < 64; bit++) {
      for (const delta of [-1n, 0n, 1n]) {
        for (const sign of [-1n, 1n]) {
          const id = BigInt.asIntN(64, sign * (1n << BigInt(bit)) + delta)
          all.push([`${id}`, bit % 7 ? 'é'.repeat(bit * 3) : null, `${id}.${bit % 10}000`, `${bit - 30}`])
        }
      }
    }
    const texts = all.flat()
    const bytes = Buffer.concat([Buffer.from(texts.join('')), Buffer.alloc(4)])
    const places = new Int32Array(2 * texts.length)
    let at = 0
    texts.forEach((value, i) => {
      const length = value === null ? NULL_LENGTH : Buffer.byteLength(value as string)
      places.set([at, length], 2 * i)
      at += Math.max(length, 0)
    })
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const changes = all.map((row) => change('r', null, row, 800))
    const packed = { count: all.length, rows: () => all, last: () => all[0]!, values: () => ({ bytes, view, places }) }
    const { got, want } = await both(url, {}, [
      rows(schema, changes, SNAPSHOT),
      { ...rows(schema, changes, SNAPSHOT), packed } as ChangeBatch,
    ])
    // The reader knows the columns by the names that Avro allows.
    const renamed = JSON.parse(JSON.stringify(want).replaceAll('odd name-1', 'odd_name_1'))
    t.strictSame(got, renamed)
    t.equal(got.length, 4 * all.length)
  })

  t.test('keyless tables, key changes, tombstones, subjects', async (t) => {
    const pair = { ...pairTable(), name: 'pair', fingerprint: 'avro-pair' }
    const { got, want } = await both(url, {}, [
      rows(keylessTable(), [change('c', null, ['1', 'x'], 1), change('d', ['1', 'x'], null, 2)]),
      rows(pair, [change('u', ['1', 'x', undefined], ['1', 'y', 'v'], 3)]),
    ])
    t.strictSame(got, want)
    const record = formatOf({
      'value.format': 'avro',
      'schema.registry.url': url,
      'key.subject.name.strategy': 'RecordNameStrategy',
      'value.subject.name.strategy': 'io.confluent.kafka.serializers.subject.TopicRecordNameStrategy',
    })
    await record.prepare([pair], () => 'elsewhere', signal)
    const subjects = (await (await fetch(`${url}/subjects`)).json()) as string[]
    for (const subject of [
      's.public.pair-key',
      's.public.pair-value',
      's.public.nopk-value',
      's.public.pair.Key',
      'elsewhere-s.public.pair.Envelope',
    ]) {
      t.ok(subjects.includes(subject), subject)
    }
    t.notOk(subjects.includes('s.public.nopk-key'), 'no key, no schema for it')
    const messages = record.encode(rows(pair, [change('u', ['1', 'x', undefined], ['1', 'y', 'v'], 3)]))
    t.strictSame(messages.headers[messages.headerOf[0]!]![0], ['__debezium.newkey', Buffer.from('{"a":1,"b":"y"}')])
  })

  t.test('JSON Schema', async (t) => {
    const schema = { ...pairTable(true), name: 'json', fingerprint: 'json-pair' }
    const format = formatOf({ 'value.format': 'json-schema', 'schema.registry.url': url })
    await format.prepare([schema], topicOf, signal)
    const batch = rows(schema, [change('c', null, ['1', 'x', null, '9'], 3)])
    const { key, value } = messageBytes(format.encode(batch), 0)
    t.equal(key!.subarray(5).toString(), '{"a":1,"b":"x"}')
    t.match(value!.subarray(5).toString(), /^\{"before":null,"after":\{"a":1,"b":"x","v":null,"w":9\},"source":/)
    const answer = (await (await fetch(`${url}/schemas/ids/${value!.readInt32BE(1)}`)).json()) as {
      schema: string
      schemaType: string
    }
    t.equal(answer.schemaType, 'JSON')
    t.equal(JSON.parse(answer.schema).title, 's.public.json.Envelope')
  })

  t.test('an incompatible change is explained', async (t) => {
    const one = { ...pairTable(), name: 'strict', fingerprint: 'strict-1' }
    const format = formatOf({ 'value.format': 'avro', 'schema.registry.url': url })
    await format.prepare([one], topicOf, signal)
    const config = {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"compatibility":"BACKWARD"}',
    }
    t.equal((await fetch(`${url}/config/s.public.strict-value`, config)).status, 200)
    const other = {
      ...one,
      fingerprint: 'strict-2',
      columns: one.columns.map((c) =>
        c.name === 'v' ? { ...c, type: columnType('int64', 'int8'), nullable: false } : c,
      ),
    }
    await t.rejects(format.prepare([other], topicOf, signal), {
      code: 'registry.incompatible',
      message: /strict-value/,
    })
    t.throws(() => format.encode(rows(other, [])), { code: 'core.bug' })
    const off = formatOf({ 'value.format': 'avro', 'schema.registry.url': url, 'auto.register.schemas': false })
    await off.prepare([one], topicOf, signal)
    await t.rejects(off.prepare([{ ...one, name: 'unknown', fingerprint: 'unknown' }], topicOf, signal), {
      code: 'registry.not_registered',
    })
  })
})

t.test('names that collide', async (t) => {
  const schema = table('odd', [column('a b', columnType('int32', 'int4')), column('a-b', columnType('int32', 'int4'))])
  const format = formatOf({ 'value.format': 'avro', 'schema.registry.url': 'http://127.0.0.1:9' })
  await t.rejects(format.prepare([schema], topicOf, signal), {
    code: 'format.name_collision',
    message: 'Columns "a b" and "a-b" of table public.odd have the same name in Avro: a_b.',
  })
})

t.test('an outage is waited for, a refusal is not', async (t) => {
  const asked: IncomingMessage[] = []
  let answer: (response: ServerResponse, n: number) => void = () => {}
  const server = createServer((request, response) => {
    request.resume()
    asked.push(request)
    answer(response, asked.length)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as { port: number }
  const waits: string[] = []
  const formatWith = (more: object) => {
    const given = options.parse({
      'value.format': 'avro',
      'schema.registry.url': `http://127.0.0.1:1, http://127.0.0.1:${port}/`,
      'schema.registry.basic.auth.user.info': 'me:secret',
    })
    const made = messageFormatFrom(given, { logicalName: 's' })
    const registry = { ...made.subjects!.registry, onWait: (message: string) => waits.push(message), ...more }
    return createMessageFormat({ ...made, subjects: { ...made.subjects!, registry } })
  }
  answer = (response, n) => {
    if (n < 3) response.writeHead(503).end()
    else if (n === 3) response.destroy()
    else response.end(`{"id":${n}}`)
  }
  const format = formatWith({})
  await format.prepare([pairTable()], topicOf, signal)
  t.ok(waits.length >= 3, `waited ${waits.length} times`)
  t.match(waits.join(), /503/)
  t.equal(asked[0]!.headers.authorization, `Basic ${Buffer.from('me:secret').toString('base64')}`)
  t.equal(asked[0]!.url, '/subjects/s.public.types_pk2-key/versions')

  answer = (response) => response.writeHead(401).end('{"error_code":401,"message":"who are you"}')
  await t.rejects(formatWith({}).prepare([pairTable()], topicOf, signal), {
    code: 'registry.refused',
    message: /who are you/,
    fix: /credentials/,
  })
  answer = (response) => response.writeHead(500).end()
  await t.rejects(formatWith({ holdMs: 300 }).prepare([pairTable()], topicOf, signal), {
    code: 'registry.unavailable',
    retriable: true,
  })
  const stop = new AbortController()
  const held = formatWith({ onWait: () => stop.abort(new Error('enough')) }).prepare(
    [pairTable()],
    topicOf,
    stop.signal,
  )
  await t.rejects(held, { message: 'enough' }, 'the signal ends the wait')
})
