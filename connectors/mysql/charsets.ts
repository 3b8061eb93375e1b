/**
 * Text in the character set of its column. Snapshot rows come as the column's own bytes (character_set_results = NULL), so
 * they and the log have one decoder. Bytes that are no text of their set are refused (I7). For sets of single bytes the
 * server itself says what each byte stands for.
 */
import { TidemarkError, toError } from '../../core/errors.js'
import type { MysqlConnection } from '../../drivers/mysql.js'

export type TextReader = (bytes: Buffer, start: number, end: number) => string

const UTF8 = new Set(['utf8mb4', 'utf8mb3', 'utf8'])
/** Sets of several bytes that the Encoding Standard knows, by its name. */
const STANDARD: Readonly<Record<string, string>> = {
  gbk: 'gbk',
  gb2312: 'gbk',
  gb18030: 'gb18030',
  big5: 'big5',
  sjis: 'shift_jis',
  cp932: 'shift_jis',
  ujis: 'euc-jp',
  eucjpms: 'euc-jp',
  euckr: 'euc-kr',
  ucs2: 'utf-16be',
  utf16: 'utf-16be',
  utf16le: 'utf-16le',
}

const readers = new Map<string, TextReader>([...UTF8, 'ascii'].map((name) => [name, utf8]))

/** Without the checks of toString(). */
const { utf8Slice } = Buffer.prototype as unknown as { utf8Slice(this: Buffer, start: number, end: number): string }

function utf8(bytes: Buffer, start: number, end: number): string {
  return utf8Slice.call(bytes, start, end)
}

/** Makes sure that textReader() knows these sets. */
export async function loadCharsets(connection: MysqlConnection, names: Iterable<string>): Promise<void> {
  for (const name of names) {
    if (readers.has(name) || name === 'binary') continue
    if (STANDARD[name] !== undefined) readers.set(name, standard(name, STANDARD[name]))
    else if (name === 'utf32') readers.set(name, utf32)
    else readers.set(name, singleBytes(await tableOf(connection, name)))
  }
}

export function isLoaded(charset: string): boolean {
  return readers.has(charset)
}

export function textReader(charset: string): TextReader {
  const reader = readers.get(charset)
  if (reader === undefined) throw new TidemarkError('core.bug', { message: `character set ${charset} was not loaded` })
  return reader
}

function standard(name: string, label: string): TextReader {
  const decoder = new TextDecoder(label, { fatal: true, ignoreBOM: true })
  return (bytes, start, end) => {
    try {
      return decoder.decode(bytes.subarray(start, end))
    } catch (cause) {
      throw new TidemarkError('format.unreadable_value', {
        message: `bytes ${bytes.toString('hex', start, Math.min(end, start + 32))} are no text in ${name}: ${toError(cause).message}`,
        fix: 'Mend the row, or leave the table out with tables.exclude.',
        cause,
      })
    }
  }
}

function utf32(bytes: Buffer, start: number, end: number): string {
  let text = ''
  for (let at = start; at + 4 <= end; at += 4) text += String.fromCodePoint(bytes.readUInt32BE(at))
  return text
}

function singleBytes(table: readonly string[]): TextReader {
  return (bytes, start, end) => {
    let text = ''
    for (let at = start; at < end; at++) text += table[bytes[at]!]!
    return text
  }
}

/** What each byte of the set stands for. */
async function tableOf(connection: MysqlConnection, name: string): Promise<string[]> {
  if (!/^[a-z0-9]+$/.test(name)) throw new TidemarkError('core.bug', { message: `odd character set ${name}` })
  const each = Array.from({ length: 256 }, (_, byte) => {
    const hex = byte.toString(16).padStart(2, '0')
    return `HEX(CONVERT(_${name} X'${hex}' USING utf8mb4))`
  })
  const [row] = await connection.query(`SELECT ${each.join(', ')}`)
  return row!.map((hex) => Buffer.from(hex ?? '', 'hex').toString('utf8'))
}
