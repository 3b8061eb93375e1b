/** What was probably meant by a word that nobody knows. */

/** The nearest of the candidates, null when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  const plain = (text: string) => text.replace(/[^\p{L}\p{N}]/gu, '').toLowerCase()
  const same = candidates.find((candidate) => plain(candidate) === plain(word))
  if (same !== undefined) return same
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** To put behind a sentence; nothing where nothing was found. */
export function suggest(found: string | null): string {
  return found === null ? '' : ` Did you mean "${found}"?`
}

/** Insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      row[j] = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j]!, before[j - 2]! + 1)
      }
    }
    before = previous
    previous = row
  }
  return previous[b.length]!
}
