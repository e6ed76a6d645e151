import t from 'tap'
import {
  BaseInterpreter,
  entriesOf,
  itemsOf,
  makeBoolean,
  makeFunction,
  makeInteger,
  makeList,
  makeScope,
  makeString,
  parseJinja,
  type RuntimeValue,
  textOf,
} from '../../../engine/text/template-values.js'

function render(source: string, variables: Record<string, RuntimeValue>): unknown {
  const scope = makeScope() as ReturnType<typeof makeScope> & {
    setVariable(name: string, value: RuntimeValue): void
  }
  for (const [name, value] of Object.entries(variables)) scope.setVariable(name, value)
  return new BaseInterpreter(scope).run(parseJinja(source)).value
}

t.test('values made here work in the library', async (t) => {
  const join = makeFunction((args) => makeString(args.map((arg) => textOf(arg)).join('+')))
  const text = render('{{ join(a, "b") }}{% if yes %} {{ list | length + n }}{% endif %}', {
    join,
    a: makeString('a'),
    yes: makeBoolean(true),
    list: makeList([makeString('x'), makeString('y')]),
    n: makeInteger(5),
  })
  t.equal(text, 'a+b 7')
})

t.test('kinds are told apart', async (t) => {
  const scope = makeScope()
  const list = scope.set('list', ['x'])
  const mapping = scope.set('mapping', { key: 'x' })
  t.equal(textOf(makeString('x')), 'x')
  t.equal(textOf(list), undefined)
  t.equal(textOf(undefined), undefined)
  t.equal(itemsOf(list)?.length, 1)
  t.equal(itemsOf(mapping), undefined)
  t.strictSame([...entriesOf(mapping)!.keys()], ['key'])
  t.equal(entriesOf(list), undefined)
})

t.test('blocks are stripped as templates of chat models expect', async (t) => {
  t.equal(render('a\n  {% if 1 == 1 %}\nb\n  {% endif %}\nc\n', {}), 'a\nb\nc')
})
