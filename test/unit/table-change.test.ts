/** What two tags of a table say of the time between them, also where one is of a version that knew less. */
import t from 'tap'
import {
  changedColumns,
  keyChange,
  labelsChange,
  nameChange,
  nowPublishing,
  publicationChange,
  wasRewritten,
} from '../../connectors/postgres/table-change.js'
import { labelsTag, type SeenTable, type TableTag, typeOf } from '../../connectors/postgres/table-tag.js'
import type { TableId } from '../../core/model.js'

const ID = 'public.t' as TableId
const OLD: TableTag = { oid: 1, columns: 'a', names: { '1': 'id', '2': 'v', '3': 'w' }, files: { '1': '1' } }
const NEW: TableTag = { ...OLD, key: '1', published: '9.1 20', without: '3', types: {}, labels: {} }
const seen = (tag: TableTag, labels: string[] = []): SeenTable => ({
  tag,
  enums: new Map([['7', { name: 'public.mood', labels }]]),
})

t.test('a tag of an older version knows less, and nothing is made of what it does not know', async (t) => {
  for (const before of [OLD, { ...OLD, key: null, published: null }]) {
    t.equal(keyChange(ID, before, NEW), null)
    t.equal(publicationChange(ID, 'p', before, NEW), null)
    t.equal(nowPublishing(ID, before, { ...NEW, without: undefined } as unknown as TableTag), null)
    t.equal(labelsChange(ID, before, seen(NEW, ['a'])), null)
    t.equal(nameChange(ID, before, NEW), null)
    t.equal(wasRewritten(before, NEW), false)
    t.equal(typeOf(before, 7), null)
  }
})

t.test('keys are compared as sets', async (t) => {
  const with2 = { ...NEW, key: '1 2' }
  t.equal(keyChange(ID, with2, { ...NEW, key: '2 1' }), null)
  t.equal(keyChange(ID, with2, { ...NEW, key: null }), null, 'there are only inserts')
  t.match(keyChange(ID, with2, NEW), { code: 'postgres.identity_changed', message: /was \(id, v\) .* \(id\)/ })
})

t.test('one way in that stayed is enough, unless the publication itself was changed', async (t) => {
  const both = { ...NEW, published: '9.1 20 30' }
  t.equal(publicationChange(ID, 'p', both, { ...NEW, published: '9.1 30 40' }), null)
  t.ok(publicationChange(ID, 'p', both, { ...NEW, published: '9.1 40' }))
  t.ok(publicationChange(ID, 'p', both, { ...NEW, published: '9.2 20 30' }))
  t.ok(publicationChange(ID, 'p', both, { ...NEW, published: null }))
})

t.test('labels that are known stay the first ones', async (t) => {
  const before = { ...NEW, labels: { '7': labelsTag(['a', 'b']) } }
  t.equal(labelsChange(ID, before, seen(NEW, ['a', 'b', 'c'])), null)
  t.match(labelsChange(ID, before, seen(NEW, ['a', 'x', 'c'])), { message: /a label of enum public\.mood was renamed/ })
  t.ok(labelsChange(ID, before, seen(NEW, ['a'])))
})

t.test('names and storage', async (t) => {
  const named = (names: TableTag['names']) => nameChange(ID, OLD, { ...OLD, names })
  t.equal(named({ '1': 'id', '2': 'x', '3': 'w' }), null, 'renamed')
  t.ok(named({ '1': 'id', '3': 'v' }), 'renamed to one that was dropped')
  t.ok(named({ '1': 'id', '2': 'w', '3': 'v' }), 'exchanged')
  t.ok(named({ '1': 'id', '3': 'w', '4': 'v' }), 'dropped and added again')
  t.same(changedColumns(OLD, { ...OLD, names: { '1': 'id', '2': 'x' } }), [
    'column v was renamed to x',
    'column w was dropped; targets keep theirs',
  ])
  t.equal(wasRewritten(OLD, { ...OLD, files: { '1': '2' } }), false)
  t.equal(wasRewritten(OLD, { ...OLD, columns: 'b' }), false)
  t.equal(wasRewritten(OLD, { ...OLD, columns: 'b', files: { '1': '2' } }), true)
  t.equal(wasRewritten(OLD, { ...OLD, columns: 'b', files: { '2': '2' } }), false, 'another partition')
})

t.test('a type of which only the tag is left', async (t) => {
  const list = { kind: 'array' as const, native: 'public.mood[]', base: '_mood' }
  const element = { kind: 'enum' as const, native: 'public.mood', base: 'mood' }
  const tag = { ...NEW, types: { '8': { ...list, element } } } as unknown as TableTag
  t.match(typeOf(tag, 8), { ...list, labels: null, element: { ...element, element: null, domain: null } })
})
