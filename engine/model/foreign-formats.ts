import { extname } from 'node:path'
import { type ByteSource, withFile } from './byte-source.js'
import { ModelFileError } from './model-description.js'

/**
 * Formats that are never opened. Pickle runs code while it is read, and there is no reader for it
 * in this code base; the others are named so that the refusal can say what the file is.
 */
const REFUSED_EXTENSIONS: ReadonlyMap<string, string> = new Map([
  ['bin', 'a PyTorch pickle'],
  ['pt', 'a PyTorch pickle'],
  ['pth', 'a PyTorch pickle'],
  ['ckpt', 'a PyTorch pickle'],
  ['pkl', 'a pickle'],
  ['pickle', 'a pickle'],
  ['onnx', 'an ONNX model'],
  ['h5', 'a Keras model'],
  ['msgpack', 'a Flax model'],
  ['py', 'a Python program'],
  ['zip', 'an archive'],
  ['tar', 'an archive'],
  ['gz', 'an archive'],
])

const ADVICE =
  'Only safetensors and GGUF files are read: convert it, or fetch the model in one of these'

/** Refuses a weight file by its name: `.bin`, `.pt`, `.pth`, `.ckpt` and their kind. */
export function refuseByName(path: string): void {
  const extension = extname(path).slice(1).toLowerCase()
  const what = REFUSED_EXTENSIONS.get(extension)
  if (what !== undefined) throw new ModelFileError(path, 'file name', `is ${what}. ${ADVICE}`)
}

/** Refuses a weight file by its first bytes, whatever it is called. */
export function refuseByMagic(source: ByteSource): void {
  const head = source.read(0, Math.min(8, source.byteLength))
  const what = describeMagic(head)
  if (what !== undefined) throw new ModelFileError(source.path, 'magic', `is ${what}. ${ADVICE}`)
}

/** 'gguf' or 'unknown' by the first bytes; foreign formats are refused. */
export function detectFormat(path: string): 'gguf' | 'unknown' {
  return withFile(path, (source) => {
    refuseByMagic(source)
    const magic = source.read(0, Math.min(4, source.byteLength)).toString('latin1')
    return magic === 'GGUF' ? 'gguf' : 'unknown'
  })
}

function describeMagic(head: Buffer): string | undefined {
  // Pickles of protocol 2 to 5 open with 0x80 and their number. A safetensors file may open with
  // the same two bytes, but its header's length is under 2^24, so zeros follow from byte 3 on.
  const isPickle =
    head[0] === 0x80 && isBetween(head[1], 2, 5) && head.subarray(3).some((byte) => byte !== 0)
  if (isPickle) return 'a pickle'
  const text = head.toString('latin1')
  if (text.startsWith('PK\x03\x04')) return 'a zip archive (a PyTorch checkpoint is one)'
  if (text.startsWith('\x1f\x8b')) return 'a gzip archive'
  if (text.startsWith('\x89HDF')) return 'an HDF5 file'
  if (text.startsWith('version ')) return 'a Git LFS pointer, not the file itself'
  if (/^(ggml|ggjt|ggmf|lmgg|tjgg|fmgg)/.test(text)) return 'a GGML file from before GGUF'
  return undefined
}

function isBetween(value: number | undefined, min: number, max: number): boolean {
  return value !== undefined && value >= min && value <= max
}
