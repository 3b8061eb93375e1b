/** Numbers and times as people read them. */

const COUNT = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export function count(value: number): string {
  return COUNT.format(value)
}

export function bytes(value: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let rest = value
  let unit = 0
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024
    unit++
  }
  return unit === 0 ? `${count(rest)} bytes` : `${rest.toFixed(1)} ${units[unit]}`
}

export function seconds(value: number): string {
  if (value < 10) return `${value.toFixed(1)} s`
  if (value < 120) return `${Math.round(value)} s`
  const minutes = Math.round(value / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

export function milliseconds(value: number): string {
  return value < 10_000 ? `${Math.round(value)} ms` : seconds(value / 1000)
}

/** Control characters of names and messages could drive the terminal that shows them. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])\p{Cc}/gu, escaped)
}

/** The same for a text that must stay on its line. */
export function oneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => (char === '\n' ? '\\n' : char === '\t' ? '\\t' : escaped(char)))
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Left-aligned columns with two spaces between them. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  }
  return rows.map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!))).join('  '))
}
