import fc from 'fast-check'
import t from 'tap'
import { bytesOfToken, tokenOfBytes } from '../../../engine/text/byte-alphabet.js'

t.test('the alphabet is that of GPT-2', async (t) => {
  t.equal(tokenOfBytes(Buffer.from(' Hello\n\té')), 'ĠHelloĊĉÃ©')
  t.equal(tokenOfBytes([0, 0x7f, 0xa0, 0xad, 0xff]), 'Āġł\u0143ÿ')
  t.strictSame(bytesOfToken('ĠâĢĶ'), new Uint8Array(Buffer.from(' —')))
})

t.test('all byte strings go there and back', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const back = bytesOfToken(tokenOfBytes(bytes))
      return back !== undefined && Buffer.compare(back, bytes) === 0
    }),
  )
})

t.test('a character outside of the alphabet gives no bytes', async (t) => {
  t.equal(bytesOfToken('a b'), undefined)
  t.equal(bytesOfToken('字'), undefined)
})
