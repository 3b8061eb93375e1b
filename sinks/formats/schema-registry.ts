/**
 * A client of Confluent's schema registry interface, which Apicurio and Karapace speak as well. Registers schemas before
 * they are used; waits while the registry is away, so that an outage holds the pipeline and does not stop it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { TidemarkError, toError } from '../../core/errors.js'

export type SchemaType = 'AVRO' | 'JSON'

export interface RegistryOptions {
  /** Addresses of the registry; the next is tried when one does not answer. */
  readonly urls: readonly string[]
  /** `user:password` for basic authentication. */
  readonly basicAuth?: string
  readonly bearerToken?: string
  /** Off: schemas must be registered already. */
  readonly autoRegister: boolean
  /** How long an outage is waited for before the pipeline fails and starts again. */
  readonly holdMs?: number
  /** Told why it waits: each reason at once, and again every WAIT_NOTE_MS. */
  readonly onWait?: (message: string) => void
}

export interface RegistryState {
  readonly url: string
  /** null: it answers as a registry does. */
  readonly problem: { readonly message: string; readonly fix: string } | null
}

const HOLD_MS = 600_000
const REQUEST_MS = 10_000
const RETRY_MS_MIN = 100
const RETRY_MS_MAX = 5_000
const WAIT_NOTE_MS = 30_000
const TOLD_MAX = 64
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'
const INCOMPATIBLE = 409
const REPEATED = new Set([408, 425, 429, 500, 502, 503, 504])

interface Answer {
  readonly status: number
  readonly body: { readonly id?: number; readonly message?: string }
}

export class SchemaRegistry {
  readonly #options: RegistryOptions
  #url = 0
  /** Address and reason to when onWait was told; empty: the registry answered since. */
  readonly #told = new Map<string, number>()

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  /** The schema's id in the registry, registered where it has none. Throws `registry.*`, or the signal's reason. */
  async idOf(subject: string, type: SchemaType, schema: string, signal: AbortSignal): Promise<number> {
    const { autoRegister } = this.#options
    const path = `/subjects/${encodeURIComponent(subject)}`
    const body = JSON.stringify({ schema, ...(type === 'AVRO' ? {} : { schemaType: type }) })
    const answer = await this.#ask(autoRegister ? `${path}/versions` : path, body, signal)
    const { id } = answer.body
    if (answer.status !== 200 || typeof id !== 'number') throw refused(subject, answer, autoRegister)
    return id
  }

  async #ask(path: string, body: string, signal: AbortSignal): Promise<Answer> {
    const until = Date.now() + (this.#options.holdMs ?? HOLD_MS)
    const { urls } = this.#options
    let wait = RETRY_MS_MIN
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted()
      const url = urls[this.#url % urls.length]!.replace(/\/+$/, '')
      const answer = await this.#once(url + path, body, signal).catch((error: unknown) => {
        signal.throwIfAborted()
        return toError(error)
      })
      if (!(answer instanceof Error) && !REPEATED.has(answer.status)) {
        if (this.#told.size > 0) this.#options.onWait?.(`the schema registry ${url} answers again`)
        this.#told.clear()
        return answer
      }
      const why = answer instanceof Error ? reasonOf(answer) : `it answers ${answer.status}`
      this.#url++
      if (Date.now() + wait > until) throw unavailable(url, why)
      this.#tell(url, why)
      // The other addresses are tried at once.
      if (attempt % urls.length !== 0) continue
      await sleep(wait, undefined, { signal }).catch(() => signal.throwIfAborted())
      wait = Math.min(wait * 2, RETRY_MS_MAX)
    }
  }

  #tell(url: string, why: string): void {
    const [key, now] = [`${url} ${why}`, Date.now()]
    if (now - (this.#told.get(key) ?? 0) < WAIT_NOTE_MS) return
    if (this.#told.size >= TOLD_MAX) this.#told.clear()
    this.#told.set(key, now)
    this.#options.onWait?.(
      `waiting for the schema registry ${url}, which cannot be used (${why}); trying again. Check schema.registry.url`,
    )
  }

  /** Asks each address once, and registers nothing. */
  async states(signal: AbortSignal): Promise<RegistryState[]> {
    return await Promise.all(this.#options.urls.map((url) => this.#state(url.replace(/\/+$/, ''), signal)))
  }

  async #state(url: string, signal: AbortSignal): Promise<RegistryState> {
    const problem = (message: string, fix: string) => ({ url, problem: { message, fix } })
    const reach = 'Correct schema.registry.url, or start the registry.'
    try {
      const response = await fetch(`${url}/subjects`, {
        headers: { accept: `${CONTENT_TYPE}, application/json`, ...this.#credentials() },
        signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
      })
      const { status } = response
      const json = /json/.test(response.headers.get('content-type') ?? '')
      await response.body?.cancel()
      if (status === 401 || status === 403) return problem(`refuses us (${status})`, CREDENTIALS)
      if (status >= 500) return problem(`answers ${status}`, reach)
      if (status !== 200 || !json) return problem(`is no schema registry: ${status} for /subjects`, reach)
      return { url, problem: null }
    } catch (error) {
      signal.throwIfAborted()
      return problem(`cannot be reached: ${reasonOf(toError(error))}`, reach)
    }
  }

  async #once(url: string, body: string, signal: AbortSignal): Promise<Answer> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { accept: `${CONTENT_TYPE}, application/json`, 'content-type': CONTENT_TYPE, ...this.#credentials() },
      body,
      redirect: 'follow',
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
    })
    const text = await response.text()
    return { status: response.status, body: parsed(text) }
  }

  #credentials(): Record<string, string> {
    const { basicAuth, bearerToken } = this.#options
    if (bearerToken !== undefined) return { authorization: `Bearer ${bearerToken}` }
    return basicAuth === undefined ? {} : { authorization: `Basic ${Buffer.from(basicAuth).toString('base64')}` }
  }
}

const CREDENTIALS =
  'Set schema.registry.basic.auth.user.info or schema.registry.bearer.auth.token to credentials that may register schemas.'

function parsed(text: string): Answer['body'] {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? body : { message: text }
  } catch {
    return { message: text }
  }
}

/** fetch() hides why it failed in its cause. */
function reasonOf(error: Error): string {
  const { cause } = error
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message || error.name
}

const SHOWN_CHARS_MAX = 500

function refused(subject: string, { status, body }: Answer, registering: boolean): TidemarkError {
  const said = (body.message ?? 'no reason given').slice(0, SHOWN_CHARS_MAX)
  if (status === INCOMPATIBLE) {
    return new TidemarkError('registry.incompatible', {
      message: `The schema registry does not take the new schema of subject ${subject}: it is not compatible with the one before. It says: ${said}`,
      fix: `Make the table's change compatible (a new column: nullable or with a default), change the subject's compatibility (PUT /config/${subject} {"compatibility":"NONE"}), or write to another topic.`,
    })
  }
  if (status === 404 && !registering) {
    return new TidemarkError('registry.not_registered', {
      message: `The schema registry does not know the schema of subject ${subject}, and schemas are not registered automatically.`,
      fix: 'Register it, or set auto.register.schemas: true.',
    })
  }
  return new TidemarkError('registry.refused', {
    message: `The schema registry refused the schema of subject ${subject} (${status}): ${said}`,
    fix: status === 401 || status === 403 ? CREDENTIALS : "Check schema.registry.url and the registry's log.",
  })
}

function unavailable(url: string, why: string): TidemarkError {
  return new TidemarkError('registry.unavailable', {
    message: `The schema registry ${url} did not answer for too long: ${why}.`,
    fix: 'Check schema.registry.url and that the registry runs; the pipeline goes on from its checkpoint.',
    retriable: true,
  })
}
