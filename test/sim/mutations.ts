/**
 * Broken versions of the core, each a patch to the line that cites its rule. The simulator must catch every one; a
 * `find` that is no longer in its file exactly once fails too, so the list follows the code. Two rules of 1.10 have no
 * mutant because each is kept twice: remembering a truncate for waiting ranges (the table lock keeps a snapshot from
 * missing it), and not pruning open ranges (a cut is judged in the same step in which it arrives).
 */
export interface Mutation {
  readonly rule: string
  readonly what: string
  readonly file: string
  readonly find: string
  readonly replace: string
  /** Profile whose seeds are used; all of them in turn by default. */
  readonly profile?: string
  /** Seeds tried where the fault is rare; SEEDS_DEFAULT otherwise. */
  readonly seeds?: number
}

const merge = 'core/table-merge.ts'

export const MUTATIONS: readonly Mutation[] = [
  {
    rule: 'I1',
    what: 'the source is released before the commit',
    file: 'core/run.ts',
    find: 'const kept = await this.#save(checkpoint)',
    replace: 'this.#source.release(checkpoint.position); const kept = await this.#save(checkpoint)',
  },
  {
    rule: 'I2',
    what: 'the checkpoint says more than was written',
    file: 'core/run.ts',
    find: 'barrier = item.barrier',
    replace: 'barrier = this.#barrier()',
  },
  {
    rule: 'I3',
    what: 'events of an open chunk leave before its rows',
    file: merge,
    find: 'this.#hold(range, { txn, schema, change, bytes })',
    replace: 'this.#leave(schema, txn, change, bytes)',
  },
  {
    rule: 'I4',
    what: 'the snapshot is taken before the chunk opens',
    file: 'core/snapshot.ts',
    find: 'const open = ids.filter((id) => table.open(id))',
    replace:
      'const early = await session.cut(table.table, { signal }); await this.#o.source.visible({ signal }); const taken = session.cut; session.cut = async () => { session.cut = taken; return early }; const open = ids.filter((id) => table.open(id))',
    seeds: 5000,
  },
  {
    rule: 'I5, 1.10 e',
    what: 'rows leave before the source has made durable what they show',
    file: 'core/snapshot.ts',
    find: 'const durable = this.#o.source.durable({ signal })',
    replace: 'const durable = Promise.resolve()',
    profile: 'unflushed',
  },
  {
    rule: 'I5',
    what: 'a window closes before the log has reached its high mark',
    file: merge,
    find: 'window.high.resolvedAfter > ordinal',
    replace: 'false',
    profile: 'windows',
  },
  {
    rule: '1.10 a',
    what: 'held events that the cut covers leave as well',
    file: merge,
    find: 'if (!passes(range, txn)) return\n    const key',
    replace: 'const key',
  },
  {
    rule: '1.10 a',
    what: 'events inside a window are dropped instead of folded',
    file: merge,
    find: 'window.fold(inside)',
    replace: 'window.fold([])',
    profile: 'windows',
  },
  {
    rule: '1.10 b',
    what: 'the checkpoint forgets what was dropped',
    file: 'core/checkpoint.ts',
    find: 'const remembered = new Map(range.remembered)',
    replace: 'const remembered = new Map()',
    seeds: 1500,
  },
  {
    rule: '1.10 c',
    what: 'the checkpoint forgets what is held',
    file: 'core/checkpoint.ts',
    find: 'for (const { txn } of range.held) remembered.set(txn.ordinal, txn)',
    replace: '',
    seeds: 5000,
  },
  {
    rule: '1.10 c',
    what: 'a checkpoint drops held events of the rest while its read goes on',
    file: merge,
    find: 'Object.assign(rest, { id: range.id,',
    replace: 'Object.assign(rest, { held: [], id: range.id,',
    seeds: 1500,
  },
  {
    rule: '1.10 c',
    what: 'a checkpoint leaves a half-read chunk as it is',
    file: 'core/merger.ts',
    find: 'table.settle()',
    replace: '',
    seeds: 1500,
  },
  {
    rule: '1.10 c',
    what: 'a read that is given up forgets what was held',
    file: merge,
    find: 'for (const h of range.held) again.remembered.set(h.txn.ordinal, h.txn)',
    replace: '',
    seeds: 2500,
    profile: 'short reads',
  },
  {
    rule: '1.9',
    what: 'rows are read under a cut that lacks a remembered transaction',
    file: merge,
    find: "if (!chunk.cut.covers(txn)) return 'retry'",
    replace: '',
  },
  {
    rule: '1.9',
    what: 'a dropped event is not remembered',
    file: merge,
    find: "case 'waiting':\n        range.remembered.set(txn.ordinal, txn)",
    replace: "case 'waiting':",
  },
  {
    rule: '1.9',
    what: 'a split range forgets',
    file: merge,
    find: 'part.remembered = new Map(range.remembered)',
    replace: '',
    seeds: 1500,
  },
  {
    rule: '1.10 d',
    what: 'a read that was cut short counts as whole',
    file: 'core/snapshot.ts',
    find: 'merger.finish(name, id, upTo, window)',
    replace: 'merger.finish(name, id, null, window)',
  },
  {
    rule: '1.10 f',
    what: 'a finished range that shows the truncate already stays finished',
    file: merge,
    find: 'else if (range.cut?.covers(txn))',
    replace: 'else if (false)',
    profile: 'truncates',
    seeds: 3000,
  },
  {
    rule: '1.10 f',
    what: 'an open chunk is read on across a truncate',
    file: merge,
    find: 'this.#giveUp(range)\n        range.remembered.set(txn.ordinal, txn)',
    replace: '',
    profile: 'truncates',
    seeds: 9000,
  },
  {
    rule: '1.10 g',
    what: 'the insert half of a move leaves without its unsent value',
    file: merge,
    find: "return change.op === 'c' || (change.op === 'u' && this.readsUnsent)",
    replace: 'return false',
    profile: 'moves',
    seeds: 1200,
  },
  {
    rule: '1.10 g',
    what: 'a one-row range does not remember why it is read',
    file: merge,
    find: 'for (const txn of remembered) row.remembered.set(txn.ordinal, txn)',
    replace: '',
    profile: 'moves',
    seeds: 3000,
  },
  {
    rule: '1.10 g',
    what: 'a row is moved in the sink although its old place was not delivered',
    file: merge,
    find: 'passes(from, txn) && passes(to, txn)',
    replace: 'passes(to, txn)',
    profile: 'moves',
    seeds: 3000,
  },
  {
    rule: 'D6',
    what: 'a key move is not split',
    file: merge,
    find: 'this.#move(txn, schema, change, bytes)\n  }',
    replace: 'this.#part(this.find(keyOf(schema, change.after)), txn, schema, change, bytes)\n  }',
  },
  {
    rule: 'C4',
    what: 'a cut is forgotten before the log has passed it',
    file: merge,
    find: 'range.cut.resolvedAfter <= ordinal) {',
    replace: 'range.cut.resolvedAfter - 4n <= ordinal) {',
    seeds: 1500,
  },
  {
    rule: 'C4',
    what: 'neighbours with different cuts are joined',
    file: merge,
    find: 'last.cut === range.cut',
    replace: 'true',
  },
  {
    rule: 'C4',
    what: 'the checkpoint forgets the cut of a finished range',
    file: 'core/checkpoint.ts',
    find: "{ hi, state: 'finished', cut: indexOf(range.cut) }",
    replace: "{ hi, state: 'finished' }",
    seeds: 5000,
  },
  {
    rule: 'D1',
    what: 'a cut covers transactions that were in progress',
    file: 'core/cut.ts',
    find: '(xid < xmax && !inProgress.has(xid))',
    replace: 'xid < xmax',
  },
  {
    rule: 'D1',
    what: 'a cut covers the first transaction after it',
    file: 'core/cut.ts',
    find: '(xid < xmax && !inProgress.has(xid))',
    replace: '(xid <= xmax && !inProgress.has(xid))',
  },
]
