/** 1.10 k: by what a new timeline of the server is judged. */
import t from 'tap'
import { type NewTimeline, refusal } from '../../connectors/postgres/server.js'
import { type CheckpointState, savedPlace } from '../../core/checkpoint.js'
import { xidCut } from '../../core/cut.js'
import type { Position } from '../../core/model.js'
import { parseHistory } from '../../drivers/postgres-timeline.js'

const place = (position: string, shown = 0n) => ({ identity: {}, position: position as Position, shown })

const change = (more: Partial<NewTimeline>): NewTimeline => ({
  was: '1',
  now: '2',
  saved: place('0/3000000'),
  slot: 's',
  history: [{ timeline: '1', at: 0x3000000n }],
  slots: true,
  synced: true,
  ...more,
})

t.test('a synced slot and a switch at or behind the position', async (t) => {
  t.equal(refusal(change({})), null)
  t.match(refusal(change({ saved: place('0/3000001') }))?.message, /left timeline 1 at 0\/3000000, .*up to 0\/3000001/)
})

t.test('a position inside a transaction needs its commit record', async (t) => {
  t.equal(refusal(change({ saved: place('0/2000000+3@0/2FFFFFF/751') })), null)
  t.match(refusal(change({ saved: place('0/2000000+3@0/3000000/751') }))?.message, /left timeline 1/)
})

t.test('rows that show commits beyond the position need those too', async (t) => {
  t.equal(refusal(change({ saved: place('0/2000000', 0x3000000n) })), null)
  t.match(refusal(change({ saved: place('0/2000000', 0x3000001n) }))?.message, /up to 0\/3000001/)
})

t.test('what the checkpoint says of its cuts', async (t) => {
  const cuts = [5n, 9n, 7n].map((after) => xidCut({ xmin: 1n, xmax: 2n, xip: [] }, after).toJSON())
  const state = { phase: 'running', source: { a: 'b' }, position: '0/1', cuts } as unknown as CheckpointState
  t.same(savedPlace(state), { identity: { a: 'b' }, position: '0/1', shown: 9n })
  t.equal(savedPlace({ ...state, phase: 'creating', cuts: [] }).position, null)
})

t.test('two failovers, and histories that do not lead here', async (t) => {
  const history = parseHistory(
    '# a comment\n\n1\t0/3000000\tno recovery target specified\n\n4\t1/A0\tbefore 2026-01-01\n',
  )
  t.same(history, [
    { timeline: '1', at: 0x3000000n },
    { timeline: '4', at: 0x1000000a0n },
  ])
  t.equal(refusal(change({ now: '5', history })), null)
  t.equal(refusal(change({ was: '4', now: '5', history, saved: place('1/A0') })), null)
  t.match(refusal(change({ was: '3', now: '5', history }))?.message, /does not come from timeline 3/)
  t.match(refusal(change({ was: '2', now: '1', history: [] }))?.message, /does not come from timeline 2/)
  t.match(refusal(change({ history: null }))?.message, /history file is missing/)
})

t.test('slots that did not come over', async (t) => {
  t.match(refusal(change({ slots: false }))?.message, /before PostgreSQL 17/)
  t.match(refusal(change({ synced: null }))?.message, /does not exist here/)
  t.match(refusal(change({ synced: false }))?.message, /was not synchronized/)
})
