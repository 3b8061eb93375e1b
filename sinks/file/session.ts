/**
 * One owner of a folder. Rows go into segments named by its claim; a commit makes them durable and publishes the next
 * manifest, which names them and holds the checkpoint (I2). Whoever cannot publish its next number, or sees a higher
 * one, was fenced and confirms nothing (I6). After any failure the session is over.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { TidemarkError, toError } from '../../core/errors.js'
import type { ChangeBatch } from '../../core/model.js'
import type { SinkOpenContext, SinkSession } from '../../core/sink.js'
import { step } from '../../core/steps.js'
import type { EventFormat } from '../formats/format.js'
import { claim, fenced } from './claim.js'
import { Folder, type Manifest, type Segment, segmentName } from './folder.js'

/** Closed segments that a manifest may repeat before they move into a page. */
const SEGMENTS_LISTED_MAX = 32
/** Bytes gathered before they are written to the segment. */
const WRITE_BYTES = 1024 * 1024
/** Bytes after which the disk is set to work before the commit, which then has less to wait for. */
export const SYNC_BYTES = 8 * 1024 * 1024

interface Open {
  readonly file: string
  readonly handle: FileHandle
  bytes: number
  events: number
}

export class FileSession implements SinkSession {
  readonly checkpoint: string | null
  #prepared = false
  readonly claim: string
  readonly #folder: Folder
  readonly #format: EventFormat
  readonly #sizeMax: number
  readonly #pipeline: string
  readonly #epoch: number
  #number: number
  #closed: Segment[]
  #previous: string | undefined
  #segment: Open | null = null
  /** Full segments that the next commit makes durable. */
  #full: Open[] = []
  #created = false
  #sequence = 0
  #pages = 0
  /** Bytes appended to the format's buffer and not yet on their way. */
  #pendingBytes = 0
  /** The write under way, with the bytes it writes: the next buffer fills meanwhile, and there are only these two. */
  #writing: Promise<Buffer> | null = null
  /** A sync ahead of the commit. */
  #syncing: Promise<void> | null = null
  #unsyncedBytes = 0
  #failure: Error | null = null

  private constructor(
    folder: Folder,
    format: EventFormat,
    sizeMax: number,
    owned: { number: number; manifest: Manifest },
  ) {
    this.#folder = folder
    this.#format = format
    this.#sizeMax = sizeMax
    this.#number = owned.number
    this.#epoch = owned.manifest.epoch
    this.claim = `${owned.manifest.epoch}`
    this.#pipeline = owned.manifest.pipeline
    this.#closed = [...owned.manifest.segments]
    this.#previous = owned.manifest.previous
    this.checkpoint = owned.manifest.checkpoint
  }

  /** I6: the claim is the next number with the state of the last, so no older owner can publish any more. */
  static async open(
    path: string,
    format: EventFormat,
    sizeMax: number,
    context: SinkOpenContext,
  ): Promise<FileSession> {
    const folder = new Folder(path)
    await folder.make()
    try {
      for (;;) {
        const owned = await claim(folder, context)
        if (owned !== null) return new FileSession(folder, format, sizeMax, owned)
      }
    } catch (thrown) {
      throw thrown instanceof TidemarkError ? thrown : failed(path, toError(thrown))
    }
  }

  /** A first start must not append to what another run left behind. */
  async prepare(): Promise<void> {
    if (this.#prepared) return
    this.#prepared = true
    if (this.checkpoint !== null || (this.#closed.length === 0 && this.#previous === undefined)) return
    throw new TidemarkError('file.not_empty', {
      message: `folder ${this.#folder.path} holds rows of a pipeline that was dropped`,
      fix: 'Give another path, or remove the folder if its rows are no longer needed.',
      at: 'sink.path',
    })
  }

  async write(batches: readonly ChangeBatch[]): Promise<readonly number[]> {
    const sizes: number[] = []
    await this.#guard(async () => {
      for (const batch of batches) {
        const segment = await this.#current()
        const { bytes, events } = this.#format.append(batch)
        this.#pendingBytes += bytes
        segment.bytes += bytes
        segment.events += events
        sizes.push(bytes)
        if (this.#pendingBytes >= WRITE_BYTES) await this.#flush(segment.handle)
      }
    })
    return sizes
  }

  async commit(checkpoint: string): Promise<void> {
    await this.#guard(async () => {
      await this.#drain()
      await this.#syncing
      for (const { handle } of this.#full) await handle.datasync()
      await this.#segment?.handle.datasync()
      this.#unsyncedBytes = 0
      if (this.#created) await this.#folder.sync('data')
      this.#created = false
      step('file.segment-synced')
      await this.#retire()
      await this.#publish(checkpoint)
    })
  }

  async close(): Promise<void> {
    this.#failure ??= new Error('the session is closed')
    await this.#writing?.catch(() => {})
    await this.#syncing?.catch(() => {})
    for (const { handle } of [...this.#full, ...(this.#segment ? [this.#segment] : [])])
      await handle.close().catch(() => {})
    this.#full = []
    this.#segment = null
  }

  /** The segment to append to; a full one is set aside for the next commit. */
  async #current(): Promise<Open> {
    if (this.#segment !== null && this.#segment.bytes >= this.#sizeMax) {
      await this.#drain()
      this.#full.push(this.#segment)
      this.#segment = null
    }
    if (this.#segment === null) {
      const file = segmentName(this.#epoch, ++this.#sequence)
      const handle = await open(join(this.#folder.path, 'data', file), 'ax')
      this.#created = true
      this.#segment = { file, handle, bytes: 0, events: 0 }
    }
    return this.#segment
  }

  /** Starts writing what is pending, once the write before it has ended. */
  async #flush(handle: FileHandle): Promise<void> {
    const spare = await this.#writing
    this.#unsyncedBytes += spare?.length ?? 0
    if (this.#unsyncedBytes >= SYNC_BYTES && this.#syncing === null) this.#syncAhead(handle)
    this.#pendingBytes = 0
    this.#writing = append(handle, this.#format.take(spare))
    // Its failure is met by whoever awaits it next.
    this.#writing.catch(() => {})
  }

  /** Only to save time: a failure stays for the commit, because the kernel tells it once. */
  #syncAhead(handle: FileHandle): void {
    this.#unsyncedBytes = 0
    this.#syncing = handle.datasync().then(() => {
      this.#syncing = null
    })
    this.#syncing.catch(() => {})
  }

  /** Everything handed to write() is in its segment's file afterwards. */
  async #drain(): Promise<void> {
    if (this.#pendingBytes > 0) await this.#flush(this.#segment!.handle)
    await this.#writing
  }

  /** Full segments are closed; many of them become a page, so that a manifest's size does not follow history. */
  async #retire(): Promise<void> {
    for (const { file, handle, bytes, events } of this.#full) {
      await handle.close()
      this.#closed.push({ file, bytes, events })
    }
    this.#full = []
    if (this.#closed.length < SEGMENTS_LISTED_MAX) return
    const name = `${String(this.#epoch).padStart(12, '0')}-${String(++this.#pages).padStart(6, '0')}.json`
    await this.#folder.writePage(name, {
      segments: this.#closed,
      ...(this.#previous === undefined ? {} : { previous: this.#previous }),
    })
    this.#closed = []
    this.#previous = name
  }

  async #publish(checkpoint: string): Promise<void> {
    const open = this.#segment
    const current =
      open === null || open.bytes === 0 ? [] : [{ file: open.file, bytes: open.bytes, events: open.events }]
    const number = this.#number + 1
    const manifest: Manifest = {
      version: 1,
      pipeline: this.#pipeline,
      epoch: this.#epoch,
      checkpoint,
      segments: [...this.#closed, ...current],
      ...(this.#previous === undefined ? {} : { previous: this.#previous }),
    }
    const published = await this.#folder.publish(number, manifest, `draft-${this.#epoch}-${number}`)
    step('file.manifest-linked')
    const numbers = await this.#folder.numbers()
    // A number that was used and pruned can be linked again by an owner that slept, so the highest must be ours.
    if (!published || numbers.at(-1) !== number) {
      throw fenced(this.#folder.path, numbers.at(-1))
    }
    this.#number = number
    await this.#folder.prune(numbers)
    step('file.pruned')
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    if (this.#failure !== null) throw this.#failure
    try {
      await work()
    } catch (thrown) {
      const error = thrown instanceof TidemarkError ? thrown : failed(this.#folder.path, toError(thrown))
      this.#failure = error
      throw error
    }
  }
}

async function append(handle: FileHandle, bytes: Buffer): Promise<Buffer> {
  const { bytesWritten } = await handle.write(bytes)
  if (bytesWritten !== bytes.length) throw new Error(`only ${bytesWritten} of ${bytes.length} bytes could be written`)
  return bytes
}

function failed(path: string, error: Error): TidemarkError {
  return new TidemarkError('file.write', {
    message: `writing into ${path} failed: ${error.message}`,
    fix: 'Free space or mend the disk; the next start goes on from the last checkpoint.',
    cause: error,
  })
}
