import fc from 'fast-check'
import t from 'tap'
import type { ChatMessage } from '../../../engine/generate-request.js'
import { ChatTemplate } from '../../../engine/text/chat-template.js'
import { readJson, readTemplate } from './text-fixtures.js'

const CONTROL = [
  '<|im_start|>',
  '<|im_end|>',
  '<|begin_of_text|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|eot_id|>',
  '<think>',
  '</think>',
  '<tool_call>',
  '</tool_call>',
  '[INST]',
]

function load(template: string, more: object = {}): ChatTemplate {
  const source = { template, bosToken: '<|begin_of_text|>', eosToken: null, controlTokens: CONTROL }
  return new ChatTemplate({ ...source, ...more })
}
const user = (content: string): ChatMessage => ({ role: 'user', content })
const renderText = (template: string, messages: ChatMessage[]) =>
  load(template).render(messages).text

interface GoldenChat {
  readonly template: string
  readonly tokenizer: string
  readonly messages: ChatMessage[]
  readonly text: string
}

t.test('the text that Jinja2 makes', async (t) => {
  for (const [i, chat] of readJson<GoldenChat[]>('chats.json').entries()) {
    const bosToken = chat.tokenizer === 'llama-bpe' ? '<|begin_of_text|>' : null
    const template = load(readTemplate(chat.template), { bosToken })
    t.equal(template.render(chat.messages).text, chat.text, `${chat.template}, chat ${i}`)
  }
})

/** Occurrences of control tokens, as the tokenizer finds them. */
function countControl(text: string): number {
  const pattern = CONTROL.map((token) => token.replace(/[|[\]]/g, '\\$&')).join('|')
  return text.match(new RegExp(pattern, 'g'))?.length ?? 0
}

const content = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...CONTROL,
        '<|im_',
        'end|>',
        '<|',
        '|>',
        '<',
        '>',
        '/',
        'think',
        '[',
        'INST]',
      ),
      fc.constantFrom(' ', '\n', 'Hi', '\ue000', '\ue010<', 'ß', 'ſ', '"', '\\', '\\u003c', '😀'),
      fc.string({ unit: 'grapheme', maxLength: 6 }),
    ),
    { maxLength: 10 },
  )
  .map((pieces) => pieces.join(''))

t.test('for any content there are as many control tokens as for harmless content', async () => {
  for (const name of ['chatml', 'llama3', 'qwen2', 'qwen3', 'filters']) {
    const template = load(readTemplate(name))
    const count = (texts: string[]) =>
      countControl(
        template.render(
          texts.map((text, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content: text })),
        ).shieldedText,
      )
    fc.assert(
      fc.property(fc.array(content, { minLength: 1, maxLength: 4 }), (texts) => {
        // Thoughts in the last answer are shown in the template's own markup.
        const expected = count(texts.map(() => 'x'))
        const shown = name === 'qwen3' && texts.length % 2 === 0 ? 2 : 0
        const found = count(texts)
        return found === expected || found === expected + shown
      }),
      { numRuns: Number(process.env.KVASIR_TEST_RUNS ?? 150) },
    )
  }
})

t.test('what the template puts together around content is no control token either', async (t) => {
  const sneaky = load("{{ '<|' + messages[0].content + '|>' }}{{ messages[0].content }}>")
  for (const text of ['im_end', '<|im_end|', '|im_end']) {
    t.equal(countControl(sneaky.render([user(text)]).shieldedText), 0, text)
  }
  t.equal(sneaky.render([user('im_end')]).text, '<|im_end|>im_end>')
})

t.test('the developer role', async (t) => {
  const developer: ChatMessage[] = [{ role: 'developer', content: 'x' }]
  t.equal(renderText('{{ messages[0].role }}', developer), 'system')
  t.equal(renderText('{# developer #}{{ messages[0].role }}', developer), 'developer')
})

t.test('variables: what is there, and what is not', async (t) => {
  const source =
    '{{ bos_token }}|{{ eos_token is defined }}|{{ tools is defined }}|{{ add_generation_prompt }}|' +
    "{{ strftime_now('%Y') | length }}|{{ range(2, 8, 3) | join(',') }}|{{ range(3) | length }}"
  t.equal(renderText(source, [user('x')]), '<|begin_of_text|>|false|false|true|4|2,5|3')
})

t.test('tool calls, names and reasoning reach the template, hidden', async (t) => {
  const template = load(
    '{% for m in messages %}{{ m.name }}{{ m.reasoning_content }}{{ m.tool_call_id }}' +
      '{% for c in m.tool_calls %}{{ c.id }}{{ c.type }}{{ c.function.name }}' +
      '{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}',
  )
  const { text, shieldedText } = template.render([
    {
      role: 'assistant',
      content: null,
      name: 'n<think>',
      reasoning: 'r<think>',
      toolCalls: [{ id: 'i<think>', name: 'f<think>', arguments: '{"k<think>":["<think>",1]}' }],
    },
    { role: 'tool', content: 'x', toolCallId: 't<think>' },
  ])
  t.equal(text, 'n<think>r<think>i<think>functionf<think>{"k<think>": ["<think>", 1]}t<think>')
  t.equal(countControl(shieldedText), 0)
})

t.test('arguments that are no JSON stay what the model wrote', async (t) => {
  const source =
    '{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments }}{% endfor %}{% endfor %}'
  const toolCalls = [{ id: 'i', name: 'f', arguments: '{"k":' }]
  t.equal(renderText(source, [{ role: 'assistant', content: null, toolCalls }]), '{"k":')
})

t.test('a turn without content, for templates that tell it and those that cannot', async (t) => {
  const turn = { role: 'assistant', content: null } as const
  const telling =
    '{% for m in messages %}[{{ "none" if m.content is none else m.content }}]{% endfor %}'
  t.equal(renderText(telling, [user('a'), turn]), '[a][none]')
  t.equal(renderText(readTemplate('chatml'), [turn]).includes('assistant\n<|im_end|>'), true)
})

t.test('a refusal is in the words of the template', async (t) => {
  const strict = load(
    "{% if messages | length > 1 %}{{ raise_exception('Only ' ~ messages[0].content) }}{% endif %}",
  )
  t.throws(() => strict.render([user('<|im_end|>'), user('b')]), {
    code: 'invalid_template_input',
    message: "The model's chat template refused these messages: Only <|im_end|>",
  })
  const long = { code: 'invalid_template_input', message: /^.{500,600}$/ }
  t.throws(() => strict.render([user('x'.repeat(100_000)), user('b')]), long, 'and not without end')
  const broken = load("{% if messages | length > 1 %}{{ none + 'x' }}{% endif %}")
  t.throws(() => broken.render([user('a'), user('b')]), { code: 'invalid_template_input' })
})

t.test('a change that cannot be followed is refused, not guessed', async (t) => {
  const odd = load(
    '{% if messages | length > 1 and messages[1].content is lower %}a{% else %}b{% endif %}',
  )
  t.throws(
    () => odd.render([user('x'), user('IM_END <THINK>')]),
    {
      code: 'invalid_template_input',
      message: /does not let their text be told from its own/,
    },
    'the test "lower" sees stand-ins',
  )
})

t.test('a broken template is refused at load', async (t) => {
  const refused: [string, RegExp][] = [
    ['{% if x', /chat_template: cannot be parsed/],
    ["{{ raise_exception('never') }}", /fails on one short message: never/],
    [`${' '.repeat(256)}x`, /256 white spaces in a row/],
    ['x'.repeat(256 * 1024 + 1), /has 262145 characters, the limit is 262144/],
    ['{% if true %}'.repeat(5500) + '{% endif %}'.repeat(5500), /nested too deeply/],
    [`{{ ${'('.repeat(30_000)}1${')'.repeat(30_000)} }}`, /nested too deeply/],
    ["{{ range('x') }}", /range\(\) takes integers/],
    ['{{ range(1, 2, 0) }}', /the step of range\(\) is 0/],
  ]
  for (const [template, message] of refused) {
    t.throws(() => load(template), { name: 'ModelFileError', message })
  }
})

const body = 'x'.repeat(9000)
const HOSTILE: Record<string, string> = {
  loops: '{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}',
  range: '{{ range(1000000000) | length }}',
  'range backwards': '{{ range(0, -1000000000, -1) }}',
  recursion: '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}',
  output: `{% for i in range(10000) %}${body}{% endfor %}`,
  copies: `{% set big = '${body}' %}{% for i in range(9999) %}{% set q = big | upper %}{% endfor %}`,
  splits: `{% set big = '${'z '.repeat(9000)}' %}{% for i in range(999) %}{% set q = big.split() %}{% endfor %}`,
  macros: `{% for i in range(9999) %}{% macro f(x) %}${'{{ x }}'.repeat(9000)}{% endmacro %}{% endfor %}`,
  sorting: '{% for i in range(100) %}{% set q = range(10000) | sort %}{% endfor %}',
  mappings:
    "{% for i in range(9999) %}{% set a = {'a': 1, 'b': [1, 2], 'c': {'d': 1}} %}{% endfor %}",
}

t.test('hostile templates are refused within 250 ms and 32 MB', async (t) => {
  for (const [name, template] of Object.entries(HOSTILE)) {
    const attempt = () => {
      const cpu = process.cpuUsage()
      t.throws(() => load(template), { name: 'ModelFileError' }, `${name} is refused`)
      return process.cpuUsage(cpu).user / 1000
    }
    const rss = process.memoryUsage().rss
    // Time on the processor: other tests may run at the same time. The first try warms up.
    const times = [attempt(), attempt(), attempt()]
    t.ok(Math.min(...times) <= 250, `${name}: ${times.map(Math.round)} ms`)
    t.ok(process.memoryUsage().rss - rss <= 32e6, `${name}: memory`)
  }
})

t.test('a long honest chat is rendered', async (t) => {
  const messages = Array.from({ length: 1000 }, (_, i): ChatMessage => {
    return {
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: `message ${i} ${'word '.repeat(100)}`,
    }
  })
  for (const name of ['chatml', 'llama3', 'qwen2', 'qwen3']) {
    t.match(load(readTemplate(name)).render(messages).text, /message 999/, name)
  }
})
