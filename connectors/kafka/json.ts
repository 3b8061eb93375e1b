/**
 * JSON whose numbers stay the digits that were sent and whose objects keep their own text: doubles would round 64-bit
 * integers and decimals (I7), and a value that is kept as JSON must not be respelt.
 */

export type Json = null | boolean | string | JsonNumber | JsonObject | JsonArray

export class JsonNumber {
  constructor(readonly text: string) {}
}

/** The first of two equal names counts for nothing, as in JSON.parse. */
export class JsonObject {
  readonly #source: string
  readonly #from: number
  readonly #to: number

  constructor(
    readonly fields: ReadonlyMap<string, Json>,
    source: string,
    from: number,
    to: number,
  ) {
    this.#source = source
    this.#from = from
    this.#to = to
  }

  /** As it was sent. */
  get text(): string {
    return this.#source.slice(this.#from, this.#to)
  }

  get(name: string): Json | undefined {
    return this.fields.get(name)
  }
}

export class JsonArray {
  readonly #source: string
  readonly #from: number
  readonly #to: number

  constructor(
    readonly items: readonly Json[],
    source: string,
    from: number,
    to: number,
  ) {
    this.#source = source
    this.#from = from
    this.#to = to
  }

  get text(): string {
    return this.#source.slice(this.#from, this.#to)
  }
}

export class JsonError extends Error {
  override readonly name = 'JsonError'
}

/** How deep values may lie in one another. */
const DEPTH_MAX = 500
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
/** Up to the next quote, escape or control character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
const PLAIN = /[^"\\\u0000-\u001f]*/y
const decoder = new TextDecoder('utf-8', { fatal: true })

/** Throws JsonError. */
export function parseJson(bytes: Uint8Array): Json {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    throw new JsonError('it is not UTF-8 text')
  }
  const parser = new Parser(text)
  return parser.whole()
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  whole(): Json {
    const value = this.#value(0)
    this.#space()
    if (this.#at < this.#text.length) throw this.#wrong()
    return value
  }

  #value(depth: number): Json {
    if (depth > DEPTH_MAX) throw new JsonError(`it is nested more than ${DEPTH_MAX} deep`)
    this.#space()
    switch (this.#text.charCodeAt(this.#at)) {
      case 0x22:
        return this.#string()
      case 0x7b:
        return this.#object(depth)
      case 0x5b:
        return this.#array(depth)
      case 0x74:
        return this.#word('true', true)
      case 0x66:
        return this.#word('false', false)
      case 0x6e:
        return this.#word('null', null)
      default:
        return this.#number()
    }
  }

  #object(depth: number): JsonObject {
    const from = this.#at++
    const fields = new Map<string, Json>()
    if (!this.#ends(0x7d)) {
      do {
        this.#space()
        if (this.#text.charCodeAt(this.#at) !== 0x22) throw this.#wrong()
        const name = this.#string()
        this.#space()
        if (this.#text.charCodeAt(this.#at++) !== 0x3a) throw this.#wrong(-1)
        fields.set(name, this.#value(depth + 1))
      } while (this.#more(0x7d))
    }
    return new JsonObject(fields, this.#text, from, this.#at)
  }

  #array(depth: number): JsonArray {
    const from = this.#at++
    const items: Json[] = []
    if (!this.#ends(0x5d)) {
      do items.push(this.#value(depth + 1))
      while (this.#more(0x5d))
    }
    return new JsonArray(items, this.#text, from, this.#at)
  }

  #ends(close: number): boolean {
    this.#space()
    if (this.#text.charCodeAt(this.#at) !== close) return false
    this.#at++
    return true
  }

  #more(close: number): boolean {
    this.#space()
    const code = this.#text.charCodeAt(this.#at++)
    if (code === 0x2c) return true
    if (code === close) return false
    throw this.#wrong(-1)
  }

  #string(): string {
    const from = this.#at++
    let plain = true
    for (;;) {
      PLAIN.lastIndex = this.#at
      PLAIN.test(this.#text)
      this.#at = PLAIN.lastIndex
      const code = this.#text.charCodeAt(this.#at)
      if (code === 0x22) break
      if (code !== 0x5c) throw this.#wrong()
      plain = false
      this.#at += 2
    }
    this.#at++
    if (plain) return this.#text.slice(from + 1, this.#at - 1)
    try {
      return JSON.parse(this.#text.slice(from, this.#at)) as string
    } catch {
      throw new JsonError(`a string at character ${from} has an escape that JSON does not know`)
    }
  }

  #number(): JsonNumber {
    NUMBER.lastIndex = this.#at
    const match = NUMBER.exec(this.#text)
    if (match === null) throw this.#wrong()
    this.#at = NUMBER.lastIndex
    return new JsonNumber(match[0])
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#wrong()
    this.#at += word.length
    return value
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.#at++
    }
  }

  #wrong(by = 0): JsonError {
    const at = this.#at + by
    if (at >= this.#text.length) return new JsonError('it is JSON that ends too soon')
    return new JsonError(`it is no JSON: ${JSON.stringify(this.#text[at])} at character ${at}`)
  }
}
