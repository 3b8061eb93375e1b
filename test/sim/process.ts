/** One run of the program, from its start to its death. */
export interface SimProcess {
  /** How often the server gave up its connections. */
  lost: number
  /** Its chunk readers' connections, which the server closes when the process dies. */
  readonly sessions: Set<{ drop(): void }>
  /** Its pipeline file names the second table too. */
  readonly wide: boolean
  /** It has owned the sink. */
  claimed: boolean
  /** How often the sink told it that it is not the owner any more. */
  fenced: number
}
