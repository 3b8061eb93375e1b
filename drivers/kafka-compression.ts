/**
 * The codecs of record batches. gzip is Node's; zstd is Node's where it has it (22.15 and later). lz4 is framed: Kafka
 * stores a bare block and no consumer can read it. snappy is cut into the blocks of Java's SnappyOutputStream.
 */
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { TidemarkError } from '../core/errors.js'
import { onDemand } from './on-demand.js'

const zstd = onDemand<typeof import('@mongodb-js/zstd')>('@mongodb-js/zstd')
const lz4 = onDemand<typeof import('lz4-napi')>('lz4-napi')
const snappy = onDemand<typeof import('snappy')>('snappy')

export type Compression = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** As the attributes of a batch number them. */
export const CODECS: readonly Compression[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
export const CODEC_MASK = 7

const SNAPPY_BLOCK_BYTES = 32 * 1024
/** Magic, version 1, compatible with 1. */
const SNAPPY_HEADER = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])
const GZIP_LEVEL_DEFAULT = 6
const ZSTD_LEVEL_DEFAULT = 3

/** Node's, since 22.15; its types here are those of Node 20. */
interface NodeZstd {
  readonly zstdCompress?: (data: Buffer, options: object, done: (error: Error | null, result: Buffer) => void) => void
  readonly zstdDecompress?: (data: Buffer, options: object, done: (error: Error | null, result: Buffer) => void) => void
  readonly constants: { readonly ZSTD_c_compressionLevel?: number }
}

const nodeZlib = zlib as unknown as NodeZstd
const gzip = promisify(zlib.gzip)
const gunzip = promisify(zlib.gunzip)

/** `level` counts for gzip, and for zstd on Node 22.15 and later. */
export async function compress(codec: Compression, records: Buffer, level?: number): Promise<Buffer> {
  switch (codec) {
    case 'none':
      return records
    case 'gzip':
      return gzip(records, { level: level ?? GZIP_LEVEL_DEFAULT })
    case 'snappy':
      return snappyBlocks(records)
    case 'lz4':
      return lz4().compressFrame(records)
    case 'zstd':
      return zstdCompress(records, level ?? ZSTD_LEVEL_DEFAULT)
  }
}

/** `bytesMax` bounds what a batch may become. */
export async function decompress(codec: Compression, data: Buffer, bytesMax: number): Promise<Buffer> {
  const result = await inflate(codec, data, bytesMax)
  if (result.length > bytesMax) throw tooLarge(bytesMax)
  return result
}

async function inflate(codec: Compression, data: Buffer, maxOutputLength: number): Promise<Buffer> {
  switch (codec) {
    case 'none':
      return data
    case 'gzip':
      return gunzip(data, { maxOutputLength })
    case 'snappy':
      return snappyRead(data)
    case 'lz4':
      return lz4().decompressFrame(data)
    case 'zstd':
      return nodeZlib.zstdDecompress
        ? promisify(nodeZlib.zstdDecompress)(data, { maxOutputLength })
        : zstd().decompress(data)
  }
}

function zstdCompress(records: Buffer, level: number): Promise<Buffer> {
  const { zstdCompress: native, constants } = nodeZlib
  if (!native) return zstd().compress(records, level)
  return promisify(native)(records, { params: { [constants.ZSTD_c_compressionLevel!]: level } })
}

async function snappyBlocks(records: Buffer): Promise<Buffer> {
  const parts: Buffer[] = [SNAPPY_HEADER]
  const blocks: Promise<Buffer>[] = []
  for (let at = 0; at < records.length; at += SNAPPY_BLOCK_BYTES) {
    blocks.push(snappy().compress(records.subarray(at, at + SNAPPY_BLOCK_BYTES)))
  }
  for (const block of await Promise.all(blocks)) {
    const length = Buffer.allocUnsafe(4)
    length.writeInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

/** With the framing or, as some clients write it, one bare block. */
async function snappyRead(data: Buffer): Promise<Buffer> {
  if (!data.subarray(0, 8).equals(SNAPPY_HEADER.subarray(0, 8))) return uncompressBlock(data)
  const blocks: Promise<Buffer>[] = []
  for (let at = SNAPPY_HEADER.length; at < data.length; ) {
    const length = data.readInt32BE(at)
    blocks.push(uncompressBlock(data.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return Buffer.concat(await Promise.all(blocks))
}

async function uncompressBlock(block: Buffer): Promise<Buffer> {
  return (await snappy().uncompress(block, { asBuffer: true })) as Buffer
}

function tooLarge(bytesMax: number): TidemarkError {
  return new TidemarkError('kafka.unreadable', {
    message: `a compressed record batch becomes more than ${bytesMax} bytes`,
  })
}
