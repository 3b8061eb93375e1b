/** Installs Debian packages where we are root. It says first what it is about to install. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

export function canUseApt(): boolean {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && existsSync('/usr/bin/apt-get')
}

export function aptCommand(packages: readonly string[]): string {
  return `apt-get install -y --no-install-recommends ${packages.join(' ')}`
}

export function installWithApt(packages: readonly string[], note: (line: string) => void): void {
  if (!canUseApt()) throw new Error(`not installed: ${packages.join(', ')}. As root, run:\n  ${aptCommand(packages)}`)
  note(`installing the Debian packages ${packages.join(', ')}: ${aptCommand(packages)}`)
  // RUNLEVEL=1 keeps the package's scripts from starting a server of their own.
  const env = { ...process.env, RUNLEVEL: '1', DEBIAN_FRONTEND: 'noninteractive' }
  const run = (args: string[]) => spawnSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] })
  const install = ['install', '-y', '--no-install-recommends', ...packages]
  if (run(install).status === 0) return
  // A fresh machine has no package lists yet.
  if (run(['update']).status !== 0 || run(install).status !== 0) {
    throw new Error(`apt-get failed. Run it by hand:\n  apt-get update && ${aptCommand(packages)}`)
  }
}
