export interface TensorEntry {
  dtype: string
  shape: readonly number[]
  data: Buffer
}

/** A safetensors file of these tensors, back to back, its header padded to eight bytes. */
export function buildSafetensors(
  tensors: Readonly<Record<string, TensorEntry>>,
  metadata?: Readonly<Record<string, string>>,
): Buffer {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata }
  let end = 0
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + data.byteLength] }
    end += data.byteLength
  }
  const data = Buffer.concat(Object.values(tensors).map((tensor) => tensor.data))
  return safetensorsOf(JSON.stringify(header), data)
}

/** A file of a header in any words. */
export function safetensorsOf(header: string, data: Buffer, statedLength?: bigint): Buffer {
  const bytes = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8), 'utf8')
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(statedLength ?? BigInt(bytes.byteLength))
  return Buffer.concat([prefix, bytes, data])
}
