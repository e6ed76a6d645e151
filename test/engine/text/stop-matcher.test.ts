import fc from 'fast-check'
import t from 'tap'
import { StopMatcher } from '../../../engine/text/stop-matcher.js'

interface Result {
  readonly text: string
  readonly matched: string | undefined
}

function stream(pieces: readonly string[], stops: readonly string[]): Result {
  const matcher = new StopMatcher(stops)
  let text = ''
  for (const piece of pieces) {
    const match = matcher.push(piece)
    text += match.text
    if (match.matched !== undefined) return { text, matched: match.matched }
  }
  return { text: text + matcher.flush().text, matched: undefined }
}

/** The slow definition: the first place where some stop string is complete, the longest one there. */
function matchWhole(text: string, stops: readonly string[]): Result {
  for (let end = 1; end <= text.length; end++) {
    const before = text.slice(0, end)
    const complete = stops.filter((stop) => stop !== '' && before.endsWith(stop))
    if (complete.length === 0) continue
    const longest = complete.reduce((a, b) => (b.length > a.length ? b : a))
    return { text: before.slice(0, end - longest.length), matched: longest }
  }
  return { text, matched: undefined }
}

t.test('a stop string over several pieces is never shown', async (t) => {
  const matcher = new StopMatcher(['\n\nUser:'])
  t.strictSame(matcher.push('Hello\n'), { text: 'Hello' })
  t.strictSame(matcher.push('\nUs'), { text: '' })
  t.strictSame(matcher.push('er: hi'), { text: '', matched: '\n\nUser:' })
  t.strictSame(matcher.push('more'), { text: '' })
  t.strictSame(matcher.flush(), { text: '' })
})

t.test('held text is released when it turns out to be none', async (t) => {
  const matcher = new StopMatcher(['END'])
  t.strictSame(matcher.push('E'), { text: '' })
  t.strictSame(matcher.push('N'), { text: '' })
  t.strictSame(matcher.push('E'), { text: 'EN' })
  t.strictSame(matcher.flush(), { text: 'E' })
})

t.test('the string that is complete first wins, then the longest', async (t) => {
  t.strictSame(stream(['abcd'], ['abcd', 'bc']), { text: 'a', matched: 'bc' })
  t.strictSame(stream(['xabc'], ['bc', 'abc', 'c']), { text: 'x', matched: 'abc' })
})

t.test('without stop strings text passes through', async (t) => {
  t.strictSame(new StopMatcher([]).push('abc'), { text: 'abc' })
  t.strictSame(new StopMatcher(['']).push('abc'), { text: 'abc' })
})

t.test('streaming equals matching on the whole text, however it is cut', async () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '😀', '\n'), maxLength: 40 })
  const stop = fc.string({ unit: fc.constantFrom('a', 'b', '😀'), minLength: 0, maxLength: 5 })
  fc.assert(
    fc.property(
      fc.array(text, { maxLength: 8 }),
      fc.array(stop, { maxLength: 4 }),
      (pieces, stops) => {
        const streamed = stream(pieces, stops)
        const expected = matchWhole(pieces.join(''), stops)
        return streamed.text === expected.text && streamed.matched === expected.matched
      },
    ),
    { numRuns: 5000 },
  )
})

t.test('no more is held than could still become a stop string', async () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 30 })
  fc.assert(
    fc.property(letters, fc.array(letters, { maxLength: 3 }), (text, stops) => {
      const matcher = new StopMatcher(stops)
      const match = matcher.push(text)
      if (match.matched !== undefined) return true
      const held = text.slice(match.text.length)
      return held === '' || stops.some((stop) => stop !== held && stop.startsWith(held))
    }),
  )
})
