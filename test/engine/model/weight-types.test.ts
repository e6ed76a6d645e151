import t from 'tap'
import {
  exactProduct,
  tensorByteLength,
  WEIGHT_LAYOUTS,
} from '../../../engine/model/weight-types.js'

t.test('bytes of a tensor, by type', async (t) => {
  t.equal(tensorByteLength('f32', [3, 5]), 60)
  t.equal(tensorByteLength('f16', [3, 5]), 30)
  t.equal(tensorByteLength('bf16', [7]), 14)
  t.equal(tensorByteLength('q8_0', [2, 64]), 2 * 2 * 34)
  t.equal(tensorByteLength('q4_0', [2, 64]), 2 * 2 * 18)
  t.equal(tensorByteLength('q4_1', [2, 64]), 2 * 2 * 20)
  t.equal(tensorByteLength('q6_k', [2, 512]), 2 * 2 * 210)
})

t.test('rows must be whole blocks, even where the whole would be', async (t) => {
  for (const [type, { blockSize }] of Object.entries(WEIGHT_LAYOUTS)) {
    if (blockSize === 1) continue
    const shape = [blockSize, blockSize - 1]
    t.match(tensorByteLength(type as 'q8_0', shape), /packs them by/, type)
  }
})

t.test('dimensions out of range and products that would lose a bit are refused', async (t) => {
  for (const size of [0, -1, 1.5, 2 ** 31 + 1, 2 ** 53, Number.NaN]) {
    t.match(tensorByteLength('f32', [size]), /has a dimension of/, String(size))
  }
  t.match(tensorByteLength('f32', []), /0 dimensions/)
  t.match(tensorByteLength('f32', [1, 1, 1, 1, 1]), /5 dimensions/)
  t.match(tensorByteLength('f32', [2 ** 31, 2 ** 31]), /larger than 2\^53/)
  // The elements fit in 2^53, the bytes do not.
  t.match(tensorByteLength('f32', [2 ** 26, 2 ** 26]), /larger than 2\^53/)
  t.equal(exactProduct([2 ** 26, 2 ** 26]), 2 ** 52)
  t.equal(exactProduct([2 ** 27, 2 ** 26]), undefined)
})
