/**
 * The worlds that seeds run in. The first ones mix everything; the directed ones reach a rare state often, so that a rule
 * which only matters there is broken by many seeds and not by a few.
 */
export type OpName =
  | 'connect'
  | 'lock'
  | 'snapshot'
  | 'select'
  | 'fetch'
  | 'rows'
  | 'keys'
  | 'plan'
  | 'high'
  | 'durable'
  | 'deliver'
  | 'commit'
  | 'admit'
  | 'refresh-answer'
  | 'visible'

export interface Profile {
  readonly name: string
  readonly keys: number
  /** free: commits are seen in any order, late; prefix: at once, in log order; ordered: late, in log order (windows). */
  readonly visibility: 'free' | 'prefix' | 'ordered'
  /** Updates and moves may leave out the value that is stored out of line. */
  readonly toast: boolean
  /** The sink has rows, so it completes a moved row from its old one. */
  readonly completes: boolean
  readonly located: boolean
  readonly keyless: boolean
  /** A second table joins the pipeline at some restart. */
  readonly added: boolean
  /** A second table is captured from the start. */
  readonly wide: boolean
  /** Every seed's sink asks which rows are the first and the last, not only half of them. */
  readonly marks: boolean
  readonly processCrash: boolean
  readonly serverCrash: boolean
  readonly stops: boolean
  /** Processes fall asleep, are replaced, and wake up. */
  readonly sleepers: boolean
  /** Commits stay unflushed for long (synchronous_commit = off). */
  readonly unflushed: boolean
  /** Share of statements that truncate. */
  readonly truncates: number
  /** Share of statements that add a column. */
  readonly alters: number
  /** Share of statements on existing rows that move their key. */
  readonly moves: number
  /** Share of the steps that are the environment's. */
  readonly busy: number
  /** Chance that a seed's commits are seen late; 1 in `stubborn` of them very late. */
  readonly late: number
  readonly stubborn: number
  /** Share of the steps that may be disasters, where a seed is not a calm one. */
  readonly disasters: number
  /** How often a read ends early. */
  readonly shortReads: number
  /** How likely an operation happens when its turn comes; a number for all of the chunk reader's, or by name. */
  readonly chunkPaces: readonly number[]
  readonly paces: Partial<Record<OpName, number>>
  readonly readers: number
  /** Transactions at a time, those included that are not visible yet. */
  readonly txns: number
  /** Estimated bytes of a row: large ones reach the limits on what is held and queued. */
  readonly rowBytes: number
  /** Transactions above this size may be committed in parts. */
  readonly wholeBytes: readonly number[]
  readonly steps: number
}

const BASE: Profile = {
  name: 'everything',
  keys: 9,
  visibility: 'free',
  toast: true,
  completes: true,
  located: false,
  keyless: false,
  added: false,
  wide: false,
  marks: false,
  processCrash: true,
  serverCrash: true,
  stops: true,
  sleepers: true,
  unflushed: false,
  truncates: 0.06,
  alters: 0.02,
  moves: 0.3,
  busy: 0.45,
  late: 0.6,
  stubborn: 12,
  disasters: 0.03,
  shortReads: 0.05,
  chunkPaces: [0.12, 0.3, 1],
  paces: {},
  readers: 2,
  txns: 5,
  rowBytes: 10,
  wholeBytes: [15, 64 * 1024 * 1024],
  steps: 500,
}

const QUIET: Profile = { ...BASE, truncates: 0, alters: 0, toast: false, serverCrash: false, sleepers: false }

const HELD: Profile = { ...QUIET, wide: true, marks: true, keys: 4, moves: 0.1, chunkPaces: [0.15, 0.4] }
const LATE: Profile = { ...QUIET, late: 1, stubborn: 1, txns: 9, busy: 0.55, disasters: 0.04 }
const DEFINED: Profile = { ...QUIET, alters: 0.3, toast: true, serverCrash: true, readers: 4, chunkPaces: [0.5] }

export const PROFILES: readonly Profile[] = [
  BASE,
  { ...BASE, name: 'sink without rows', completes: false },
  {
    ...BASE,
    name: 'located keys',
    located: true,
    moves: 0.5,
    alters: 0.15,
    shortReads: 0.4,
    chunkPaces: [0.5],
    paces: { rows: 0.1 },
  },
  { ...QUIET, name: 'calm', processCrash: false, stops: false },
  { ...QUIET, name: 'crashes', serverCrash: true, sleepers: true },
  { ...BASE, name: 'unflushed', unflushed: true, truncates: 0 },
  { ...QUIET, name: 'keyless', keyless: true, truncates: 0.05, alters: 0.03, serverCrash: true },
  // One row fills the sink's queue; a few events reach the limit on what is held.
  { ...BASE, name: 'heavy rows', rowBytes: 9 * 1024 * 1024, chunkPaces: [0.12] },
  { ...QUIET, name: 'sleepers', sleepers: true, serverCrash: true, disasters: 0.06 },
  { ...QUIET, name: 'short reads', shortReads: 0.6, paces: { durable: 0.3 } },
  { ...QUIET, name: 'moves', toast: true, moves: 0.7, chunkPaces: [0.3], shortReads: 0.2, paces: { deliver: 0.5 } },
  { ...BASE, name: 'windows', visibility: 'prefix', toast: false },
  { ...BASE, name: 'late windows', visibility: 'ordered', toast: false, stubborn: 3 },
  { ...BASE, name: 'heavy windows', visibility: 'ordered', toast: false, rowBytes: 9 * 1024 * 1024 },
  // Directed ones. Reads end long before their rows are taken, so that a truncate meets chunks which are still open.
  { ...QUIET, name: 'truncates', truncates: 0.25, chunkPaces: [0.6], paces: { rows: 0.08, durable: 0.1 } },
  // Answers about definitions arrive late, rows are still queued when the next definition comes.
  {
    ...DEFINED,
    name: 'definitions',
    keys: 16,
    alters: 0.5,
    busy: 0.7,
    late: 0,
    txns: 2,
    readers: 6,
    shortReads: 0.5,
    chunkPaces: [1],
    paces: { select: 0.05, 'refresh-answer': 0.05 },
    disasters: 0.005,
  },
  {
    ...DEFINED,
    name: 'located definitions',
    located: true,
    keys: 24,
    alters: 0.12,
    moves: 0.1,
    busy: 0.6,
    late: 0,
    txns: 4,
    readers: 6,
    shortReads: 0.3,
    chunkPaces: [1],
    paces: { rows: 0.015 },
    disasters: 0,
  },
  { ...DEFINED, name: 'definitions inside', txns: 2, keys: 4, busy: 0.6, paces: { rows: 0.05, durable: 0.05 } },
  // Rows show what the log has yet to deliver, so that cuts matter for long.
  { ...QUIET, name: 'log behind', chunkPaces: [0.6], paces: { deliver: 0.06 }, disasters: 0.06, busy: 0.55 },
  { ...QUIET, name: 'windows ahead', visibility: 'prefix', chunkPaces: [0.6], paces: { deliver: 0.06 }, busy: 0.55 },
  { ...QUIET, name: 'truncates behind', truncates: 0.2, chunkPaces: [0.6], paces: { deliver: 0.06 }, busy: 0.55 },
  // The log delivers what no snapshot shows yet: to ranges that wait, that are open, that are given up, that are one row.
  {
    ...LATE,
    name: 'late commits',
    chunkPaces: [0.5],
    paces: { plan: 0.1, snapshot: 0.06 },
    disasters: 0.08,
  },
  { ...LATE, name: 'late snapshots', readers: 4, chunkPaces: [1], paces: { snapshot: 0.05 }, disasters: 0.08 },
  { ...LATE, name: 'late short reads', shortReads: 0.5, chunkPaces: [0.4], paces: { rows: 0.1 } },
  {
    ...LATE,
    name: 'late windows ahead',
    visibility: 'ordered',
    chunkPaces: [1],
    paces: { deliver: 0.2 },
    disasters: 0.08,
  },
  { ...LATE, name: 'late moves', completes: false, toast: true, moves: 0.7, chunkPaces: [1] },
  // Commits are seen at once, and what was remembered of them is forgotten soon.
  { ...QUIET, name: 'prompt commits', late: 0, busy: 0.6, chunkPaces: [0.15], paces: { visible: 0.15 } },
  // Transactions are committed in parts.
  { ...QUIET, name: 'parts', wholeBytes: [1], serverCrash: true, disasters: 0.08 },
  // Only the server breaks, and what it loses was read before.
  {
    ...QUIET,
    name: 'lost commits',
    unflushed: true,
    serverCrash: true,
    processCrash: false,
    stops: false,
    chunkPaces: [0.4],
    disasters: 0.06,
    busy: 0.6,
  },
  // Tables of few rows, so that what is held back for the last mark is held long, and written to.
  { ...HELD, name: 'last rows', busy: 0.6, paces: { deliver: 0.5 } },
  { ...HELD, name: 'late last rows', wide: false, late: 1, stubborn: 1, txns: 9, disasters: 0.15, chunkPaces: [1] },
  { ...HELD, name: 'late last windows', visibility: 'ordered', late: 1, stubborn: 1, txns: 9, disasters: 0.08 },
  { ...LATE, name: 'added table', added: true, keys: 5, readers: 4, chunkPaces: [1], disasters: 0.15 },
]
