/** What a sink owes, case by case; sink-contract.ts says which of them a guarantee promises. */
import assert from 'node:assert/strict'
import type { Change } from '../model.js'
import type { ContractCase } from './contract.js'
import {
  ITEMS_WIDER,
  insert,
  item,
  log,
  move,
  PIPELINE,
  put,
  read,
  remove,
  shows,
  signal,
  snapshot,
  start,
  truncate,
  update,
} from './items.js'
import type { SinkHarness, SinkTarget } from './sink-contract.js'

type Case = ContractCase<SinkHarness>

function sinkCase(name: string, body: (target: SinkTarget) => Promise<void>): Case {
  return {
    name,
    async run(harness) {
      const target = await harness.target()
      try {
        await body(target)
      } finally {
        await target.close()
      }
    },
  }
}

const BIGINT_MAX = '9223372036854775807'
const ODD_TEXTS = [
  '',
  ' ',
  'a"b\\c\'d',
  'line\nline\r\ttab',
  'ü☃ 日本 \u{1f600}',
  '\\N',
  'null',
  '{"a":1}',
  '\u0001\u001f',
]

export const ANY_SINK_CASES: readonly Case[] = [
  sinkCase('a session writes, commits and closes', async (target) => {
    const session = await start(target)
    assert.equal(session.checkpoint, null)
    await put(session, 'one', snapshot([read(item(1))]), log([insert(item(2)), update(item(1, 'new')), remove(2)]))
    await put(session, 'two', log([insert(item(3))]))
    await session.close()
  }),
  sinkCase('close may come at any time and twice', async (target) => {
    const opened = await target.sink(PIPELINE).open({ pipeline: PIPELINE, signal, note: () => {} })
    await opened.close()
    const session = await start(target)
    await session.write([log([insert(item(1))])], { signal })
    await session.close()
    await session.close()
  }),
  sinkCase('an aborted signal ends open', async (target) => {
    const aborted = AbortSignal.abort(new Error('enough'))
    const session = await target
      .sink(PIPELINE)
      .open({ pipeline: PIPELINE, signal: aborted, note: () => {} })
      .catch(() => null)
    await session?.close()
    await (await start(target)).close()
  }),
]

export const EXACTLY_ONCE_CASES: readonly Case[] = [
  sinkCase('rows and checkpoint are committed together (S1, S2)', async (target) => {
    const first = await start(target)
    assert.equal(first.checkpoint, null)
    const changes = [read(item(1)), read(item(2))]
    await put(first, 'one ü\n"{}', snapshot(changes))
    await shows(target, changes)
    await first.close()
    const second = await start(target)
    assert.equal(second.checkpoint, 'one ü\n"{}', 'exactly as it was given')
    await second.close()
  }),
  sinkCase('what was not committed is gone, and may come again (S5, S9)', async (target) => {
    const first = await start(target)
    await put(first, 'one', snapshot([read(item(1))]))
    await first.write([snapshot([read(item(2)), read(item(3))])], { signal })
    await first.close()
    await shows(target, [read(item(1))])
    const second = await start(target)
    assert.equal(second.checkpoint, 'one')
    await put(second, 'two', snapshot([read(item(2)), read(item(3))]))
    await shows(target, [read(item(1)), read(item(2)), read(item(3))])
    await second.close()
  }),
  sinkCase('a commit without rows keeps its checkpoint', async (target) => {
    const first = await start(target)
    await first.commit('nothing', { signal })
    await first.commit('still nothing', { signal })
    await first.close()
    const second = await start(target)
    assert.equal(second.checkpoint, 'still nothing')
    await second.close()
  }),
  sinkCase('a long checkpoint comes back whole', async (target) => {
    const long = JSON.stringify({ ranges: Array.from({ length: 50_000 }, (_, i) => `key ${i} ü`) })
    const first = await start(target)
    await put(first, long, log([insert(item(1))]))
    await first.close()
    const second = await start(target)
    assert.ok(second.checkpoint === long)
    await second.close()
  }),
  sinkCase('a successor fences an owner that wrote (S3)', async (target) => {
    const zombie = await start(target)
    await put(zombie, 'one', log([insert(item(1))]))
    await zombie.write([log([insert(item(2))])], { signal })
    const heir = await start(target)
    assert.equal(heir.checkpoint, 'one', 'read back after the fence')
    await assert.rejects(async () => zombie.commit('two', { signal }), 'the fenced owner may not commit')
    await shows(target, [insert(item(1))])
    await put(heir, 'three', log([insert(item(2, 'from the heir'))]))
    await assert.rejects(async () => put(zombie, 'four', log([insert(item(9))])))
    await zombie.close()
    await shows(target, [insert(item(1)), insert(item(2, 'from the heir'))])
    await heir.close()
    const last = await start(target)
    assert.equal(last.checkpoint, 'three')
    await last.close()
  }),
  sinkCase('a successor fences an idle owner (S3)', async (target) => {
    const zombie = await start(target)
    await put(zombie, 'one', log([insert(item(1))]))
    const heir = await start(target)
    await assert.rejects(async () => zombie.commit('two', { signal }))
    await heir.close()
    await zombie.close()
    const last = await start(target)
    assert.equal(last.checkpoint, 'one')
    await last.close()
  }),
  sinkCase('an owner that lost its session does not take the target back from a successor', async (target) => {
    const slept = await start(target)
    await put(slept, 'one', log([insert(item(1))]))
    await slept.close()
    const again = await start(target, PIPELINE, slept.claim)
    await put(again, 'two', log([insert(item(2))]))
    await again.close()
    const heir = await start(target)
    await assert.rejects(async () => start(target, PIPELINE, again.claim), { code: 'sink.fenced', retriable: false })
    await put(heir, 'three', log([insert(item(3))]))
    await heir.close()
    await shows(target, [insert(item(1)), insert(item(2)), insert(item(3))])
  }),
  sinkCase('another pipeline does not take the checkpoint (S10)', async (target) => {
    const mine = await start(target)
    await put(mine, 'mine', log([insert(item(1))]))
    // To refuse the other one is as good as to keep both apart.
    const other = await target
      .sink('contract_other')
      .open({ pipeline: 'contract_other', signal, note: () => {} })
      .catch(() => null)
    assert.ok(other === null || other.checkpoint === null, 'the other pipeline starts anew')
    await other?.close()
    await put(mine, 'still mine', log([insert(item(2))]))
    await shows(target, [insert(item(1)), insert(item(2))])
    await mine.close()
  }),
  sinkCase('changes of one key keep their order (I3)', async (target) => {
    const session = await start(target)
    const first = [insert(item(1, 'a')), update(item(1, 'b')), remove(1), insert(item(1, 'c')), insert(item(2))]
    const second = [update(item(1, 'd')), remove(2), insert(item(2, 'again')), remove(1), insert(item(1, 'e'))]
    await session.write([log(first.slice(0, 2)), log(first.slice(2))], { signal })
    await session.write([log(second)], { signal })
    await session.commit('one', { signal })
    await shows(target, [...first, ...second])
    const third = [update(item(1, 'f')), update(item(1, 'g')), remove(2)]
    await put(session, 'two', log(third))
    await shows(target, [...first, ...second, ...third])
    await session.close()
  }),
  sinkCase('a changed key moves its row', async (target) => {
    const session = await start(target)
    const changes: Change[] = [insert(item(1, 'one')), insert(item(2, 'two')), move(1, item(3, 'one'))]
    await put(session, 'one', log(changes))
    const swap = [move(2, item(1, 'two')), move(3, item(2, 'one'))]
    await put(session, 'two', log(swap))
    await shows(target, [...changes, ...swap])
    await session.close()
  }),
  sinkCase('a value that was not sent stays, NULL is NULL', async (target) => {
    const session = await start(target)
    const before = [insert(item(1, 'name', 'a long note')), insert(item(2, 'name', 'another'))]
    await put(session, 'one', log(before))
    const unsent = update(['1', 'new name', undefined, '2.5000000000'])
    const cleared = update(item(2, 'name', null))
    await put(session, 'two', log([unsent, cleared]))
    await shows(target, [...before, unsent, cleared])
    await session.close()
  }),
  sinkCase('a truncate empties the table in its place', async (target) => {
    const session = await start(target)
    await put(session, 'one', snapshot([read(item(1)), read(item(2))]))
    await put(session, 'two', log([insert(item(3))]), truncate(), log([insert(item(1, 'after'))]))
    await shows(target, [read(item(1)), read(item(2)), insert(item(3)), 'truncate', insert(item(1, 'after'))])
    await session.close()
  }),
  sinkCase('values arrive exactly (I7)', async (target) => {
    const session = await start(target)
    const changes = [
      insert(item(BIGINT_MAX, 'max', 'x', '1234567890123456789012345678.0123456789')),
      insert(item(`-${BIGINT_MAX}`, 'min', 'y', '-0.0000000001')),
      insert(item('9007199254740993', 'beyond doubles', null, '0.0000000000')),
      ...ODD_TEXTS.map((name, i) => insert(item(i, name, name))),
    ]
    await put(session, 'one', log(changes))
    await shows(target, changes)
    await session.close()
  }),
  sinkCase('many writes in one commit', async (target) => {
    const session = await start(target)
    const all: Change[] = []
    for (let from = 0; from < 20_000; from += 500) {
      const changes = Array.from({ length: 500 }, (_, i) => read(item(from + i)))
      all.push(...changes)
      await session.write([snapshot(changes)], { signal })
    }
    await session.commit('one', { signal })
    await shows(target, all)
    await session.close()
  }),
  sinkCase('a definition that changes is taken or refused, and loses nothing (S7)', async (target) => {
    const first = await start(target)
    await put(first, 'one', log([insert(item(1))]))
    const wider = log([insert([...item(2), 'extra'])], ITEMS_WIDER)
    const taken = await put(first, 'two', wider).then(
      () => true,
      () => false,
    )
    await first.close()
    const second = await start(target)
    assert.equal(second.checkpoint, taken ? 'two' : 'one')
    if (!taken) await shows(target, [insert(item(1))])
    await second.close()
  }),
  sinkCase('an aborted commit leaves both or neither', async (target) => {
    const first = await start(target)
    await put(first, 'one', log([insert(item(1))]))
    const abort = new AbortController()
    await first.write([log([insert(item(2))])], { signal })
    const committing = Promise.resolve(first.commit('two', { signal: abort.signal }))
    abort.abort(new Error('enough'))
    await committing.catch(() => {})
    await first.close()
    const second = await start(target)
    const done = second.checkpoint === 'two'
    assert.ok(done || second.checkpoint === 'one')
    await shows(target, done ? [insert(item(1)), insert(item(2))] : [insert(item(1))])
    await second.close()
  }),
]
