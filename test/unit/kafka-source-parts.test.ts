/** The kafka source's parts that need no broker: JSON, types, times, positions, options, and what its tail hands over. */
import t from 'tap'
import { columnType, typeCode, typeOfCode } from '../../connectors/kafka/column-types.js'
import { decimalText } from '../../connectors/kafka/connect-types.js'
import { RecordDecoding } from '../../connectors/kafka/decoding.js'
import { type Json, JsonArray, JsonNumber, JsonObject, parseJson } from '../../connectors/kafka/json.js'
import { kafkaSourceOptions } from '../../connectors/kafka/options.js'
import { formatKafkaPosition, parseKafkaPosition } from '../../connectors/kafka/position.js'
import { KafkaTail, type NewPartition } from '../../connectors/kafka/tail.js'
import { dateText, durationText, isoText, timestampText, timeText } from '../../connectors/kafka/time-text.js'
import { topicMatcher } from '../../connectors/kafka/topics.js'
import type { Position } from '../../core/model.js'
import type { LogBatch } from '../../core/source.js'
import type { KafkaCluster, PartitionBatch } from '../../drivers/kafka.js'
import { random, testSeed } from '../support/seed.js'

const { signal } = new AbortController()

/** As JSON.parse would have it, numbers as doubles. */
function natural(value: Json): unknown {
  if (value instanceof JsonNumber) return Number(value.text)
  if (value instanceof JsonArray) return value.items.map(natural)
  if (value instanceof JsonObject) return Object.fromEntries([...value.fields].map(([k, v]) => [k, natural(v)]))
  return value
}

t.test('JSON is what JSON.parse takes it for, or refused where that refuses it', async (t) => {
  const seed = testSeed()
  t.comment(`TIDEMARK_SEED=${seed}`)
  const { below } = random(seed)
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '"\\u0041\\n"',
    '"☃"',
    ' ',
    '-1.5e3',
    '0',
    '01',
    'true',
    'null',
    'nul',
    '"',
    '\\',
    '\n',
    '"\t"',
    '1.',
    '-',
  ]
  let [taken, refused] = [0, 0]
  const judge = (text: string) => {
    const of = (parse: () => unknown) => {
      try {
        return JSON.stringify(parse())
      } catch {
        return 'refused'
      }
    }
    const want = of(() => JSON.parse(text))
    if (want === 'refused') refused++
    else taken++
    t.equal(
      of(() => natural(parseJson(Buffer.from(text)))),
      want,
      text,
    )
  }
  for (let i = 0; i < 2_000; i++)
    judge(Array.from({ length: 1 + below(7) }, () => pieces[below(pieces.length)]).join(''))
  for (const text of [
    '{"a":[1,{"b":"\\"x"}],"a":2}',
    '[]',
    '{}',
    ' {"k" : [ true , null ] } ',
    '"x"',
    '[1,]',
    '{"a"}',
    '',
  ])
    judge(text)
  t.ok(taken > 50 && refused > 500, `${taken} taken, ${refused} refused`)
})

t.test('JSON keeps numbers and objects as they were sent', async (t) => {
  const parsed = parseJson(Buffer.from('{"n":1.10e+02,"o":{"b": 1, "a":[1.0]}}')) as JsonObject
  t.equal((parsed.get('n') as JsonNumber).text, '1.10e+02')
  t.equal((parsed.get('o') as JsonObject).text, '{"b": 1, "a":[1.0]}')
  t.throws(() => parseJson(Buffer.from([0x22, 0xff, 0x22])), /not UTF-8/)
  t.throws(() => parseJson(Buffer.from('['.repeat(600))), /nested more than 500 deep/)
})

t.test('counts of days and of parts of seconds as texts', async (t) => {
  t.same([0n, 19_782n, -1n, -719_162n, -719_163n, 2_932_896n].map(dateText), [
    '1970-01-01',
    '2024-02-29',
    '1969-12-31',
    '0001-01-01',
    '0001-12-31 BC',
    '9999-12-31',
  ])
  t.same([dateText(-2_147_472_692n), dateText(-2_147_472_691n)], ['infinity', '-infinity'])
  t.equal(timestampText(-1n, 1_000_000n), '1969-12-31 23:59:59.999999')
  t.equal(timestampText(1_709_210_096_100n, 1_000n), '2024-02-29 12:34:56.1')
  t.equal(timestampText(9_223_372_036_825_200_000n, 1_000_000n), 'infinity')
  t.equal(timeText(86_400_000_000n, 1_000_000n), '24:00:00')
  t.equal(durationText(-130_500_000n, 1_000_000n), '-00:02:10.5')
  t.same(['2024-02-29T10:34:56.1Z', '2024-02-29', '-0043-03-15T00:00:00Z', 'infinity'].map(isoText), [
    '2024-02-29 10:34:56.1+00',
    '2024-02-29',
    '0044-03-15 00:00:00+00 BC',
    'infinity',
  ])
})

t.test('decimals from their bytes', async (t) => {
  t.same(
    [
      decimalText(Buffer.from('', 'hex'), 2),
      decimalText(Buffer.from('ff', 'hex'), 2),
      decimalText(Buffer.from('80', 'hex'), 0),
      decimalText(Buffer.from('64', 'hex'), -2),
      decimalText(Buffer.from('00ffffffffffffffffff', 'hex'), 3),
    ],
    ['0.00', '-0.01', '-128', '10000', '4722366482869645213.695'],
  )
})

t.test('types come back from the codes that checkpoints keep', async (t) => {
  const types = [
    columnType('decimal', { precision: 18, scale: 4 }),
    columnType('string', { length: 20 }),
    columnType('timestamp', { precision: 3 }),
    columnType('int64'),
  ]
  for (const type of types) t.same(typeOfCode(typeCode(type)), type, typeCode(type))
  t.equal(types[0]!.native, 'numeric(18,4)')
  t.equal(types[2]!.native, 'timestamp(3) without time zone')
})

t.test('positions: offsets beyond doubles, names that need quotes', async (t) => {
  const topics = new Map([
    ['a:1,"b"]', { id: null, next: [2n ** 62n + 1n, 0n] }],
    ['b', { id: '48f6978a-94c3-4e97-b3a6-4123ce0a1cb3', next: [7n] }],
  ])
  const text = formatKafkaPosition({ ordinal: 2n ** 63n, topics })
  t.same(parseKafkaPosition(text), { ordinal: 2n ** 63n, topics })
  t.throws(() => parseKafkaPosition('0/1234' as Position), { code: 'core.checkpoint_unreadable' })
})

const options = (more: object) => kafkaSourceOptions.safeParse({ 'properties.bootstrap.servers': 'k:9092', ...more })
const wrong = (more: object) => options(more).error?.issues.map(({ message }) => message)

t.test('options: which topics, and where to begin', async (t) => {
  const matches = (more: object, ...names: string[]) => names.filter(topicMatcher(options(more).data!))
  t.same(matches({ topics: 'a, b.*;c?' }, 'a', 'b.x', 'bx', 'c1', 'c', 'cc1'), ['a', 'b.x', 'c1'])
  t.same(matches({ 'topic-pattern': 'a|b\\d' }, 'a', 'b1', 'ab1', 'b12'), ['a', 'b1'])
  t.same(wrong({}), ['give `topics`, or `topic-pattern`'])
  t.same(wrong({ topics: 'a', 'topic-pattern': 'b' }), ['give either `topics` or `topic-pattern`'])
  t.match(wrong({ 'topic-pattern': '(' }), [/is no regular expression/])
  t.same(wrong({ topics: 'a', 'scan.startup.mode': 'timestamp' }), ['timestamp needs `scan.startup.timestamp-millis`'])
  t.match(wrong({ topics: 'a', 'scan.startup.mode': 'specific-offsets', 'scan.startup.specific-offsets': '0:1' }), [
    /not understood/,
  ])
  t.match(wrong({ topics: 'a', 'properties.acks': 'all' }), [/properties\.acks/])
})

// ---- the tail over a reader that is played

const BYTES = 100 * 1024
const value = (id: number) => Buffer.from(JSON.stringify({ op: 'c', after: { id, v: 'x'.repeat(BYTES) } }))
const batch = (topic: string, partition: number, from: number, to: number, next = to): PartitionBatch => ({
  topic,
  partition,
  next: BigInt(next),
  records: Array.from({ length: to - from }, (_, i) => {
    return {
      offset: BigInt(from + i),
      timestamp: 0n,
      key: Buffer.from('{"id":1}'),
      value: value(from + i),
      headers: [],
    }
  }),
})

function tailOver(played: readonly PartitionBatch[], next: bigint[]) {
  const calls: string[] = []
  const call = (what: string) => (at: { topic: string; partition: number }) =>
    calls.push(`${what} ${at.topic}-${at.partition}`)
  const reader = {
    add: call('add'),
    pause: call('pause'),
    resume: call('resume'),
    async *read() {
      for (const each of played) yield [each]
    },
  }
  const found: NewPartition[] = []
  const position = { ordinal: 10n, topics: new Map([['s.public.a', { id: null, next }]]) }
  const tail = new KafkaTail({
    cluster: { reader: () => reader } as unknown as KafkaCluster,
    decoding: new RecordDecoding(options({ topics: '*' }).data!, () => {}),
    position,
    discoveryMs: 100_000,
    discover: async () => found,
  })
  return { tail, calls, position }
}

async function all(tail: KafkaTail): Promise<LogBatch[]> {
  const batches: LogBatch[] = []
  for await (const each of tail.run({ signal })) batches.push(each)
  return batches
}

const nextOf = ({ position }: LogBatch) => parseKafkaPosition(position).topics.get('s.public.a')!.next.map(Number)
const rowsOf = ({ items }: LogBatch) =>
  items.reduce((sum, item) => sum + (item.kind === 'rows' ? item.changes.length : 1), 0)

t.test('a batch is cut by its bytes, and its position says what it holds', async (t) => {
  const { tail } = tailOver([batch('s.public.a', 0, 5, 12, 14)], [5n])
  const batches = await all(tail)
  t.same(
    batches.map((each) => [rowsOf(each), ...nextOf(each), Number(each.ordinal)]),
    [
      [0, 5, 10],
      [3, 8, 13],
      [3, 11, 16],
      [1, 14, 19],
    ],
  )
})

t.test('a truncate is alone in its batch', async (t) => {
  const small = batch('s.public.a', 0, 0, 5)
  const records = small.records.map((record, i) => ({
    ...record,
    value: Buffer.from(JSON.stringify(i === 2 ? { op: 't', source: {} } : { op: 'c', after: { id: i } })),
  }))
  const { tail } = tailOver([{ ...small, records }], [0n])
  const batches = await all(tail)
  t.same(
    batches.map(({ items }) => items.map(({ kind }) => kind)),
    [[], ['rows'], ['truncate'], ['rows']],
  )
  t.same(batches.map(nextOf), [[0], [2], [3], [5]])
})

t.test('what lies behind the end of a bounded run waits until every partition is there', async (t) => {
  const { tail, calls } = tailOver(
    [
      batch('s.public.a', 0, 0, 3),
      batch('s.public.a', 1, 0, 1),
      batch('s.public.a', 1, 1, 2),
      batch('s.public.a', 0, 3, 4),
    ],
    [0n, 0n, 9n],
  )
  t.equal(
    tail.aim(
      new Map([
        ['s.public.a-0', 2n],
        ['s.public.a-1', 2n],
        ['s.public.a-2', 9n],
      ]),
    ),
    14n,
  )
  const batches = await all(tail)
  t.same(
    batches.map((each) => [...nextOf(each), Number(each.ordinal)]),
    [
      [0, 0, 9, 10],
      [2, 0, 9, 12],
      [2, 1, 9, 13],
      [2, 2, 9, 14],
      [3, 2, 9, 15],
      [4, 2, 9, 16],
    ],
  )
  t.same(
    calls.filter((call) => !call.startsWith('add')),
    [
      'pause s.public.a-2',
      'pause s.public.a-2',
      'pause s.public.a-0',
      'pause s.public.a-1',
      'resume s.public.a-0',
      'resume s.public.a-1',
      'resume s.public.a-2',
    ],
  )
})

t.test('new partitions wait for the end of a bounded run, so that they do not count towards it', async (t) => {
  const { tail, position } = tailOver([batch('s.public.a', 0, 0, 1)], [0n])
  tail.aim(new Map([['s.public.a-0', 1n]]))
  tail.add([{ topic: 's.public.a', topicId: null, partition: 1, position: 40n }])
  t.same(position.topics.get('s.public.a')!.next, [0n])
  await all(tail)
  t.same(position.topics.get('s.public.a')!.next, [1n, 40n])
})
