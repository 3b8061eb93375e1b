/**
 * Runs a contract: named cases that every connector of a kind must pass, with any test runner that has a function of
 * (name, body). A case may be skipped only with a reason; it is then run all the same, and once it passes, the stale
 * skip fails.
 */
import assert from 'node:assert/strict'

/** `t.test` of tap, `test` of node:test or vitest. */
export type TestFunction = (name: string, body: () => Promise<void>) => unknown

export interface ContractOptions {
  /** Name of a case to why the connector cannot pass it. */
  readonly skip?: Readonly<Record<string, string>>
  /** How long one case may take. */
  readonly timeoutMs?: number
}

export interface ContractCase<H> {
  readonly name: string
  run(harness: H): Promise<void>
}

const CASE_MS_MAX = 60_000

export function runContract<H>(
  test: TestFunction,
  cases: readonly ContractCase<H>[],
  harness: H,
  { skip = {}, timeoutMs = CASE_MS_MAX }: ContractOptions = {},
): void {
  for (const name of Object.keys(skip)) {
    if (cases.some((c) => c.name === name)) continue
    test(`${name} (skipped)`, async () => assert.fail(`the contract has no case "${name}": remove the skip`))
  }
  for (const { name, run } of cases) {
    const reason = skip[name]
    const body = () => within(timeoutMs, name, run(harness))
    if (reason === undefined) test(name, body)
    else test(`${name} (skipped: ${reason})`, () => stillFails(name, reason, body))
  }
}

async function stillFails(name: string, reason: string, body: () => Promise<void>): Promise<void> {
  assert.ok(reason.trim() !== '', `the skip of "${name}" needs a reason`)
  const failed = await body().then(
    () => false,
    () => true,
  )
  assert.ok(failed, `"${name}" passes now: remove the skip`)
}

/** The promise's result, or a failure that says what took too long. `inner`: some other deadline keeps the process alive. */
export async function within<T>(ms: number, what: string, work: Promise<T>, inner = false): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still waiting after ${ms} ms: ${what}`)), ms)
    if (inner) timer.unref()
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
