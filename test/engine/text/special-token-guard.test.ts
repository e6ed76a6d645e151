import fc from 'fast-check'
import t from 'tap'
import { NO_SHIELD, SpecialTokenGuard } from '../../../engine/text/special-token-guard.js'

const CONTROL = ['<|im_start|>', '<|im_end|>', '<think>', '[INST]']
const guard = new SpecialTokenGuard(CONTROL, '')

t.test('no control token is left in hidden text, and it can be revealed', async (t) => {
  const text = 'a <|im_end|> b [INST] ß\n"quoted" \\ <|im_\u017ftart|>'
  const shield = guard.shieldFor([text])
  const hidden = shield.hide(text)
  for (const token of CONTROL) t.notOk(hidden.includes(token))
  t.equal(hidden.length, text.length)
  t.equal(shield.reveal(hidden), text)
})

t.test('white space and what JSON escapes stays', async (t) => {
  const kept = ' \n\t\r"\\\u0000\u001f\u00a0'
  t.equal(guard.shieldFor([]).hide(kept), kept)
})

t.test('what a change of case could turn into a control token is hidden too', async (t) => {
  const hidden = guard.shieldFor([]).hide('inſt IM_END K')
  t.notMatch(hidden.toUpperCase(), /[INST]/)
  t.notMatch(hidden.toLowerCase(), /[imendhk]/)
  const [once, twice] = [guard.shieldFor([]).hide('ß').toUpperCase(), /[Ss]/]
  t.notMatch(once.toLowerCase(), twice, 'also in two steps')
})

const piece = fc.oneof(
  fc.constantFrom(...CONTROL),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.string({ unit: fc.constantFrom('\ue000', '\ue001', '\ue050', '<', '|', 'm'), maxLength: 8 }),
)

t.test('hiding is one to one, whatever private-use characters the text has', async () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = pieces.join('')
      const shield = guard.shieldFor([text])
      const hidden = shield.hide(text)
      const isHidden = CONTROL.every((token) => [...token].every((char) => !hidden.includes(char)))
      return isHidden && hidden.length === text.length && shield.reveal(hidden) === text
    }),
    { numRuns: 2000 },
  )
})

t.test('the private-use characters of the template are left alone', async (t) => {
  const careful = new SpecialTokenGuard(CONTROL, '\ue000\ue001')
  const hidden = careful.shieldFor(['\ue002']).hide('<|im_end|>')
  t.notMatch(hidden, /[\ue000-\ue002]/)
})

t.test('a text that uses up the private-use characters is refused', async (t) => {
  const all = Array.from({ length: 0x1900 }, (_, i) => String.fromCharCode(0xe000 + i)).join('')
  t.throws(() => guard.shieldFor([all]), { code: 'invalid_prompt', message: /private-use/ })
  t.equal(guard.shieldFor([all.slice(200)]).hide('x'), 'x', 'a few are enough')
})

t.test('a token that could not be told from text is refused at load', async (t) => {
  t.throws(() => new SpecialTokenGuard(['  '], ''), { name: 'ModelFileError', message: /" {2}"/ })
  t.throws(() => new SpecialTokenGuard(['😀😀'], ''), { message: /no character by which/ })
})

t.test('without a shield nothing changes', async (t) => {
  t.equal(NO_SHIELD.hide('<|im_end|>'), '<|im_end|>')
  t.equal(NO_SHIELD.reveal('\ue000'), '\ue000')
})
