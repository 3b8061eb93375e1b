/** What two tags say of partitions, and what stays open when rows could not be asked. */
import t from 'tap'
import { leafOf, sameFile } from '../../connectors/postgres/storage.js'
import {
  type Answer,
  attachedChange,
  doubts,
  partitionChanges,
  settled,
  unloggedChange,
} from '../../connectors/postgres/storage-change.js'
import type { SeenTable, TableTag } from '../../connectors/postgres/table-tag.js'
import type { TableId } from '../../core/model.js'

const ID = 'public.m' as TableId
const tag = (files: Record<string, string>, more: Partial<TableTag> = {}): TableTag => ({
  oid: 1,
  columns: 'a',
  names: {},
  files,
  at: '100',
  ...more,
})
const seen = (now: TableTag, answers: Record<string, Answer> = {}): SeenTable => ({
  tag: now,
  enums: new Map(),
  answers: new Map(Object.entries(answers)),
})
const happened = (before: TableTag, now: SeenTable) => partitionChanges(ID, before, now, 'u').error?.message ?? null

t.test('storage as a tag writes it', async (t) => {
  t.match(leafOf('10', '20', 'm'), { file: '20', toast: undefined, joined: undefined, outside: null })
  t.match(leafOf('10', ' 3', 'm'), { file: '10', toast: '3', joined: undefined })
  t.match(leafOf('10', 'u ', 'm'), { file: '10', toast: '', outside: 'UNLOGGED' })
  t.match(leafOf('10', '-  7.8 *_1 x', 'm'), { empty: true, toast: '', joined: '7.8', name: 'm_1 x' })
  t.match(leafOf('10', '20-u 3 7 s.other', 'm'), { file: '20', empty: true, outside: 'UNLOGGED', name: 's.other' })
  t.ok(sameFile('10', '10', ' 3 7 *_1'))
  t.notOk(sameFile('10', '11', ' 3 7 *_1'))
})

t.test('a tag of an older version knows nothing of partitions', async (t) => {
  const { at: _, ...old } = tag({ '10': '10', '11': '11' })
  const now = tag({ '10': '12 3 7 *_1', '13': ' 3 7 *_2' })
  t.same(doubts(old, now), [])
  t.equal(happened(old, seen(now)), null)
  t.same(settled(old, seen(now)), now)
})

t.test('what rows have to say is asked, and what could not be asked stays open', async (t) => {
  const before = tag({ '10': ' 3 7 *_1', '11': '- 3 7 *_2', '12': ' 3 7 *_3' })
  const now = tag({ '10': '20 3 7 *_1', '11': '21 3 7 *_2', '13': ' 3 101 *_4' }, { at: '200' })
  t.same(doubts(before, now), [
    { leaf: '10', about: 'storage', since: '100' },
    { leaf: '13', about: 'attached', since: null },
    { leaf: '12', about: 'gone', since: null },
  ])
  const busy = seen(now, { '10': 'busy', '12': 'gone' })
  t.match(happened(before, busy), /^table public\.m: partition m_3 was dropped;/)
  t.match(settled(before, busy), { at: '100', files: { '10': ' 3 7 *_1', '11': '21 3 7 *_2' } })
  t.equal(settled(before, busy).files['13'], undefined)
  const all = seen(now, { '10': 'old', '12': 'exists', '13': 'old' })
  t.match(happened(before, all), /m_4 was attached with rows in it|m_3 was detached/)
  t.same(settled(before, all), now)
  t.equal(
    happened(before, seen({ ...now, files: { ...now.files, '12': ' 3 7 *_3' } }, { '10': 'old', '13': 'newer' })),
    null,
  )
  for (const answer of ['newer', 'empty', 'slow'] as const) {
    const truncated = seen({ ...now, files: { ...before.files, '10': '20 3 7 *_1' } }, { '10': answer })
    t.match(happened(before, truncated), /m_1 was truncated/)
  }
  const slow = partitionChanges(
    ID,
    before,
    seen({ ...now, files: { ...before.files, '13': ' 3 9 *_4' } }, { '13': 'slow' }),
    'u',
  )
  t.match(slow, { error: null, notes: [/m_4 is too large/] })
})

t.test('a TRUNCATE of the whole table explains new storage, until a look that shows it', async (t) => {
  const before = tag({ '10': ' 3 7 *_1' }, { truncated: '150' })
  const now = tag({ '10': '20 3 7 *_1' }, { at: '200' })
  t.same(doubts(before, now), [])
  t.equal(happened(before, seen(now)), null)
  t.equal(settled(before, seen(now)).truncated, undefined)
  t.equal(settled(before, seen({ ...now, at: '150' })).truncated, '150', 'that look may have been too early')
})

t.test('tables of a publication by rule', async (t) => {
  const before = tag({ '1': ' 3' })
  t.match(unloggedChange(ID, before, seen(tag({ '1': '20 9' }))), {
    code: 'postgres.publication',
    message: /rewritten/,
  })
  t.match(unloggedChange(ID, before, seen(tag({ '1': 'u 3' }))), { message: /is UNLOGGED/ })
  t.equal(unloggedChange(ID, before, seen(tag({ '1': '20 3' }))), null, 'VACUUM FULL')
  const narrow = tag({ '1': ' ' })
  t.same(doubts(narrow, tag({ '1': '20 ' })), [{ leaf: '1', about: 'storage', since: '100' }])
  t.ok(unloggedChange(ID, narrow, seen(tag({ '1': '20 ' }), { '1': 'newer' })))
  t.equal(unloggedChange(ID, narrow, seen(tag({ '1': '20 ' }), { '1': 'old' })), null)
  t.ok(attachedChange(ID, before, tag({}, { redefined: '101.0' })))
  t.ok(attachedChange(ID, before, tag({}, { redefined: 'partition' })))
  t.equal(attachedChange(ID, before, tag({}, { redefined: '99.0' })), null, 'long ago, of columns that were left')
  t.ok(attachedChange(ID, tag({}, { at: `${2n ** 32n - 2n}` }), tag({}, { redefined: '3.0' })), 'numbers start again')
})
