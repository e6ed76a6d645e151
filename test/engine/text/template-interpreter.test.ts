import t from 'tap'
import { RenderFence } from '../../../engine/text/render-fence.js'
import {
  type ContentShield,
  NO_SHIELD,
  SpecialTokenGuard,
} from '../../../engine/text/special-token-guard.js'
import { FencedInterpreter } from '../../../engine/text/template-interpreter.js'
import { makeScope, parseJinja } from '../../../engine/text/template-values.js'

function render(source: string, content = '', shield: ContentShield = NO_SHIELD): string {
  const scope = makeScope()
  scope.set('c', content)
  scope.set('list', ['a', content])
  scope.set('mapping', { key: content, [content]: 'value' })
  scope.set('true', true)
  const interpreter = new FencedInterpreter(scope, new RenderFence(content.length), shield)
  return String(interpreter.run(parseJinja(source)).value)
}

const shield = new SpecialTokenGuard(['<|im_end|>', '<think>', '</think>'], '').shieldFor([])

/** Renders with the content hidden and shows what it says. */
const renderHidden = (source: string, content: string) =>
  shield.reveal(render(source, shield.hide(content), shield))

t.test('decisions about hidden text are those about the text itself', async (t) => {
  const content = '<think>a</think>b <|im_end|>'
  const sources = [
    "{{ '</think>' in c }}{{ 'x' not in c }}{{ c == '<|im_end|>' }}{{ c != 'b' }}",
    "{{ c.split('</think>')[-1].lstrip(' b') }}",
    "{{ c | replace('<|im_end|>', '[end]') }}{{ c.startswith('<think>') }}",
    "{% if c in list %}in{% endif %}{% if c in mapping %}key{% endif %}{% if 'b' in list %}no{% endif %}",
    '{{ c | tojson }}{{ c | tojson(ensure_ascii=true) }}{{ mapping | tojson }}',
    "{{ c[1:4] }}{{ c | length }}{{ c | upper }}{{ c ~ '|' + c }}",
    '{% filter upper %}x{{ c }}{% endfilter %}',
    "{% for part in c.split('<') if part != '' %}({{ part | trim }}){% endfor %}",
    "{{ list | join(', ') }}{{ '12' | int + 1 }}{{ c | int(7) }}{{ c | default('x') }}",
  ]
  for (const source of sources)
    t.equal(renderHidden(source, content), render(source, content), source)
})

t.test('JSON in ASCII shows what was written, and keeps it hidden', async (t) => {
  const hidden = render(
    '{{ c | tojson(ensure_ascii=true) }}',
    shield.hide('<|im_end|> é \\u003c'),
    shield,
  )
  t.equal(shield.reveal(hidden), '"<|im_end|> \\u00e9 \\\\u003c"')
  t.notMatch(hidden, /[<|>]/)
})

t.test('loops over what is undefined and over texts', async (t) => {
  t.equal(render('{% for x in nothing %}a{% else %}none{% endfor %}'), 'none')
  t.equal(render('{% for x in c %}[{{ x }}]{% endfor %}', 'a😀'), '[a][😀]')
  t.equal(render("{% for x in c if x != 'b' %}{{ x }}{% endfor %}", 'abc'), 'ac')
})

t.test('the library still does what it did', async (t) => {
  t.equal(render('{{ (1 + 2) * 3 }}{{ "a" ~ 1 }}{{ none is defined }}'), '9a1false')
  t.equal(
    render("{% macro m(x, y='d') %}{{ x }}{{ y }}{% endmacro %}{{ m('a') }}{{ m('b', y='c') }}"),
    'adbc',
  )
  t.equal(
    render('{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}'),
    '13',
  )
  t.equal(render('{% set ns = namespace(x=1) %}{% set ns.x = ns.x + 1 %}{{ ns.x }}'), '2')
  t.equal(render("{{ [{'a': 'x'}] | selectattr('a', 'equalto', 'x') | list | length }}"), '1')
  t.equal(
    render("{{ {'b': 1, 'a': [2]} | tojson(indent=2) }}"),
    '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}',
  )
  t.equal(render("{{ 'a\nb' | indent(2) }}{{ ['a', 'b'] | join('-') }}"), 'a\n  ba-b')
})

const DAG = [
  ...Array.from({ length: 31 }, (_, i) => `{% set n${i} = namespace() %}`),
  ...Array.from({ length: 30 }, (_, i) => `{% set n${i}.a = [n${i + 1}, n${i + 1}] %}`),
  '{{ n0 }}',
].join('')

const repeated = (first: string, next: string) =>
  `{% set n = namespace(a=${first}) %}${`{% set n.a = ${next} %}`.repeat(60)}`

const HOSTILE: [string, string][] = [
  ['values that double inside of namespaces', DAG],
  ['a namespace in itself', '{% set n = namespace() %}{% set n.a = n %}{{ n }}'],
  ['lists that double', repeated('[1]', 'n.a + n.a')],
  ['lists in lists', repeated('[1]', '[n.a, n.a]')],
  ['texts that double', repeated("'x'", 'n.a ~ n.a')],
  ['a macro that calls itself', '{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f("ab") }}'],
  ['wide indentation of JSON', '{{ [1] | tojson(indent=100000000) }}'],
  ['wide indentation', "{{ 'a\nb' | indent(1000000000) }}"],
  ['a long separator', `{{ 'aaaa' | join('${'x'.repeat(1000)}') }}`],
]

t.test('what grows without bound is stopped', async (t) => {
  for (const [name, source] of HOSTILE) {
    const rss = process.memoryUsage().rss
    const start = performance.now()
    t.throws(() => render(source), { message: /./ }, name)
    t.ok(performance.now() - start < 1000, `${name} is stopped soon`)
    t.ok(process.memoryUsage().rss - rss < 64e6, `${name} stays small`)
  }
})

t.test('a template reaches nothing but its values', async (t) => {
  const probes = [
    "{{ ''.constructor }}",
    '{{ c.__proto__ }}',
    "{{ mapping['__proto__'] }}",
    '{{ list.constructor }}',
    '{{ mapping.hasOwnProperty }}',
    '{{ process }}{{ global }}{{ globalThis }}{{ require }}',
  ]
  for (const probe of probes) t.equal(render(probe), '', probe)
  t.throws(() => render("{{ ''.constructor('x')() }}"), { message: /not a function/ })
})
