import t from 'tap'
import { GenerationText } from '../../engine/generation-text.js'
import { byteTokens } from './support/byte-tokens.js'

t.test('a character that is not whole is held back, and a broken one shown at the end', (t) => {
  const text = new GenerationText(byteTokens, [], 0)
  t.equal(text.push(0xc3).text, '')
  t.equal(text.push(0xa9).text, 'é')
  t.equal(text.push(256).text, '', 'a special token has no text')
  t.equal(text.push(0xe2).text, '')
  t.equal(text.finish().text, '\ufffd')
  t.end()
})

t.test('a stop string across tokens is matched and never shown', (t) => {
  const text = new GenerationText(byteTokens, ['ab', 'stop'], 0)
  t.same(text.push(0x78), { text: 'x' })
  t.same(text.push(0x61), { text: '' })
  t.match(text.push(0x62), { text: '', matched: 'ab' })
  const other = new GenerationText(byteTokens, ['stop'], 0)
  t.match(other.push(257), { text: ' ', matched: 'stop' })
  t.end()
})

t.test('what was held back for a match that did not come is shown at the end', (t) => {
  const text = new GenerationText(byteTokens, ['ab'], 0)
  text.push(0x61)
  t.same(text.finish(), { text: 'a' })
  t.end()
})

t.test('a broken character at the end can complete a stop string', (t) => {
  const text = new GenerationText(byteTokens, ['a\ufffd'], 0)
  text.push(0x61)
  text.push(0xe2)
  t.match(text.finish(), { text: '', matched: 'a\ufffd' })
  t.end()
})

t.test('stop strings before minTokens are ordinary text', (t) => {
  const text = new GenerationText(byteTokens, ['stop'], 2)
  t.same(text.push(257), { text: ' stop' })
  t.match(text.push(257), { text: ' ', matched: 'stop' })
  t.end()
})
