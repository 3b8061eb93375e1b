/** How a tag writes the storage of a table or partition: short, since a checkpoint has it of every partition. */

export interface Leaf {
  readonly file: string
  /** '': it has none; undefined: unknown. ALTER TABLE gives another one when it rewrites rows, VACUUM FULL does not. */
  readonly toast: string | undefined
  readonly empty: boolean
  readonly outside: 'UNLOGGED' | 'a foreign table' | null
  /** Transactions that attached it and the partitioned tables above it; undefined: it is no partition. */
  readonly joined: string | undefined
  readonly name: string
}

/** Reads what table-tag.ts writes of the storage of one table: "FILE[-][u|f] TOAST JOINED NAME". */
export function leafOf(oid: string, text: string, root: string): Leaf {
  const [, file, flags, toast, joined, name = ''] = /^(\d*)([-uf]*)(?: (\S*))?(?: (\S+) (.*))?$/s.exec(text)!
  return {
    file: file === '' ? oid : file!,
    toast,
    empty: flags!.includes('-'),
    outside: flags!.includes('u') ? 'UNLOGGED' : flags!.includes('f') ? 'a foreign table' : null,
    joined,
    name: name.startsWith('*') ? `${root}${name.slice(1)}` : name,
  }
}

export function sameFile(oid: string, before: string, now: string): boolean {
  return leafOf(oid, before, '').file === leafOf(oid, now, '').file
}
