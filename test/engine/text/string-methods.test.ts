import fc from 'fast-check'
import t from 'tap'
import { RenderFence } from '../../../engine/text/render-fence.js'
import { NO_SHIELD, SpecialTokenGuard } from '../../../engine/text/special-token-guard.js'
import { StringMethods } from '../../../engine/text/string-methods.js'
import {
  itemsOf,
  makeInteger,
  makeList,
  makeString,
  type RuntimeValue,
  textOf,
} from '../../../engine/text/template-values.js'

type Arg = string | number | string[]

const toValue = (arg: Arg): RuntimeValue => {
  if (typeof arg === 'string') return makeString(arg)
  if (typeof arg === 'number') return makeInteger(arg)
  return makeList(arg.map(makeString))
}
const fromValue = (value: RuntimeValue): unknown =>
  itemsOf(value)?.map((item) => textOf(item)) ?? value.value

function call(name: string, text: string, args: Arg[] = [], shield = NO_SHIELD): unknown {
  const methods = new StringMethods(shield, new RenderFence(text.length))
  const filter = methods.applyFilter(name, text, {
    positional: args.map(toValue),
    named: new Map(),
  })
  if (filter !== undefined) return fromValue(filter)
  const method = methods.find(name, text)!.value as (args: RuntimeValue[]) => RuntimeValue
  return fromValue(method(args.map(toValue)))
}

// What Python 3 gives.
const CASES: [string, string, Arg[], unknown][] = [
  ['strip', '  a b \n', [], 'a b'],
  ['strip', '\u001cx\u0085', [], 'x'],
  ['strip', '\ufeffx', [], '\ufeffx'],
  ['strip', 'xxabyx', ['xy'], 'ab'],
  ['lstrip', '\n\n a', ['\n'], ' a'],
  ['rstrip', 'a \n', ['\n'], 'a '],
  ['strip', '', [], ''],
  ['strip', 'aaa', ['a'], ''],
  ['trim', ' a ', [], 'a'],
  ['split', 'a,b,,c', [','], ['a', 'b', '', 'c']],
  ['split', 'a,b,c', [',', 1], ['a', 'b,c']],
  ['split', 'a</t>b</t>c', ['</t>'], ['a', 'b', 'c']],
  ['split', '  a \n b  ', [], ['a', 'b']],
  ['split', '', [','], ['']],
  ['split', '   ', [], []],
  ['startswith', 'abc', ['ab'], true],
  ['startswith', 'abc', [['x', 'a']], true],
  ['endswith', 'abc', ['b'], false],
  ['replace', 'aXbX', ['X', '--'], 'a--b--'],
  ['replace', 'aXbX', ['X', '-', 1], 'a-bX'],
  ['replace', 'ab', ['', '.'], '.a.b.'],
  ['replace', 'aXb', ['X', 'Y', 0], 'aXb'],
  ['upper', 'straße', [], 'STRASSE'],
  ['lower', 'ÀB', [], 'àb'],
  ['capitalize', 'hELLO World', [], 'Hello world'],
  ['title', "they're ßig 2nd", [], "They'Re Ssig 2Nd"],
  ['length', 'a😀', [], 2],
]

const guard = new SpecialTokenGuard(['<|abcdefghijklmnopqrstuvwxyzABCXYZ,./-\u0085|>'], '')

t.test('as Python does it, with and without a shield', async (t) => {
  const shield = guard.shieldFor([])
  for (const [name, text, args, expected] of CASES) {
    t.strictSame(call(name, text, args), expected, `${name} ${args}`)
    const hidden = call(name, shield.hide(text), args, shield)
    const reveal = (value: unknown): unknown =>
      typeof value === 'string' ? shield.reveal(value) : value
    t.strictSame(
      Array.isArray(hidden) ? hidden.map(reveal) : reveal(hidden),
      expected,
      `hidden ${name}`,
    )
  }
})

t.test('a shielded text gives the same decisions, and stays shielded', async () => {
  const shield = guard.shieldFor([])
  const text = fc.string({ unit: fc.constantFrom(...'<|abXſß \n,.|>'), maxLength: 30 })
  const op = fc.constantFrom<[string, Arg[]]>(
    ['strip', ['<|']],
    ['split', ['|']],
    ['split', []],
    ['replace', ['a', 'b']],
    ['upper', []],
    ['lower', []],
    ['title', []],
    ['capitalize', []],
  )
  fc.assert(
    fc.property(text, op, (plain, [name, args]) => {
      const results = [call(name, shield.hide(plain), args, shield)].flat() as string[]
      const expected = [call(name, plain, args)].flat()
      const areEqual =
        results.map((result) => shield.reveal(result)).join('\0') === expected.join('\0')
      // The 'b' that replace() puts in is the template's own.
      const isShielded =
        name === 'replace' || results.every((result) => !/[<|a-zABCXYZ]/.test(result))
      return areEqual && isShielded
    }),
    { numRuns: 3000 },
  )
})

t.test('wrong arguments are errors of the template', async (t) => {
  t.throws(() => call('split', 'a', ['']), { message: /empty separator/ })
  t.throws(() => call('split', 'a', [1]), { message: /sep of a string method is not a string/ })
  t.throws(() => call('split', 'a', [',', 'x']), { message: /maxsplit .* not an integer/ })
  t.throws(() => call('replace', 'a', ['a']), { message: /two strings/ })
  t.throws(() => call('startswith', 'a', [1]), { message: /takes strings/ })
})

t.test('replace cannot blow up', async (t) => {
  t.throws(() => call('replace', 'a'.repeat(10_000), ['a', 'b'.repeat(1000)]), {
    name: 'RenderLimitError',
  })
})

t.test('what is no method is left to the library', async (t) => {
  const methods = new StringMethods(NO_SHIELD, new RenderFence(0))
  t.equal(methods.find('constructor', 'a'), undefined)
  t.equal(methods.find('length', 'a'), undefined)
  t.equal(methods.applyFilter('split', 'a', { positional: [], named: new Map() }), undefined)
})
