/** What the demo prints: plain lines, with colour only on a terminal that wants it. */
import type { Writable } from 'node:stream'

export class Screen {
  readonly #out: Writable & { readonly isTTY?: boolean }
  readonly #colour: boolean
  #steps = 0

  constructor(out: Writable & { readonly isTTY?: boolean }, env: Readonly<Record<string, string | undefined>>) {
    this.#out = out
    this.#colour = out.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
  }

  /** A numbered headline. */
  step(text: string): void {
    this.#steps += 1
    this.#write(`\n${this.#paint('1;36', `${this.#steps}. ${text}`)}`)
  }

  title(text: string): void {
    this.#write(this.#paint('1', text))
  }

  line(text: string): void {
    this.#write(`   ${text}`)
  }

  dim(text: string): void {
    this.#write(`   ${this.#paint('2', text)}`)
  }

  good(text: string): void {
    this.#write(`   ${this.#paint('32', 'ok')}  ${text}`)
  }

  bad(text: string): void {
    this.#write(`   ${this.#paint('31', 'NOT EQUAL')}  ${text}`)
  }

  #paint(code: string, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text
  }

  #write(text: string): void {
    this.#out.write(`${text}\n`)
  }
}
