/**
 * Named steps between which a crash must lose nothing. Production code announces each one; the crash suite kills or
 * stops a real process there: TIDEMARK_FAILPOINT=<step>[:<n-th time, default 1>][:kill|stop]. Without the variable a
 * step costs one comparison. A simulator may listen instead.
 */
export const STEPS = [
  // first start, in order
  'start.sink-fenced',
  'start.prepared',
  'start.intent-committed',
  'start.log-created',
  'start.first-checkpoint',
  // a start without tables that the checkpoint has
  'start.removed-forgotten',
  // chunks
  'chunk.locked',
  'chunk.opened',
  'chunk.cut',
  'chunk.rows',
  'chunk.finished',
  // checkpoints
  'checkpoint.before-write',
  'checkpoint.before-commit',
  'checkpoint.committed',
  'checkpoint.released',
  // file sink
  'file.claimed',
  'file.segment-synced',
  'file.manifest-linked',
  'file.pruned',
  // postgres sink
  'pg-sink.fenced',
  'pg-sink.locked',
  'pg-sink.applied',
  'pg-sink.before-commit',
  'pg-sink.committed',
  // mysql sink
  'mysql-sink.fenced',
  'mysql-sink.created',
  'mysql-sink.prepared',
  'mysql-sink.locked',
  'mysql-sink.applied',
  'mysql-sink.before-commit',
  'mysql-sink.committed',
  // kafka sink
  'kafka.fenced',
  'kafka.claimed',
  'kafka.before-send',
  'kafka.sent',
  'kafka.committed',
] as const

export type StepName = (typeof STEPS)[number]

const wanted = parse(process.env.TIDEMARK_FAILPOINT)
let seen = 0
let listener: ((name: StepName) => void) | null = null

export function step(name: StepName): void {
  listener?.(name)
  if (wanted === null || wanted.name !== name || ++seen !== wanted.count) return
  process.kill(process.pid, wanted.signal)
}

/** Tests only: null removes it. */
export function onStep(next: ((name: StepName) => void) | null): void {
  listener = next
}

function parse(text: string | undefined): { name: string; count: number; signal: 'SIGKILL' | 'SIGSTOP' } | null {
  if (text === undefined || text === '') return null
  const [name = '', count = '1', action = 'kill'] = text.split(':')
  return { name, count: Number(count), signal: action === 'stop' ? 'SIGSTOP' : 'SIGKILL' }
}
