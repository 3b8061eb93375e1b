/**
 * The registry of error codes. docs/errors.md is generated from it (npm run docs) and a test holds both equal.
 * `exit` is the process's exit code: 1 failed while running, 2 bad usage or configuration, 3 not ready.
 * Keep each area's codes together and sorted.
 */
interface CodeInfo {
  readonly exit: 1 | 2 | 3
  /** One sentence for docs/errors.md: when a user meets it. */
  readonly when: string
}

export const ERROR_CODES = {
  // core
  'core.bug': {
    exit: 1,
    when: 'Tidemark broke one of its own rules. Nothing is lost: restart resumes from the last checkpoint.',
  },
  'core.checkpoint_unreadable': {
    exit: 3,
    when: 'The checkpoint in the sink was written by a newer version, or is damaged.',
  },
  'core.identity_changed': {
    exit: 3,
    when: 'The checkpoint belongs to another server, database or slot than the one configured.',
  },
  'core.key_outside_chunks': {
    exit: 1,
    when: 'A key belongs to no chunk of its table, which only a bug or a changed collation explains.',
  },
  // config
  // cli
  // postgres driver and source
  // sinks
  // formats
} as const satisfies Record<string, CodeInfo>

export type ErrorCode = keyof typeof ERROR_CODES
