import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { usableBinDir } from '../../cli/demo/embedded-postgres.js'
import { readableBy, serverUser } from '../../cli/demo/run-as.js'
import { Changelog } from '../support/changelog.js'
import { committedRows } from '../support/committed-files.js'
import { random } from '../support/seed.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

type Image = Record<string, unknown>

const event = (op: string, before: Image | null, after: Image | null) =>
  `${JSON.stringify({ op, before, after, source: { schema: 'public', table: 'x' } })}\n`

const replay = (...lines: string[]) =>
  new Changelog({ 'public.x': { key: ['id'], fullBefore: true } }).addLines(lines.join(''))

t.test('the changelog oracle takes a right history', async (t) => {
  const log = replay(
    event('r', null, { id: 1, v: 'a', big: 'B' }),
    event('u', { id: 1, v: 'a', big: 'B' }, { id: 1, v: 'b', big: '__debezium_unavailable_value' }),
    event('d', { id: 1, v: 'b', big: 'B' }, null),
    event('c', null, { id: 2, v: 'b', big: 'B' }),
  )
  t.same(log.problems, [])
  t.same([...log.rows('public.x').values()], [{ id: 2, v: 'b', big: 'B' }])
  t.same(log.differences('public.x', [{ id: '2', v: 'b' }]), [])
  t.match(
    log.differences('public.x', [
      { id: '2', v: 'c' },
      { id: '3', v: 'c' },
    ]),
    [/^differs/, /^missing/],
  )
  t.match(log.differences('public.x', []), [/^extra/])
})

t.test('the changelog oracle finds what is wrong', async (t) => {
  const row = event('r', null, { id: 1, v: 'a' })
  const wrong: [RegExp, ...string[]][] = [
    [/there already/, row, row],
    [/there already/, row, event('c', null, { id: 1, v: 'b' })],
    [/not there/, event('u', { id: 1, v: 'a' }, { id: 1, v: 'b' })],
    [/not there/, event('d', { id: 1, v: 'a' }, null)],
    [/before\.v is z/, row, event('u', { id: 1, v: 'z' }, { id: 1, v: 'b' })],
    [/before\.v is z/, row, event('d', { id: 1, v: 'z' }, null)],
    [/key change/, row, event('r', null, { id: 2, v: 'a' }), event('u', { id: 2, v: 'a' }, { id: 1, v: 'a' })],
    [/not expected/, row.replace('"x"', '"y"')],
    [/all of its values/, event('r', null, { id: 1, v: '__debezium_unavailable_value' })],
  ]
  for (const [expected, ...lines] of wrong) t.match(replay(...lines).problems[0], expected)
})

t.test('committed rows are the first bytes of the segments of the highest manifest and its pages', async (t) => {
  const segment = (file: string, bytes: number) => ({ file, bytes, events: 1 })
  const folder = t.testdir({
    data: { 'a.ndjson': '1\n2\n3\n', 'b.ndjson': '4\n5\n', 'c.ndjson': '6\n' },
    index: { 'p.json': JSON.stringify({ segments: [segment('a.ndjson', 4)] }) },
    manifest: { 'draft-10.json': 'half' },
  })
  const publish = (n: number, ...segments: object[]) =>
    writeFileSync(
      join(folder, `manifest/${String(n).padStart(12, '0')}.json`),
      JSON.stringify({ segments, previous: 'p.json' }),
    )
  const [, line = ''] = /^node -e '(.*)' out$/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? []
  const readme = () => execFileSync(process.execPath, ['-e', line, folder], { encoding: 'utf8' })
  t.equal(committedRows(folder), '')
  publish(9, segment('b.ndjson', 4), segment('c.ndjson', 2))
  publish(10, segment('b.ndjson', 2), segment('c.ndjson', 0))
  t.equal(committedRows(folder), '1\n2\n4\n')
  t.equal(readme(), '1\n2\n4\n', "the README's line reads the same")
  publish(11, segment('b.ndjson', 5))
  t.throws(() => committedRows(folder), /has 4 bytes/)
})

t.test('a seed gives the same numbers again', async (t) => {
  const draw = (seed: number) => {
    const source = random(seed)
    return Array.from({ length: 5 }, () => source.below(1_000))
  }
  t.same(draw(7), draw(7))
  t.notSame(draw(7), draw(8))
})

t.test('server binaries are copied where their user cannot read them, with their links', async (t) => {
  const root = t.testdir({
    closed: {
      'package.json': '{"version": "18.0.0"}',
      native: {
        bin: { postgres: '', initdb: '', pg_ctl: '' },
        lib: { 'libx.so.1.2': 'x' },
        'pg-symlinks.json': JSON.stringify([{ source: 'native/lib/libx.so.1.2', target: 'native/lib/libx.so.1' }]),
      },
    },
    spare: {},
  })
  const binaries = { root: join(root, 'closed'), version: '18.0.0' }
  const copy = usableBinDir(binaries, null, () => join(root, 'spare'))
  t.equal(copy, join(root, 'spare', 'native', 'bin'), 'a missing link makes a copy')
  t.equal(readFileSync(join(root, 'spare/native/lib/libx.so.1'), 'utf8'), 'x')
  t.equal(
    usableBinDir(binaries, null, () => join(root, 'spare')),
    copy,
    'made once',
  )
  symlinkSync('libx.so.1.2', join(root, 'closed/native/lib/libx.so.1'))
  for (const name of ['postgres', 'initdb']) writeFileSync(join(root, 'closed/native/bin', name), '', { mode: 0o755 })
  const user = { name: 'nobody', uid: 65534, gid: 65534 }
  mkdirSync(join(root, 'closed2'), { mode: 0o700 })
  t.notOk(readableBy(join(root, 'closed2'), user))
  t.ok(readableBy('/', user))
  t.ok(readableBy(join(root, 'closed2'), null))
})

t.test('the server runs as a user that exists, or as ourselves', async (t) => {
  const user = serverUser('no-such-user', 'nobody')
  if (process.getuid?.() === 0) t.match(user, { name: 'nobody' })
  else t.equal(user, null)
})
