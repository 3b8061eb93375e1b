/**
 * The locales that tests of key order need. They must exist before initdb, because a database keeps the collations that
 * the machine had when its cluster was made.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { installWithApt } from './apt.js'

export const LOCALES = ['en_US.UTF-8', 'de_DE.UTF-8', 'sv_SE.UTF-8'] as const

export function ensureLocales(note: (line: string) => void): void {
  const missing = LOCALES.filter((name) => !installed().has(canonical(name)))
  if (missing.length === 0) return
  const commands = missing.map((name) => ['localedef', '-i', name.slice(0, 5), '-f', 'UTF-8', name])
  const help = commands.map((words) => `  ${words.join(' ')}`).join('\n')
  if (process.getuid?.() !== 0) {
    throw new Error(`the locales ${missing.join(', ')} are missing on this machine. As root, run:\n${help}`)
  }
  if (!existsSync('/usr/share/i18n/charmaps') || !existsSync('/usr/share/i18n/locales')) {
    installWithApt(['locales'], note)
  }
  note(`making the locales ${missing.join(', ')} with localedef`)
  for (const [program = '', ...args] of commands) {
    const made = spawnSync(program, args, { encoding: 'utf8' })
    // 1 means warnings only: what counts is whether the locale is there afterwards.
    if (made.error) throw made.error
  }
  const left = missing.filter((name) => !installed().has(canonical(name)))
  if (left.length > 0) throw new Error(`localedef did not make ${left.join(', ')}. Run:\n${help}`)
}

function installed(): Set<string> {
  const listed = spawnSync('locale', ['-a'], { encoding: 'utf8' })
  return new Set((listed.stdout ?? '').split('\n').map(canonical))
}

function canonical(name: string): string {
  return name.toLowerCase().replace('utf-8', 'utf8')
}
