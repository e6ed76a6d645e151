import t from 'tap'
import { readGguf } from '../../../engine/model/gguf.js'
import { GgufCursor } from '../../../engine/model/gguf-cursor.js'
import { placeTensors } from '../../../engine/model/gguf-tensors.js'
import { buildGguf } from './support/build-gguf.js'
import { MemoryBytes } from './support/memory-bytes.js'

t.test('every supported type, with its bytes and its shape turned row-major', async (t) => {
  const types: [number, string, number][] = [
    [0, 'f32', 4 * 512],
    [1, 'f16', 2 * 512],
    [30, 'bf16', 2 * 512],
    [8, 'q8_0', (512 / 32) * 34],
    [2, 'q4_0', (512 / 32) * 18],
    [3, 'q4_1', (512 / 32) * 20],
    [14, 'q6_k', (512 / 256) * 210],
  ]
  const tensors = types.map(([typeId, name, numBytes]) => {
    return { name, typeId, dims: [256, 2], data: Buffer.alloc(numBytes) }
  })
  const file = readGguf(new MemoryBytes(buildGguf({ metadata: [], tensors })))
  for (const [i, [, type, byteLength]] of types.entries()) {
    t.match(file.tensors[i], { name: type, type, shape: [2, 256], byteLength })
  }
})

t.test('tensors may lie in any order and with room between them', async (t) => {
  const bytes = new MemoryBytes(Buffer.alloc(1000))
  const info = { type: 'f32', shape: [8], byteLength: 32 } as const
  const infos = [
    { ...info, name: 'b', dataOffset: 128 },
    { ...info, name: 'a', dataOffset: 0 },
  ]
  const placed = placeTensors(new GgufCursor(bytes), infos, 64, 32)
  t.same(
    placed.map(({ name, offset }) => [name, offset]),
    [
      ['b', 192],
      ['a', 64],
    ],
  )
  const overlapping = [...infos, { ...info, name: 'c', dataOffset: 96, byteLength: 64 }]
  t.throws(() => placeTensors(new GgufCursor(bytes), overlapping, 64, 32), /"b": starts at 192/)
})
